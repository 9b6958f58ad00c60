"""Files made of chunks, each with a name and a size: where the sound lies, whatever its size says.

A size is a promise. It is kept if the file ends with the sound, or with further chunks behind it. If not, the file was
cut, or never finished, or is longer than its size can say: the size and the file together tell which.
"""

import struct
from dataclasses import dataclass

from birdcache.audio.formats.pieces import BLOCK_BYTES, Window
from birdcache.audio.formats.tags import behind_tags
from birdcache.audio.notes import Note
from birdcache.audio.rejected import RejectedAudio

MOST_CHUNKS, MOST_CONTENT_BYTES = 1000, 2**24
LIMITS, NEAR = (2**31, 2**32, 2**63, 2**64), 2**24  # who cannot know the size writes about the largest one
FEW_BYTES, MOST_ZEROS = 8, 2**26  # padding, and space that a recorder sets aside
SHORT_S = 1.0  # of what is neither sound nor chunk: no song is lost with it
WAY_OUT = "if they are sound, write its header anew (`ffmpeg -ignore_length 1 -i IN OUT`), else cut them off"


@dataclass(frozen=True)
class Grammar:
    """How the chunks of a format are written."""

    head: struct.Struct  # a name and a size
    align: int  # what a chunk is padded to a multiple of
    magic: bytes  # magic and sound: the names of the whole file, and of the chunk with the sound
    sound: bytes


@dataclass(frozen=True)
class Extent:
    """Where the sound lies, and whether the file says that it ends there."""

    start: int
    end: int
    ended: bool = True
    notes: tuple[Note, ...] = ()
    read_as: str = ""


class Chunks:
    """The chunks of a file from a place on: start and size of each one's content by name; and where they stop."""

    def __init__(self, window: Window, place: int, grammar: Grammar) -> None:
        self._window, self._grammar = window, grammar
        self._found: dict[bytes, tuple[int, int]] = {}
        self.stop, count = place, 0
        while (chunk := self._at(self.stop, is_named=grammar.sound in self._found)) is not None:
            name, start, size = chunk
            count += 1
            if count > MOST_CHUNKS:
                raise RejectedAudio("damaged", f"has {MOST_CHUNKS} chunks and still no end")
            if name == grammar.magic or (name == grammar.sound and name in self._found):
                raise RejectedAudio("chained", f"another sound begins at byte {self.stop}")
            self._found.setdefault(name, (start, size))
            self.stop = self._behind(start, size)

    def _at(self, place: int, is_named: bool = True) -> tuple[bytes, int, int] | None:
        """Name, start and size of the chunk that begins here, if one does: only that of the sound may be cut.

        With `is_named`, its name must be text: behind the sound, anything may lie.
        """
        grammar, size_of_head = self._grammar, self._grammar.head.size
        head = self._window(place, size_of_head)
        is_text = head[:4].isascii() and head[:4].decode().isprintable()
        if len(head) < size_of_head or (is_named and not is_text):
            return None
        name, size = grammar.head.unpack(head)
        if name == grammar.sound:
            if size == 2**32 - 1 and b"ds64" in self._found:  # where RF64 has what four bytes do not hold
                size = int.from_bytes(self.content(b"ds64", 16)[8:16], "little")
        elif place + size > self._window.size - size_of_head:
            return None
        return name, place + size_of_head, size

    def _behind(self, start: int, size: int) -> int:
        """The place behind a chunk. Some writers forget the padding, which is of zeros where there is any."""
        end = start + size
        if end >= self._window.size:
            return self._window.size
        padding = -size % self._grammar.align
        is_padded = not any(self._window(end, padding)) or self._at(end) is None
        return end + padding if is_padded else end

    def content(self, name: bytes, least: int) -> bytes:
        """The content of a chunk that must be there, of so many bytes at least; of a large one the beginning."""
        start, size = self.place(name), self._found[name][1]
        content = self._window(start, min(size, MOST_CONTENT_BYTES))
        if len(content) < least:
            raise RejectedAudio("damaged", f"its chunk {name[:4].decode()!r} takes {size} bytes, less than {least}")
        return content

    def place(self, name: bytes) -> int:
        """Where the content of a chunk begins that must be there."""
        if name not in self._found:
            if self._grammar.sound not in self._found:
                raise RejectedAudio("truncated", "ends before its sound begins")
            raise RejectedAudio("damaged", f"has no chunk {name[:4].decode()!r}")
        return self._found[name][0]

    def has(self, name: bytes) -> bool:
        """True if there is such a chunk."""
        return name in self._found

    def extent(self, skipped: int, second_bytes: float) -> Extent:
        """Where the sound lies, `skipped` bytes behind the beginning of its chunk; a second takes `second_bytes`."""
        window, grammar = self._window, self._grammar
        start, whole = self.place(grammar.sound) + skipped, self._found[grammar.sound][1]
        size, there = max(0, whole - skipped), window.size - start
        if there <= 0:
            raise RejectedAudio("empty" if size == 0 else "truncated", "holds no samples")
        if size > there:
            if is_open(size):
                return Extent(start, window.size, ended=False)
            raise RejectedAudio("truncated", f"promises {size} bytes of sound, but {there} follow")
        stop = self.stop if skipped <= whole else Chunks(window, start, grammar).stop
        left = window.size - stop
        if left < FEW_BYTES and not any(window(stop, left)):
            return Extent(start, start + size)
        wrapped = start + size + (there - size >> 32 << 32)
        if wrapped > start + size and _is_end(window, Chunks(window, wrapped, grammar).stop):
            detail = f"its size, {size} bytes, has lost a multiple of 4 GiB: {wrapped - start} follow and are read"
            return Extent(start, wrapped, notes=(Note("wrong-length", detail),), read_as="beyond 4 GiB")
        if is_open(size) and not (size and _is_end(window, stop)):
            return Extent(start, window.size, ended=False)
        if left < SHORT_S * second_bytes or _is_end(window, stop):
            return Extent(start, start + size, notes=(Note("bytes-around", f"{left} bytes lie behind its sound"),))
        detail = f"promises {size} bytes of sound, and {left} follow at byte {stop} that are no chunk"
        raise RejectedAudio("damaged", detail, WAY_OUT)


def is_open(size: int) -> bool:
    """True for a size that only a writer names who does not know it."""
    return size == 0 or any(abs(size - limit) <= NEAR for limit in LIMITS)


def _is_end(window: Window, place: int) -> bool:
    """True if from here on there are only tags and zeros, as of space that was set aside."""
    place = behind_tags(window, place)
    if window.size - place > MOST_ZEROS:
        return False
    while place < window.size and not any(block := window(place, BLOCK_BYTES)):
        place += len(block)
    return place >= window.size
