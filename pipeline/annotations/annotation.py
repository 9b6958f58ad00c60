"""A stretch of a recording that somebody or something has named: what Raven's and Audacity's files hold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ENDINGS = (".selections", ".labels", ".Table.1", ".BirdNET")  # what programs put between a recording's name and .txt


@dataclass(frozen=True)
class Annotation:
    """One annotated stretch.

    Attributes
    ----------
    label
        What is heard, "" if nothing is said.
    low_hz, high_hz
        Its band, None if it was not marked.
    score
        How sure a model was, None for one that a person made.
    file
        Name of the recording, "" if the file of annotations does not say.
    """

    begin_s: float
    end_s: float
    label: str
    low_hz: float | None = None
    high_hz: float | None = None
    score: float | None = None
    file: str = ""


def one_line(text: str) -> str:
    """Text that fits into a cell between tabs: white space of any kind as single spaces."""
    return " ".join(text.split())


def recording_of(path: Path) -> str:
    """The name of the recording that a table is about which names none: its own, without what programs append."""
    name = path.stem
    while found := next((ending for ending in ENDINGS if name.endswith(ending)), None):
        name = name.removesuffix(found)
    return name
