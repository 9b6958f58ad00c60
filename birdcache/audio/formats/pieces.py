"""Pieces of a file as a file of their own, for libsndfile; and a file's bytes by place, for those that walk it."""

from __future__ import annotations

import io
import os
from bisect import bisect_right
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import BinaryIO

FIRST_BYTES, BLOCK_BYTES = 2**13, 2**20
STRETCHED_BYTES = 2**40
TAG_BYTES = 128  # libmpg123 looks for a tag of this length at the end


@dataclass(frozen=True)
class Reading:
    """What libsndfile reads where it must not read the file as it lies, and what is left out of what it decodes."""

    spans: tuple[tuple[int, int], ...]  # parts of the file, (start, end)
    lead: bytes = b""  # bytes in front of them
    # whether to say that far more follows: libsndfile decodes an MP3 file no further than it guesses from its size
    stretched: bool = False
    skipped: int = 0  # skipped and surplus: samples of each channel in front of the sound, and behind it
    surplus: int = 0
    raw: tuple[str, str] | None = None  # kind and byte order of samples without a header, as libsndfile calls them

    def moved(self, by: int) -> Reading:
        """The same of a file with so many bytes more in front."""
        return replace(self, spans=tuple((start + by, end + by) for start, end in self.spans))


class Pieces(io.RawIOBase):
    """A file as `Reading` shows it."""

    def __init__(self, file: BinaryIO, reading: Reading) -> None:
        self._file, self._lead, self._spans = file, reading.lead, reading.spans
        lengths = [len(reading.lead), *(end - start for start, end in reading.spans)]
        self._ends = list(accumulate(lengths))
        self._size = STRETCHED_BYTES if reading.stretched else self._ends[-1]
        self._place = 0

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place, and return it."""
        self._place = offset + (0, self._place, self._size)[whence]
        return self._place

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill the buffer, or as much of it as there are bytes, and return their number."""
        done = 0
        while done < len(buffer) and (content := self._next(len(buffer) - done)):
            buffer[done : done + len(content)] = content
            done += len(content)
            self._place += len(content)
        return done

    def _next(self, most: int) -> bytes:
        """Bytes from here on: of one piece, and zeros where the end was moved to."""
        piece = bisect_right(self._ends, self._place)
        if piece == len(self._ends):
            return bytes(min(most, TAG_BYTES)) if self._place == self._size - TAG_BYTES else b""
        left = min(most, self._ends[piece] - self._place)
        if piece == 0:
            return self._lead[self._place : self._place + left]
        self._file.seek(self._spans[piece - 1][1] - (self._ends[piece] - self._place))
        return self._file.read(left)


class Window:
    """A file's bytes by place, read in blocks; past the end there are none."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, os.SEEK_END)
        self._start, self._held, self._least = 0, b"", FIRST_BYTES

    def __call__(self, place: int, count: int) -> bytes:
        """So many bytes from a place on."""
        begin = place - self._start
        if begin < 0 or begin + count > len(self._held):
            self._file.seek(place)
            self._held = self._file.read(max(count, self._least))
            self._least = min(2 * self._least, BLOCK_BYTES)  # who walks on reads more at a time, who jumps does not
            self._start, begin = place, 0
        return self._held[begin : begin + count]
