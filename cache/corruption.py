"""Corrupted files of a store: the file, the fault, the recordings that it concerns, and the repair.

DVC knows files by inode, time and size, and would not look again at one that a failing disk has changed. So the file's
time is set: then `dvc repro` runs its stage, which compares the parts in the pool and builds only what is bad.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from birdcache.errors import StoreError
from birdcache.storage import AnyPath

NAMED = 3  # recordings in a message; `birdcache verify` lists all
HASH_DIGITS = 12


@dataclass(frozen=True)
class Corruption:
    """One file that is bad, what is wrong, and the SHA-256 of the audio of each recording that it concerns."""

    file: AnyPath
    what: str
    audio: tuple[str, ...] = ()

    def error(self) -> StoreError:
        """The error to raise; DVC looks at the file again."""
        return StoreError(f"{self.file}: {self.what}{_words(self.audio)}; {repair(self)}")


def repair(corruption: Corruption) -> str:
    """Prepare what makes a bad file good again, and say what the user does."""
    if not isinstance(corruption.file, Path):
        return f"remove {corruption.file} there, then run `dvc repro -f -s` of the stage that builds the store"
    if _is_noticed(corruption.file):
        return "run `dvc repro`, which builds again what is bad and nothing else"
    return "run `dvc repro -f -s` of the stage that builds the store; it builds again what is bad and nothing else"


def _is_noticed(path: Path) -> bool:
    """True if DVC will look at the file again: it is gone, or has another time now."""
    try:
        os.utime(path)
        if path.is_symlink():
            os.utime(path, follow_symlinks=False)
    except FileNotFoundError:
        return True
    except OSError:  # another user's
        return False
    return True


def _words(audio: Sequence[str]) -> str:
    """The recordings, by the first digits of their SHA-256."""
    if not audio:
        return ""
    named = ", ".join(sha256[:HASH_DIGITS] for sha256 in audio[:NAMED])
    more = f" and {len(audio) - NAMED} more; `birdcache verify` lists their files" if len(audio) > NAMED else ""
    return f"; holds {len(audio)} recording{'s' * (len(audio) > 1)} (SHA-256 of the audio: {named}{more})"
