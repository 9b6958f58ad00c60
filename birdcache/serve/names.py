"""Names of recordings, as their senders call them, for reading only: in texts, tables and names of downloads."""

from __future__ import annotations

from pathlib import PurePosixPath

MOST_BYTES = 100  # of UTF-8: file systems take 255, and a download's name gets a suffix more
MOST_SUFFIX_BYTES = 10
UNNAMED = "recording"


def shown_name(sent: str) -> str:
    """The last part of a name that was sent, without what cannot be printed, cut to 100 bytes before its suffix."""
    last = PurePosixPath(sent.replace("\\", "/")).name
    name = "".join(filter(str.isprintable, last)).strip()
    return cut(name) if name.strip(". ") else UNNAMED


def cut(name: str) -> str:
    """The beginning of a name and its suffix, at most 100 bytes of UTF-8; no letter is cut in two."""
    if len(name.encode()) <= MOST_BYTES:
        return name
    suffix = PurePosixPath(name).suffix.encode()
    suffix = suffix if len(suffix) <= MOST_SUFFIX_BYTES else b""
    stem = name.encode()[: MOST_BYTES - len(suffix)]
    return stem.decode(errors="ignore") + suffix.decode()
