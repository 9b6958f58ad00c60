"""Notes: remarks on recordings that are used although something about them is odd."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

NOTES = {
    "bytes-around": "bytes before, between or behind the sound are not part of it, and are passed over",
    "joined": "several files are joined to one, and read as one",
    "opposite-phase": "the mean of its channels would be silence, or noise without the bird",
    "wrong-length": "the file names another length than its frames have, which is used",
}


class Note(NamedTuple):
    """A remark on a recording: a code for its kind, one of `NOTES`, and what was seen or assumed."""

    code: str
    detail: str


def notes_text(notes: Iterable[tuple[str, Note]]) -> str:
    """Number of notes of each kind on files, with one example; there are some."""
    rows = sorted(notes)
    counts = ", ".join(f"{code} {count}" for code, count in sorted(Counter(note.code for _, note in rows).items()))
    return f"notes: {counts}, first {rows[0][0]}: {rows[0][1].detail}"
