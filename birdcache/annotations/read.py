"""Tables of annotated times as people bring them: plain CSV, selection tables of Raven, label tracks of Audacity.

A plain CSV has the columns file, start_s, end_s and label; others, such as score, are left alone. So what `birdcache
predict` writes can be corrected by hand and come back. CSV files of BirdNET and Kaleidoscope are read as they are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import pandas as pd

from birdcache.annotations.audacity_reader import begins_track, read_audacity
from birdcache.annotations.column_reader import read_csv, read_raven
from birdcache.annotations.table import COLUMNS, AnnotationTable, tell
from birdcache.annotations.times import seconds
from birdcache.annotations.write import BEGIN, END
from birdcache.audio.paths import Bounds, folded
from birdcache.audio.walk import walk
from birdcache.csv_records import read_records
from birdcache.errors import PipelineError
from birdcache.labels import LABEL_RULE, is_label
from birdcache.text import counted
from birdcache.unknown import is_unknown
from birdcache.user_tables import Problem, colliding, mapped, row_ranges

WHAT_IS_READ = (
    f"a .txt is a selection table of Raven (row 1 names {BEGIN}, {END} and a label, between tabs) or a label track of "
    f"Audacity (begin, end and label between tabs in each line), and a .csv has the columns {', '.join(COLUMNS)}"
)
ROUNDED_S = 0.1  # a time may lie so far before the beginning, or behind the end, of its file: programs round
UNLABELLED = "have no label: left out"
SPACE_RULE = (
    "holds a space, which parts the labels of an annotated recording; write _ in its place, and rename a class's "
    "folder alike; of a common name, give the label in taxonomy.csv"
)


def read_annotations(
    folder: Path,
    label_of: Callable[[str], str],
    links: Literal["inside", "anywhere"] = "inside",
    warn: Callable[[str], None] = tell,
) -> pd.DataFrame:
    """Read all tables in a folder and below it: `*.csv`, and `*.txt` of Raven and Audacity; others are left alone.

    A PipelineError if the folder is missing, a file is no such table, a row breaks a rule (all bad rows of a table at
    once), or labels differ in case only.

    Parameters
    ----------
    label_of : the label that a cell names, for instance by its common name; the cell itself if it names none. A
        Its LookupError names the rule that the cell breaks.
    links : whether links to tables may lead out of the folder.
    warn : called for each thing that was assumed, with the number of rows and the first of them.

    Returns
    -------
    One row for each annotation: file (`FileNames`), start_s, end_s, label, table, row (as a spreadsheet shows it).
    """
    if not folder.is_dir():
        raise PipelineError(f"{folder}: no such folder; make it, or correct data.annotations in params.yaml")
    bounds = Bounds(folder, links)
    files = (each.path for each in walk(folder, bounds) if not each.is_folder)
    paths = [path for path in files if isinstance(path, Path) and path.suffix.lower() in _READERS]
    assumed: dict[str, list[tuple[Path, int]]] = defaultdict(list)
    tables = [_read(path, bounds, label_of, assumed) for path in paths]
    for what, rows in assumed.items():
        verb, _, rest = what.partition(" ")
        warn(f"{counted(len(rows), 'annotation rows', verb)} {rest}, first {rows[0][0]}: row {rows[0][1]}")
    empty = pd.DataFrame({name: [] for name in COLUMNS}).assign(table="", row=0)
    table = pd.concat(tables, ignore_index=True) if tables else empty
    _refuse_alike(table)
    return table


def _refuse_alike(table: pd.DataFrame) -> None:
    alike = table[colliding(table["label"])].sort_values("label", key=lambda labels: labels.map(folded), kind="stable")
    lines = [
        f"  {path}: {row_ranges(rows)}: {label}"
        for (label, path), rows in alike.groupby(["label", "table"], sort=False)["row"]
    ]
    if lines:
        raise PipelineError("\n".join(["labels differ in case only; spell them the same", *lines]))


def _read_txt(path: Path, bounds: Bounds) -> AnnotationTable:
    records = read_records(path, bounds, tabs=True)
    first = next((record for _, record in records if "".join(record).strip()), None)
    if first is None or (isinstance(first, list) and begins_track(first)):  # None: a label track of nothing
        return read_audacity(path, bounds)
    if isinstance(first, list) and any(name.lower() in cell.lower() for cell in first for name in (BEGIN, END)):
        return read_raven(path, bounds)
    raise PipelineError(f"{path}: is no table of annotations: {WHAT_IS_READ}; move other files away from here")


_READERS: dict[str, Callable[[Path, Bounds], AnnotationTable]] = {".csv": read_csv, ".txt": _read_txt}


def _read(
    path: Path, bounds: Bounds, label_of: Callable[[str], str], assumed: dict[str, list[tuple[Path, int]]]
) -> pd.DataFrame:
    table = _READERS[path.suffix.lower()](path, bounds)
    called, unlabelled = table.called, _unlabelled(table.cells)
    cells = table.cells[~unlabelled]
    start, end = (cells[name].map(seconds).astype(float) for name in ("start_s", "end_s"))
    label, problems = _labels(cells, called["label"], label_of)
    unnamed = cells["file"].map(lambda names: not names.texts).astype(bool)
    table.refuse(
        [
            (unnamed, f"{called['file']} is empty; name the recording"),
            *problems,
            (~(start >= -ROUNDED_S), f"{called['start_s']} must be a number of seconds from 0; correct it"),
            (
                ~(end > start) & (start >= -ROUNDED_S),
                f"{called['end_s']} must be a number of seconds above {called['start_s']}; correct it",
            ),
        ]
    )
    times = ["file", "start_s", "end_s"]
    twins = set(cells[times].itertuples(index=False, name=None))  # another view of such a row may have the label
    lone = [row for row, *rest in table.cells.loc[unlabelled, times].itertuples(name=None) if tuple(rest) not in twins]
    for what, rows in {**table.assumed, UNLABELLED: lone}.items():
        if rows:
            assumed[what] += [(path, row) for row in rows]
    kept = cells[list(COLUMNS)]
    return kept.assign(label=label, start_s=start.clip(lower=0), end_s=end, table=str(path), row=cells.index)


def _unlabelled(cells: pd.DataFrame) -> pd.Series[bool]:
    """Rows whose label is empty, or such as ?, in a table in which others have one."""
    texts = cells["label"] + cells.get("also", "")
    unlabelled = mapped(texts, lambda text: is_unknown(text) and not is_label(text)).astype(bool)
    return unlabelled & (not unlabelled.all())


def _labels(cells: pd.DataFrame, name: str, label_of: Callable[[str], str]) -> tuple[pd.Series[str], list[Problem]]:
    """The labels that rows name, and which rows name none and why."""
    texts = [cells["label"], *([cells["also"]] if "also" in cells else [])]
    labels: dict[tuple[str, ...], str] = {}
    rules: dict[tuple[str, ...], str] = {}
    rows = pd.Series(list(zip(*texts, strict=True)), index=cells.index, dtype=object)
    for names in rows.unique():
        labels[names], rules[names] = _label(names, label_of)
    broken = rows.map(rules)
    return rows.map(labels), [(broken == rule, f"{name} {rule}") for rule in broken.unique() if rule]


def _label(names: Sequence[str], label_of: Callable[[str], str]) -> tuple[str, str]:
    """The label that the first of these names that can be one names, and the rule that the first one breaks."""
    rule = ""
    for name in names:
        try:
            label = label_of(name)
            found = _rule(label)
        except LookupError as error:
            label, found = "", f"{name!r} {error.args[0]}"
        if not found:
            return label, ""
        rule = rule or found
    return "", rule


def _rule(label: str) -> str:
    """The rule that a label breaks, "" if none."""
    if not label:
        return "is empty; name the species, or remove the row"
    if not is_label(label):
        return f"is no label; {LABEL_RULE}"
    return SPACE_RULE if " " in label else ""
