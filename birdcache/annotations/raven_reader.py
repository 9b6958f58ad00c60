"""Reading Raven's selection tables; their format is described in `birdcache.annotations.raven`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd

from birdcache.annotations.raven import BEGIN, END, FILE, LABEL, OFFSET, PATH, SELECTION
from birdcache.annotations.table import AnnotationTable, FileNames, names_by_path, names_of_table
from birdcache.audio.paths import Bounds
from birdcache.errors import PipelineError
from birdcache.storage import AnyPath
from birdcache.user_tables import UserTable, read_user_table

LABELS = (LABEL, "Species Code", "Species", "Annotation", "Common Name", "Tags")  # of these the first that is there
DIGITS = 9  # of seconds: sums are not exact, and no program writes so many
OFFSET_RULE = f"{OFFSET} is no number, but {BEGIN} may count from another file; write where in its file each begins"


def read_raven(path: Path, bounds: Bounds) -> AnnotationTable:
    """Read a selection table.

    Parameters
    ----------
    bounds : of the folder that the table's path names its recording from, where no column names files.

    Returns
    -------
    A table with one row for each selection; rows without a time that is sure are its problems.

    Raises
    ------
    PipelineError
        If this is no selection table, or it lacks the columns of times or labels.
    """
    table = read_user_table(path, [BEGIN, END], [*LABELS, FILE, PATH, OFFSET], bounds, tabs=True)
    label = next((name for name in LABELS if name in table.cells.columns), None)
    if label is None:
        raise PipelineError(f"{path}: lacks a column of labels; row 1 must name one of: {', '.join(LABELS)}")
    same = [name for name in (SELECTION, FILE, PATH, BEGIN, END, OFFSET, label) if name in table.cells.columns]
    table = replace(table, cells=table.cells.drop_duplicates(same))  # further views of a selection
    if OFFSET in table.cells.columns:
        table = _from_offsets(table)
    cells = table.cells
    found = {
        "file": _files(path, cells, bounds.root),
        "start_s": cells[BEGIN],
        "end_s": cells[END],
        "label": cells[label],
    }
    called = {"file": FILE, "start_s": BEGIN, "end_s": END, "label": label}
    return AnnotationTable(path, pd.DataFrame(found, index=cells.index), table.problems, called=called)


def _files(path: Path, cells: pd.DataFrame, folder: AnyPath) -> list[FileNames]:
    """Names of each row's file, from the columns that name files or else from the table's own name."""
    named = [name for name in (PATH, FILE) if name in cells.columns]
    if not named:
        return [names_of_table(path, folder)] * len(cells)
    return [names_by_path(*paths) for paths in cells[named].itertuples(index=False, name=None)]


def _from_offsets(table: UserTable) -> UserTable:
    """Times from the beginning of each row's file; text that is no number stays as it is.

    Rows without an offset become problems where begins may count from another file's beginning: in a table that names
    several files, or in which another row's offset is not its begin.
    """
    cells = table.cells
    begin, end, offset = (pd.to_numeric(cells[name], errors="coerce") for name in (BEGIN, END, OFFSET))
    known = begin.notna() & end.notna() & offset.notna()
    several = any(len(set(cells[name])) > 1 for name in (FILE, PATH) if name in cells.columns)
    unknown = offset.isna() & (several or bool((offset != begin)[known].any()))
    problems = {**table.problems, OFFSET_RULE: list(cells.index[unknown])} if unknown.any() else table.problems
    moved = known & (offset != begin)  # adding to others could change their last digit
    end_s = (offset + (end - begin)).round(DIGITS)
    times = {
        BEGIN: cells[BEGIN].where(~moved, cells[OFFSET]),
        END: cells[END].where(~moved, end_s.map(repr)),
    }
    return replace(table, cells=cells.assign(**times)[~unknown], problems=problems)
