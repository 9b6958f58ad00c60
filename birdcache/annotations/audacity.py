"""Audacity's label tracks as text: begin, end and label between tabs, and perhaps a second line with the band.

Source: Audacity's manual, Importing and Exporting Labels: seconds with six decimals; a line that begins with a
backslash holds the lower and upper frequency in hertz of the label above it, -1 where there is none. They are read in
`birdcache.annotations.audacity_reader`.
"""

from collections.abc import Iterable
from pathlib import Path

from birdcache.annotations.annotation import Annotation, one_line
from birdcache.files import write_lines

BAND = "\\"  # what a line that holds a band begins with


def write_audacity(path: Path, annotations: Iterable[Annotation]) -> None:
    """Write a label track, in the order of the annotations; a score stands behind its label, to two digits."""
    write_lines(path, map(lines_of, annotations))


def lines_of(annotation: Annotation) -> str:
    """The line of a label, and that of its band if it has one."""
    label = one_line(annotation.label) + ("" if annotation.score is None else f" {annotation.score:.2f}")
    line = f"{annotation.begin_s:.6f}\t{annotation.end_s:.6f}\t{label}\n"
    if annotation.low_hz is None or annotation.high_hz is None:
        return line
    return line + f"{BAND}\t{annotation.low_hz:.6f}\t{annotation.high_hz:.6f}\n"
