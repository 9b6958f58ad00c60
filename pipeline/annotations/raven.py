"""Raven's selection tables: tab-separated text, a header, one selection a row (or one for each view of it).

Source: Raven Pro 1.6 user's manual, chapter 6: a table must have the columns Selection, View, Channel, Begin Time (s),
End Time (s), Low Freq (Hz) and High Freq (Hz); others are measurements or annotations. A table of several sound files
has File Offset (s), which is the begin within Begin File, while Begin Time (s) counts from the first file.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from pipeline.annotations.annotation import Annotation, one_line
from pipeline.errors import PipelineError
from pipeline.rows import write_text

SELECTION, VIEW, CHANNEL = "Selection", "View", "Channel"
BEGIN, END, LOW, HIGH = "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)"
FILE, OFFSET, LABEL, SCORE = "Begin File", "File Offset (s)", "Label", "Score"
REQUIRED = (SELECTION, BEGIN, END)
COLUMNS = (SELECTION, VIEW, CHANNEL, BEGIN, END, LOW, HIGH, FILE, OFFSET, LABEL, SCORE)
LABELS = (LABEL, "Species", "Species Code", "Common Name", "Annotation", "Tag", "Class", "Call")  # as people name it
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


def read_raven(path: Path, label_column: str | None = None) -> list[Annotation]:
    """Read a selection table, in its order; of the views of one selection a spectrogram, else the first.

    Parameters
    ----------
    label_column : the column with the labels, None = the first there is of `LABELS`.

    Raises
    ------
    PipelineError
        If it is no such table, or a row holds what is no number or ends before it begins.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    except (OSError, UnicodeDecodeError) as error:
        raise PipelineError(f"{path}: cannot be read as text in UTF-8 ({error}); export it again from Raven") from error
    header = [cell.strip() for cell in rows[0]] if rows else []
    if missing := [name for name in REQUIRED if name not in header]:
        raise PipelineError(
            f"{path}: lacks column(s) {', '.join(missing)}, so it is no Raven selection table; save it from Raven with "
            "File > Save Selection Table As"
        )
    label = _label_column(path, header, label_column)
    chosen: dict[str, Annotation] = {}
    views: dict[str, str] = {}
    for number, cells in enumerate(rows[1:], start=2):
        if not any(cell.strip() for cell in cells):
            continue
        row = dict(zip(header, (cell.strip() for cell in cells), strict=False))
        selection, view = row.get(SELECTION, ""), row.get(VIEW, "")
        is_better = view.startswith(SPECTROGRAM) and not views.get(selection, SPECTROGRAM).startswith(SPECTROGRAM)
        if selection not in chosen or is_better:
            chosen[selection], views[selection] = _annotation(path, number, row, label), view
    return list(chosen.values())


def _label_column(path: Path, header: list[str], wanted: str | None) -> str | None:
    if wanted is None:
        return next((name for name in LABELS if name in header), None)
    if wanted not in header:
        raise PipelineError(f"{path}: lacks the column {wanted!r} of labels; it has {', '.join(header)}")
    return wanted


def _annotation(path: Path, number: int, row: Mapping[str, str], label: str | None) -> Annotation:
    begin_s, end_s = (_number(path, number, row, name) for name in (BEGIN, END))
    low_hz, high_hz, score, offset_s = (_number(path, number, row, name) for name in (LOW, HIGH, SCORE, OFFSET))
    if begin_s is None or end_s is None or not 0 <= begin_s <= end_s:
        raise PipelineError(
            f"{path}: row {number}: {BEGIN} {row.get(BEGIN, '')!r} and {END} {row.get(END, '')!r} must be seconds, the "
            "end not before the begin; correct the row"
        )
    if offset_s is not None:
        begin_s, end_s = offset_s, offset_s + end_s - begin_s
    if not high_hz:
        low_hz = high_hz = None
    text = row.get(label, "") if label else ""
    return Annotation(begin_s, end_s, text, low_hz, high_hz, score, row.get(FILE, ""))


def _number(path: Path, number: int, row: Mapping[str, str], name: str) -> float | None:
    text = row.get(name, "")
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise PipelineError(f"{path}: row {number}: {name} {text!r} is no number; correct the row")
    return value
