"""Files of a data set that may be opened: regular files below its root, and nothing behind a link or an odd name."""

import os
import stat
import unicodedata
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from birdcache.errors import PipelineError
from birdcache.storage import AnyPath

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
LINKS_HINT = "copy what it points to, or set data.links: anywhere in params.yaml if you trust it"


def kind_of(mode: int) -> str:
    """The kind of something that is no regular file, such as "a folder"; "" for a file."""
    return "" if stat.S_ISREG(mode) else KINDS.get(stat.S_IFMT(mode), "no file")


@dataclass(frozen=True)
class Bounds:
    """A data set's root, and whether links may lead out of it (`data.links`).

    Behind a URL there are no links: a key below the root's is what it says.
    """

    root: AnyPath
    links: Literal["inside", "anywhere"]

    @cached_property
    def _real_root(self) -> str:
        return os.path.realpath(str(self.root))

    def why_not(self, path: AnyPath) -> str:
        """The reason why a path must not be opened as a file, "" if it may be or does not exist.

        Nothing is opened to find out.
        """
        if not isinstance(path, Path):
            return ""
        try:
            kind = kind_of(path.stat().st_mode)
        except (OSError, ValueError):
            return ""
        return f"is {kind}, not a file" if kind else self.why_outside(path)

    def why_outside(self, path: AnyPath) -> str:
        """The reason why a file or folder lies out of bounds, "" if it does not."""
        if not isinstance(path, Path) or self.links == "anywhere":
            return ""
        real = os.path.realpath(path)
        inside = os.path.commonpath([self._real_root, real]) == self._real_root
        return "" if inside else f"leads out of {self.root} by a symbolic link"

    def check(self, path: AnyPath) -> None:
        """Refuse to open a table that is no file or lies elsewhere, by a `PipelineError` with the way out."""
        if why := self.why_not(path):
            raise PipelineError(f"{path}: {why}; {LINKS_HINT if 'link' in why else 'replace it'}")

    def plain_files(self, folder: AnyPath) -> frozenset[str]:
        """Names of the regular files in a folder that lies inside, by one listing; of no others."""
        if not isinstance(folder, Path) or not folder.is_dir() or self.why_outside(folder):
            return frozenset()
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries if entry.is_file(follow_symlinks=False))


def folded(text: str) -> str:
    """The text as seen by a disk that distinguishes neither case nor Unicode's forms."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
