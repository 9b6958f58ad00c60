"""Selection tables of Raven Pro and Raven Lite, which BirdNET-Analyzer and others write as well.

Tab-separated text with a header. A selection may have a row for each view; its times are those of the whole sound that
was open, or, in column `File Offset (s)`, of the file that it begins in.
Source: Raven Pro 1.6 User's Manual, chapter 6 and appendix on measurements (Cornell Lab of Ornithology).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PureWindowsPath

import pandas as pd

from pipeline.errors import PipelineError
from pipeline.inside import Bounds
from pipeline.user_tables import UserTable, read_user_table

BEGIN, END, OFFSET = "Begin Time (s)", "End Time (s)", "File Offset (s)"
LABELS = ("Species Code", "Species", "Label", "Annotation", "Common Name", "Tags")  # the first that is there counts
FILES = ("Begin File", "Begin Path")
ENDINGS = (".selections", ".Table.1", ".BirdNET")  # what programs put between a recording's name and .txt


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
    table = read_user_table(path, [BEGIN, END], [*LABELS, *FILES, OFFSET], bounds, tabs=True)
    cells = table.cells
    label = next((name for name in LABELS if name in cells.columns), None)
    if label is None:
        raise PipelineError(f"{path}: lacks a column of labels; row 1 must name one of: {', '.join(LABELS)}")
    if "Selection" in cells.columns:
        cells = cells[~cells["Selection"].duplicated() | (cells["Selection"] == "")]
    if OFFSET in cells.columns:
        cells = _from_offsets(cells)
    named = next((name for name in FILES if name in cells.columns), None)
    file = _recording_of(path) if named is None else cells[named].map(_base_name if named == FILES[0] else str)
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


def _recording_of(path: Path) -> str:
    name = path.stem
    for ending in ENDINGS:
        name = name.removesuffix(ending)
    return name.removesuffix(ENDINGS[1])
