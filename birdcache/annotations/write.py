"""Annotated stretches of recordings, and their files: Raven's selection tables, Audacity's label tracks.

Raven: tab-separated text, a header, one selection a row (or one for each view of it). Source: Raven Pro 1.6 user's
manual, chapter 6: a table must have the columns Selection, View, Channel, Begin Time (s), End Time (s), Low Freq (Hz)
and High Freq (Hz); others are measurements or annotations. A table of several sound files has File Offset (s), which is
the begin within Begin File, while Begin Time (s) counts from the first file; Begin Path is the whole path of Begin
File. BirdNET-Analyzer and others write such tables as well.

Audacity: begin, end and label between tabs, and perhaps a second line with the band. Source: Audacity's manual,
Importing and Exporting Labels: seconds with six decimals; a line that begins with a backslash holds the lower and upper
frequency in hertz of the label above it, -1 where there is none.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from birdcache.files import write_lines

BREAKS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")  # tabs, and what some program takes for the end of a line
SELECTION, VIEW, CHANNEL = "Selection", "View", "Channel"
BEGIN, END, LOW, HIGH = "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)"
FILE, PATH, OFFSET, LABEL, SCORE = "Begin File", "Begin Path", "File Offset (s)", "Label", "Score"
RAVEN_COLUMNS = (SELECTION, VIEW, CHANNEL, BEGIN, END, LOW, HIGH, FILE, PATH, OFFSET, LABEL, SCORE)
BAND = "\\"  # what a line of Audacity's begins with that holds a band


@dataclass(frozen=True)
class Annotation:
    """One annotated stretch."""

    begin_s: float
    end_s: float
    label: str  # the class that is heard, "" if unknown
    low_hz: float | None = None  # low_hz and high_hz: its band, None if it was not marked
    high_hz: float | None = None
    score: float | None = None  # how sure a model was, None for one that a person made
    file: str = ""  # file and path: name of the recording, and its path as it was given; "" if not known
    path: str = ""


def write_raven(path: Path, annotations: Iterable[Annotation]) -> None:
    """Write a selection table of one recording, in the order of the annotations; times to 1e-6 s."""
    rows = (raven_row(number, each) for number, each in enumerate(annotations, start=1))
    write_lines(path, ("\t".join(row) + "\n" for row in chain([RAVEN_COLUMNS], rows)))


def raven_row(number: int, annotation: Annotation) -> list[str]:
    """The cells of a selection; a band that is not marked begins and ends at 0."""
    return [
        str(number),
        "Spectrogram 1",
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


def write_audacity(path: Path, annotations: Iterable[Annotation]) -> None:
    """Write a label track, in the order of the annotations; a score stands behind its label, to two digits."""
    write_lines(path, map(audacity_lines, annotations))


def audacity_lines(annotation: Annotation) -> str:
    """The line of a label, and that of its band if it has one."""
    label = one_line(annotation.label) + ("" if annotation.score is None else f" {annotation.score:.2f}")
    line = f"{annotation.begin_s:.6f}\t{annotation.end_s:.6f}\t{label}\n"
    if annotation.low_hz is None or annotation.high_hz is None:
        return line
    return line + f"{BAND}\t{annotation.low_hz:.6f}\t{annotation.high_hz:.6f}\n"


def one_line(text: str) -> str:
    """Text that fits into a cell between tabs: a space for tabs and line ends, all else as it is."""
    return BREAKS.sub(" ", text)
