"""Raven's selection tables: tab-separated text, a header, one selection a row (or one for each view of it).

Source: Raven Pro 1.6 user's manual, chapter 6: a table must have the columns Selection, View, Channel, Begin Time (s),
End Time (s), Low Freq (Hz) and High Freq (Hz); others are measurements or annotations. A table of several sound files
has File Offset (s), which is the begin within Begin File, while Begin Time (s) counts from the first file; Begin Path
is the whole path of Begin File.
BirdNET-Analyzer and others write such tables as well. They are read in `birdcache.annotations.column_reader`.
"""

from collections.abc import Iterable
from itertools import chain
from pathlib import Path

from birdcache.annotations.annotation import Annotation, one_line
from birdcache.files import write_lines

SELECTION, VIEW, CHANNEL = "Selection", "View", "Channel"
BEGIN, END, LOW, HIGH = "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)"
FILE, PATH, OFFSET, LABEL, SCORE = "Begin File", "Begin Path", "File Offset (s)", "Label", "Score"
COLUMNS = (SELECTION, VIEW, CHANNEL, BEGIN, END, LOW, HIGH, FILE, PATH, OFFSET, LABEL, SCORE)
SPECTROGRAM = "Spectrogram"


def write_raven(path: Path, annotations: Iterable[Annotation]) -> None:
    """Write a selection table of one recording, in the order of the annotations; times to 1e-6 s."""
    rows = (row_of(number, each) for number, each in enumerate(annotations, start=1))
    write_lines(path, ("\t".join(row) + "\n" for row in chain([COLUMNS], rows)))


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
        one_line(annotation.path),
        f"{annotation.begin_s:.6f}",
        one_line(annotation.label),
        "" if annotation.score is None else f"{annotation.score:.4f}",
    ]
