"""The mapped files of a raw local store; each chunk is compared with its checksum once, when it is first wanted.

A part's SHA-256 would cost its whole file at the first touch, and a training touches every part with its first batch.
A chunk's CRC-32C costs 20 microseconds, and together they see every bit of a shard. R run.
"""

import mmap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from birdcache.arrays import Bools, Ints
from cache.corruption import Corruption
from cache.manifest import Index
from cache.part import SHARD, map_parts
from cache.quantize import QuantizedArray
from cache.shard import CHECKSUM_BYTES, CHUNK_FRAMES, Layout, checksum, chunks_of


class MappedParts:
    """Chunks of all parts as arrays: `chunks[part]` is (N, 512, M), good to read once `check` has returned."""

    def __init__(self, folders: Sequence[Path], layout: Layout, index: Index) -> None:
        """Map every part.

        A StoreError if one is not laid out as it was written, or this process may not open so many files.
        """
        self.chunks = map_parts(folders, layout)
        self.files = [_mapping(chunks) for chunks in self.chunks]
        self._bytes = [np.frombuffer(file, np.uint8) for file in self.files]
        self._folders, self._index, self._chunk_bytes = folders, index, layout.chunk_bytes
        self._first_chunk = np.cumsum([0, *map(len, self.chunks)])
        self._is_good = np.zeros(self._first_chunk[-1], bool)
        self._left = len(self._is_good)  # chunks that nobody has looked at yet

    def unchecked(self, part_R: Ints, chunk_R: Ints) -> Bools:
        """Mask of those of these chunks that have not been compared yet."""
        if not self._left:
            return np.zeros(len(part_R), bool)
        return ~self._is_good[self._first_chunk[part_R] + chunk_R]

    def check(self, part_R: Ints, chunk_R: Ints) -> int:
        """Compare chunks with their checksums, those that have not been; returns the number of bytes that it took.

        A StoreError if the bytes of one are not those that were written.
        """
        is_new = self.unchecked(part_R, chunk_R)
        new = {*zip(part_R[is_new].tolist(), chunk_R[is_new].tolist(), strict=True)}
        for part, chunk in sorted(new):
            self._compare(part, chunk)
        return len(new) * self._chunk_bytes

    def rows(self, part: int, start: int, frames: int) -> Iterator[QuantizedArray]:
        """Rows `start` to `start + frames` of a part, in pieces (T, M); errors as in `check`."""
        numbers = np.arange(start // CHUNK_FRAMES, chunks_of(start + frames))
        self.check(np.full(len(numbers), part), numbers)
        for number in numbers.tolist():
            first = number * CHUNK_FRAMES
            yield self.chunks[part][number, max(start - first, 0) : start + frames - first]

    def _compare(self, part: int, chunk: int) -> None:
        begin = chunk * (self._chunk_bytes + CHECKSUM_BYTES)
        end = begin + self._chunk_bytes
        content = self._bytes[part]
        if checksum(content[begin:end]) != content[end : end + CHECKSUM_BYTES].tobytes():
            path = self._folders[part] / SHARD
            raise Corruption(path, f"chunk {chunk} is damaged", self._index.audio_in(part, chunk)).error()
        self._is_good[self._first_chunk[part] + chunk] = True
        self._left -= 1


def _mapping(chunks: Any) -> mmap.mmap:
    """The mapped file that an array shows."""
    while not isinstance(chunks, mmap.mmap):
        chunks = chunks.base
    return chunks
