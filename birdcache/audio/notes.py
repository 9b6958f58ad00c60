"""Notes: remarks on recordings that are used although something about them is odd."""

from __future__ import annotations

from typing import NamedTuple

NOTES = {
    "bytes-around": "bytes before, between or behind the sound are not part of it, and are passed over",
    "joined": "several files are joined to one, and read as one",
    "wrong-length": "the file names another length than its frames have, which is used",
}


class Note(NamedTuple):
    """A remark on a recording: a code for its kind, one of `NOTES`, and what was seen or assumed."""

    code: str
    detail: str
