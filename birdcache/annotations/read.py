"""Tables of annotated times as people bring them: plain CSV, selection tables of Raven, label tracks of Audacity.

A CSV has the columns file, start_s, end_s and label; others, such as score, are left alone. So what `birdcache predict`
writes can be corrected by hand and come back.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pandas as pd

from birdcache.annotations.audacity_reader import begins_track, read_audacity
from birdcache.annotations.raven import BEGIN, END
from birdcache.annotations.raven_reader import read_raven
from birdcache.annotations.table import COLUMNS, AnnotationTable, FileNames
from birdcache.audio.paths import Bounds, folded
from birdcache.errors import PipelineError
from birdcache.formulas import unescaped
from birdcache.labels import LABEL_RULE, is_label
from birdcache.user_tables import Problem, colliding, read_records, read_user_table, row_ranges

WHAT_IS_READ = (
    f"a .txt is a selection table of Raven (row 1 names {BEGIN}, {END} and a label, between tabs) or a label track of "
    f"Audacity (begin, end and label between tabs in each line), and a .csv has the columns {', '.join(COLUMNS)}"
)
SPACE_RULE = (
    "holds a space, which parts the labels of an annotated recording; write _ in its place, and rename a class's "
    "folder alike; of a common name, give the label in taxonomy.csv"
)


def read_annotations(
    folder: Path, label_of: Callable[[str], str], links: Literal["inside", "anywhere"] = "inside"
) -> pd.DataFrame:
    """Read all tables in a folder and below it: `*.csv`, and `*.txt` of Raven and Audacity; others are left alone.

    Parameters
    ----------
    label_of : the label that a cell names, for instance by its common name; the cell itself if it names none. A
        Its LookupError names the rule that the cell breaks.
    links : whether links to tables may lead out of the folder.

    Returns
    -------
    One row for each annotation: file (`FileNames`), start_s, end_s, label, table, row (as a spreadsheet shows it).

    Raises
    ------
    PipelineError
        If the folder is missing, a file is no such table, a row breaks a rule (all bad rows of a table at once), or
        labels differ in case only.
    """
    if not folder.is_dir():
        raise PipelineError(f"{folder}: no such folder; make it, or correct data.annotations in params.yaml")
    bounds = Bounds(folder, links)
    paths = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in _READERS]
    tables = [_read(path, bounds, label_of) for path in paths]
    empty = pd.DataFrame({name: [] for name in COLUMNS}).assign(table="", row=0)
    table = pd.concat(tables, ignore_index=True) if tables else empty
    _refuse_alike(table)
    return table


def _refuse_alike(table: pd.DataFrame) -> None:
    alike = table[colliding(table["label"])].sort_values("label", key=lambda labels: labels.map(folded), kind="stable")
    lines = [
        f"  {path}: row(s) {row_ranges(rows)}: {label}"
        for (label, path), rows in alike.groupby(["label", "table"], sort=False)["row"]
    ]
    if lines:
        raise PipelineError("\n".join(["labels differ in case only; spell them the same", *lines]))


def _read_csv(path: Path, bounds: Bounds) -> AnnotationTable:
    table = read_user_table(path, COLUMNS, (), bounds)
    cells = table.cells[list(COLUMNS)].map(unescaped)
    names = [FileNames((text,) if text else ()) for text in cells["file"]]
    return AnnotationTable(path, cells.assign(file=pd.Series(names, index=cells.index, dtype=object)), table.problems)


def _read_txt(path: Path, bounds: Bounds) -> AnnotationTable:
    records = read_records(path, bounds, tabs=True)
    first = next((record for _, record in records if "".join(record).strip()), None)
    if first is None:  # a label track of nothing
        return read_audacity(path, bounds)
    if isinstance(first, list) and begins_track(first):
        return read_audacity(path, bounds)
    if isinstance(first, list) and any(name in cell for cell in first for name in (BEGIN, END)):
        return read_raven(path, bounds)
    raise PipelineError(f"{path}: is no table of annotations: {WHAT_IS_READ}; move other files away from here")


_READERS: dict[str, Callable[[Path, Bounds], AnnotationTable]] = {".csv": _read_csv, ".txt": _read_txt}


def _read(path: Path, bounds: Bounds, label_of: Callable[[str], str]) -> pd.DataFrame:
    table = _READERS[path.suffix.lower()](path, bounds)
    cells, called = table.cells[list(COLUMNS)], table.called
    start, end = cells["start_s"].map(_seconds), cells["end_s"].map(_seconds)
    label, problems = _labels(cells["label"], called["label"], label_of)
    unnamed = cells["file"].map(lambda names: not names.texts).astype(bool)
    table.refuse(
        [
            (unnamed, f"{called['file']} is empty; name the recording"),
            *problems,
            (~(start >= 0), f"{called['start_s']} must be a number of seconds from 0; correct it"),
            (
                ~(end > start) & (start >= 0),
                f"{called['end_s']} must be a number of seconds above {called['start_s']}; correct it",
            ),
        ]
    )
    return cells.assign(label=label, start_s=start, end_s=end, table=str(path), row=cells.index)


def _labels(cells: pd.Series[str], name: str, label_of: Callable[[str], str]) -> tuple[pd.Series[str], list[Problem]]:
    """The labels that cells name, and which cells name none and why."""
    labels: dict[str, str] = {}
    rules: dict[str, str] = {}
    for cell in cells.unique():
        try:
            labels[cell] = label_of(cell)
            rules[cell] = _rule(labels[cell])
        except LookupError as error:
            rules[cell] = f"{cell!r} {error.args[0]}"
    broken = cells.map(rules)
    return cells.map(labels), [(broken == rule, f"{name} {rule}") for rule in broken.unique() if rule]


def _rule(label: str) -> str:
    """The rule that a label breaks, "" if none."""
    if not label:
        return "is empty; name the species, or remove the row"
    if not is_label(label):
        return f"is no label; {LABEL_RULE}"
    return SPACE_RULE if " " in label else ""


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan
