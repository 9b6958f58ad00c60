"""Raven's selection tables: tab-separated text, a header, one selection a row (or one for each view of it).

Source: Raven Pro 1.6 user's manual, chapter 6: a table must have the columns Selection, View, Channel, Begin Time (s),
End Time (s), Low Freq (Hz) and High Freq (Hz); others are measurements or annotations. A table of several sound files
has File Offset (s), which is the begin within Begin File, while Begin Time (s) counts from the first file.
BirdNET-Analyzer and others write such tables as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path, PureWindowsPath

import pandas as pd

from pipeline.annotations.annotation import Annotation, one_line, recording_of
from pipeline.errors import PipelineError
from pipeline.inside import Bounds
from pipeline.rows import write_text
from pipeline.user_tables import UserTable, read_user_table

SELECTION, VIEW, CHANNEL = "Selection", "View", "Channel"
BEGIN, END, LOW, HIGH = "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)"
FILE, PATH, OFFSET, LABEL, SCORE = "Begin File", "Begin Path", "File Offset (s)", "Label", "Score"
COLUMNS = (SELECTION, VIEW, CHANNEL, BEGIN, END, LOW, HIGH, FILE, OFFSET, LABEL, SCORE)
LABELS = (LABEL, "Species Code", "Species", "Annotation", "Common Name", "Tags")  # of these the first that is there
SPECTROGRAM = "Spectrogram"


def write_raven(path: Path, annotations: Iterable[Annotation]) -> None:
    """Write a selection table of one recording, in the order of the annotations; times to 1e-6 s."""
    rows = [row_of(number, each) for number, each in enumerate(annotations, start=1)]
    write_text(path, "".join("\t".join(row) + "\n" for row in [list(COLUMNS), *rows]))


def row_of(number: int, annotation: Annotation) -> list[str]:
    """The cells of a selection; a band that is not marked begins and ends at 0."""
    return [
        str(number),
        f"{SPECTROGRAM} 1",
        "1",
        f"{annotation.begin_s:.6f}",
        f"{annotation.end_s:.6f}",
        f"{annotation.low_hz or 0:.1f}",
        f"{annotation.high_hz or 0:.1f}",
        one_line(annotation.file),
        f"{annotation.begin_s:.6f}",
        one_line(annotation.label),
        "" if annotation.score is None else f"{annotation.score:.4f}",
    ]


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
