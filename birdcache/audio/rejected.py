"""The exception about one recording, with a code for the kind of reason, and a hint."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath

from birdcache.errors import BirdcacheError, PipelineError

FETCH = "fetch it again or remove it from the data set"
HINTS = {
    "empty": FETCH,
    "not-audio": "use Ogg, WAV, FLAC, MP3, AIFF or CAF, fetch it again, or remove it",
    "truncated": FETCH,
    "damaged": FETCH,
    "chained": "write it again as one stream of one sound, or remove it",
    "no-end": "fetch it again; if there is no more of it, set data.no_end: accept in params.yaml, or remove it",
    "too-long": "raise data.longest_s in params.yaml, cut the file, or remove it",
    "too-short": "lower data.shortest_s in params.yaml or remove it",
    "silent": "remove it from the data set",
    "not-finite": "repair the file or remove it",
    "wrong-codec": "convert it (`ffmpeg -i IN OUT.flac`; 8 to 500 kHz, at most 8 channels), or remove it",
    "not-used": "see docs/data.md",
    "unreadable": "restore the file or its permissions, or remove it from the table",
    "changed": "run `dvc repro`",
    "crashed": FETCH,
    "timed-out": FETCH,
    "out-of-memory": FETCH,
    "no-scores": "use another model, or leave the file out; all other files are done with",
    "unexpected": "report this line, best with the file; all other files are done with",
}
AGAIN = "fetch it again or leave it out"
HINTS_ALONE = {  # of a file that belongs to no data set: `birdcache predict`, and bundles in Python
    **dict.fromkeys((code for code, hint in HINTS.items() if hint == FETCH), AGAIN),
    "no-end": AGAIN,
    "unreadable": "restore the file or its permissions, or leave it out",
    "too-long": "cut the file, or leave it out",
    "too-short": "leave it out",
    "silent": "leave it out",
    "not-used": "convert it, or leave it out",
    "changed": "wait until nobody writes it, and run the same command again",
}
LONGEST_REASON = 300  # characters of an unexpected error's own message


class RejectedAudio(PipelineError):  # noqa: N818 - a rejected recording is no error of the program
    """A recording is left out: the kind of reason (`code`), the reason itself (`detail`), and the way out (`hint`).

    The codes are the keys of `HINTS`. `file` is named by whoever knows it best.
    """

    def __init__(self, code: str, detail: str, hint: str = "", file: str = "") -> None:
        super().__init__(code, detail, hint, file)
        self.code, self.detail, self.file = code, detail, file
        self.hint = hint or HINTS[code]

    def alone(self) -> RejectedAudio:
        """The same of a file that belongs to no data set: the hint names no table, stage or parameter."""
        hint = HINTS_ALONE.get(self.code, self.hint) if self.hint == HINTS[self.code] else self.hint
        return RejectedAudio(self.code, self.detail, hint, self.file)

    def __str__(self) -> str:
        reason = f"{self.detail}; {self.hint}"
        return f"{self.file}: {reason}" if self.file else reason


@contextmanager
def costing_one_file(file: str = "") -> Iterator[None]:
    """Turn an error that nobody foresaw into a refusal of the file over which it came; those with a way out pass."""
    try:
        yield
    except (BirdcacheError, OSError, MemoryError):
        raise
    except Exception as error:
        raise unexpected(error, file) from error


def unexpected(error: BaseException, file: str = "") -> RejectedAudio:
    """The refusal of a file over which an error came that nobody foresaw: its line is enough to find the place."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    reason = f"{type(error).__name__}: {error}"[:LONGEST_REASON]
    detail = f"makes birdcache fail ({reason}; {PurePath(last.filename).name}, line {last.lineno})"
    return RejectedAudio("unexpected", detail, file=file)
