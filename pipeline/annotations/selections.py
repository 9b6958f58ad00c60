"""Reading Raven's selection tables; their format is told in `pipeline.annotations.raven`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PureWindowsPath

import pandas as pd

from pipeline.annotations.annotation import recording_of
from pipeline.annotations.raven import BEGIN, END, FILE, LABEL, OFFSET, PATH, SELECTION
from pipeline.errors import PipelineError
from pipeline.inside import Bounds
from pipeline.user_tables import UserTable, read_user_table

LABELS = (LABEL, "Species Code", "Species", "Annotation", "Common Name", "Tags")  # of these the first that is there


def read_raven(path: Path, bounds: Bounds) -> UserTable:
    """Read a selection table.

    Returns
    -------
    A table with the columns file, start_s, end_s and label as text; one row for each selection. Without a column that
    names the file, it is the table's own name without what programs append.

    Raises
    ------
    PipelineError
        If this is no selection table, or it lacks the columns of times or labels.
    """
    table = read_user_table(path, [BEGIN, END], [*LABELS, FILE, PATH, OFFSET], bounds, tabs=True)
    cells = table.cells
    label = next((name for name in LABELS if name in cells.columns), None)
    if label is None:
        raise PipelineError(f"{path}: lacks a column of labels; row 1 must name one of: {', '.join(LABELS)}")
    if SELECTION in cells.columns:
        cells = cells[~cells[SELECTION].duplicated() | (cells[SELECTION] == "")]
    if OFFSET in cells.columns:
        cells = _from_offsets(cells)
    if FILE in cells.columns:
        file = cells[FILE].map(_base_name)
    else:
        file = cells[PATH] if PATH in cells.columns else pd.Series(recording_of(path), index=cells.index)
    found = pd.DataFrame({"file": file, "start_s": cells[BEGIN], "end_s": cells[END], "label": cells[label]})
    return replace(table, cells=found.astype(str))


def _from_offsets(table: pd.DataFrame) -> pd.DataFrame:
    """Times from the beginning of each row's file; text that is no number stays as it is."""
    begin, end, offset = (pd.to_numeric(table[name], errors="coerce") for name in (BEGIN, END, OFFSET))
    known = begin.notna() & end.notna() & offset.notna()
    start_s, end_s = offset[known], offset[known] + (end - begin)[known]
    return table.assign(
        **{BEGIN: table[BEGIN].where(~known, start_s.map(repr)), END: table[END].where(~known, end_s.map(repr))}
    )


def _base_name(text: str) -> str:
    return PureWindowsPath(text).name
