"""Annotated stretches of recordings, as in Raven's and Audacity's files."""

import re
from dataclasses import dataclass

BREAKS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")  # tabs, and what some program takes for the end of a line


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


def one_line(text: str) -> str:
    """Text that fits into a cell between tabs: a space for tabs and line ends, all else as it is."""
    return BREAKS.sub(" ", text)
