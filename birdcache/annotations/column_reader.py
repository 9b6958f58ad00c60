"""Reading tables whose row 1 names their columns: Raven's, BirdNET's, Kaleidoscope's, and plain ones.

Sources: for Raven see `birdcache.annotations.write`. BirdNET-Analyzer writes selection tables, and CSV files with
Start (s), End (s), Scientific name, Common name, Confidence and File. Kaleidoscope's id.csv has INDIR, FOLDER, IN FILE,
OFFSET and DURATION in seconds, and MANUAL ID for what a person heard; BirdNET writes such files, too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from birdcache.annotations.table import COLUMNS, AnnotationTable, FileNames, names_by_path, names_of_table
from birdcache.annotations.times import DIGITS, MIXED_RULE, mixed, point, seconds
from birdcache.annotations.write import BEGIN, CHANNEL, END, FILE, HIGH, LABEL, LOW, OFFSET, PATH
from birdcache.audio.paths import Bounds
from birdcache.csv_records import read_header
from birdcache.errors import PipelineError
from birdcache.formulas import unescaped
from birdcache.storage import AnyPath
from birdcache.user_tables import UserTable, read_user_table

SPECIES = ("Scientific name", "Common name", "scientific_name", "common_name")  # two names of one species
LABELS = (LABEL, "Species Code", "Species", "Annotation", *SPECIES, "Tags")  # of these the first that is there
OFFSET_RULE = f"{OFFSET} is no number, but {BEGIN} may count from another file; write where in its file each begins"
PADDED = "end before row 1 does; the missing cells count as empty"


@dataclass(frozen=True)
class Columns:
    """Names of the columns of a kind of table."""

    begin: str  # begin and end: of the times; the end may be a duration
    end: str
    files: tuple[str, ...]  # of the recording's path, the surest first
    labels: tuple[str, ...]  # of the label; of those that a table has, the first one counts


PLAIN = Columns("start_s", "end_s", ("file",), ("label",))
RAVEN = Columns(BEGIN, END, (PATH, FILE), LABELS)
BIRDNET = Columns("Start (s)", "End (s)", ("File",), LABELS)
KALEIDOSCOPE = Columns("OFFSET", "DURATION", ("IN FILE",), ("MANUAL ID", *LABELS))
NUMBERS = (CHANNEL, LOW, HIGH)  # of Raven: where they hold none, cells have moved


def read_raven(path: Path, bounds: Bounds) -> AnnotationTable:
    """Read a table between tabs with Raven's columns; see `read_columns`."""
    return read_columns(path, bounds, RAVEN, tabs=True)


def read_csv(path: Path, bounds: Bounds) -> AnnotationTable:
    """Read a CSV file of any of the kinds; see `read_columns`."""
    header = {name.lower() for name in read_header(path, bounds)}
    kinds = (PLAIN, RAVEN, BIRDNET, KALEIDOSCOPE)
    kind = next((each for each in kinds if {each.begin.lower(), each.end.lower()} <= header), PLAIN)
    return read_columns(path, bounds, kind, tabs=False)


def read_columns(path: Path, bounds: Bounds, kind: Columns, tabs: bool) -> AnnotationTable:
    """Read a table of a kind; a PipelineError if this is no such table, or it lacks the columns of times or labels.

    Parameters
    ----------
    bounds : of the folder that the table's path names its recording from, where no column names files.

    Returns
    -------
    A table with one row for each selection, however many views show it; rows without a time that is sure are its
    problems.
    """
    required = [*PLAIN.files, kind.begin, kind.end, *PLAIN.labels] if kind is PLAIN else [kind.begin, kind.end]
    used = [*kind.labels, *kind.files, OFFSET, "FOLDER", *NUMBERS]
    table = read_user_table(path, required, [name for name in used if name not in required], bounds, tabs)
    labels = [name for name in kind.labels if name in table.cells.columns]
    if not labels:
        raise PipelineError(f"{path}: lacks a column of labels; row 1 must name one of: {', '.join(kind.labels)}")
    table = _checked(table)
    cells, problems = _times(table, kind)
    files: Any = list(_files(path, cells, kind, bounds.root))
    found = pd.DataFrame(
        {
            "file": files,
            "start_s": cells[kind.begin],
            "end_s": cells[kind.end],
            "label": cells[labels[0]].map(unescaped),
            "also": cells[labels[1]] if labels[0] in SPECIES and labels[1:2] and labels[1] in SPECIES else "",
        },
        index=cells.index,
    )
    once = found.drop_duplicates()  # further views of a selection
    called = dict(zip(COLUMNS, (kind.files[-1], kind.begin, kind.end, labels[0]), strict=True))
    assumed = {PADDED: sorted(table.padded & set(once.index))}
    return AnnotationTable(path, once, problems, called=called, assumed=assumed)


def _checked(table: UserTable) -> UserTable:
    """The table without rows that end early and in which cells seem to have moved."""
    cells = table.cells
    wrong = pd.Series(False, index=cells.index)
    for name in (each for each in NUMBERS if each in cells):
        wrong |= cells[name].map(point).map(seconds).isna() & (cells[name] != "")
    wrong &= cells.index.isin(table.padded)
    rule = "does not have as many cells as row 1, and not only its last ones are missing; add them"
    problems = {**table.problems, rule: list(cells.index[wrong])}
    return UserTable(table.path, cells[~wrong], problems, table.padded)


def _files(path: Path, cells: pd.DataFrame, kind: Columns, folder: AnyPath) -> Sequence[FileNames]:
    """Names of each row's file, from the columns that name files or else from the table's own name."""
    named = [name for name in kind.files if name in cells.columns]
    if not named:
        return [names_of_table(path, folder)] * len(cells)
    if kind is PLAIN:
        return [FileNames((text,) if text else ()) for text in cells["file"].map(unescaped)]
    rows = cells[named].itertuples(index=False, name=None)
    if kind is KALEIDOSCOPE and "FOLDER" in cells:
        rows = ((f"{folder}/{name}", name) for folder, (name,) in zip(cells["FOLDER"], rows, strict=True))
    return [names_by_path(*paths) for paths in rows]


def _times(table: UserTable, kind: Columns) -> tuple[pd.DataFrame, dict[str, list[int]]]:
    """Cells with times in seconds from the beginning of each row's file; text that is no number stays as it is.

    Rows without an offset become problems where begins may count from another file's beginning: in a table that names
    several files, or in which another row's offset is not its begin.
    """
    names = [kind.begin, kind.end, *([OFFSET] if OFFSET in table.cells and kind is RAVEN else [])]
    wrong = mixed(table.cells[names])
    cells = table.cells.assign(**{name: table.cells[name].map(point) for name in names})[~wrong]
    problems = {**table.problems, MIXED_RULE: list(wrong.index[wrong])}
    if kind is not KALEIDOSCOPE and OFFSET not in names:
        return cells, problems
    begin, end = (cells[name].map(seconds).astype(float) for name in (kind.begin, kind.end))
    if kind is KALEIDOSCOPE:
        return cells.assign(**{kind.end: (begin + end).round(DIGITS).map(repr)}), problems
    offset = cells[OFFSET].map(seconds).astype(float)
    known = begin.notna() & end.notna() & offset.notna()
    several = any(len(set(cells[name])) > 1 for name in (FILE, PATH) if name in cells.columns)
    unknown = offset.isna() & (several or bool((offset != begin)[known].any()))
    problems[OFFSET_RULE] = list(cells.index[unknown])
    moved = known & (offset != begin)  # adding to others could change their last digit
    moved_end = (offset + (end - begin)).round(DIGITS).map(repr).astype(str)
    times = {BEGIN: cells[BEGIN].where(~moved, cells[OFFSET]), END: cells[END].where(~moved, moved_end)}
    return cells.assign(**times)[~unknown], problems
