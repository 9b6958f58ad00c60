"""The one file of a part: chunks of frames one after another, each with its CRC-32C, then their index.

This is zarr's own sharding layout, written front to back with one chunk in memory, so that a part of any length costs a
worker no more than a short one. T frame, M mel bin.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from google_crc32c import value as crc32c
from numcodecs.blosc import BITSHUFFLE, Blosc

from birdcache.arrays import Bytes
from birdcache.files import naming
from birdcache.params.views import StoredView
from cache.quantize import QuantizedArray, Quantizer

CHUNK_FRAMES = 512
CHECKSUM_BYTES = 4
ENTRY_BYTES = 16  # of the index: offset and size of a chunk
BLOSC_LEVEL = 5


@dataclass(frozen=True)
class Layout:
    """Meaning of the bytes of a chunk: (512, M) quantised values, perhaps compressed by Blosc."""

    mel_bins: int
    dtype: Literal["float16", "uint8"]
    fill: int
    compression: Literal["none", "lz4", "zstd"]

    @classmethod
    def of(cls, view: StoredView, quantizer: Quantizer) -> Self:
        """The layout of a view's parts."""
        return cls(view.n_mels, quantizer.dtype, quantizer.fill, view.compression)

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame before compression."""
        return self.mel_bins * np.dtype(self.dtype).itemsize

    @property
    def chunk_bytes(self) -> int:
        """Bytes of one chunk before compression, without its checksum."""
        return CHUNK_FRAMES * self.frame_bytes

    def pack(self, quantized: QuantizedArray) -> bytes:
        """A full chunk of quantised values as bytes with their checksum."""
        data = quantized.tobytes() if self.compression == "none" else self._blosc().encode(quantized)
        return data + checksum(data)

    def unpack(self, packed: bytes) -> QuantizedArray | None:
        """The quantised values of a chunk, (512, M) read-only, or None if its bytes are not those that were written."""
        data = packed[:-CHECKSUM_BYTES]
        if checksum(data) != packed[-CHECKSUM_BYTES:]:
            return None
        quantized = data if self.compression == "none" else self._blosc().decode(data)
        return np.frombuffer(quantized, self.dtype).reshape(CHUNK_FRAMES, self.mel_bins)

    def _blosc(self) -> Any:
        return Blosc(cname=self.compression, clevel=BLOSC_LEVEL, shuffle=BITSHUFFLE)


def checksum(data: bytes | Bytes) -> bytes:
    """CRC-32C of some bytes, as zarr's codec `crc32c` appends it; of an array without copying it."""
    value: int = crc32c(data)
    return value.to_bytes(CHECKSUM_BYTES, "little")


def chunks_of(frames: int) -> int:
    """Number of chunks that hold so many frames."""
    return -(-frames // CHUNK_FRAMES)


def index_bytes(frames: int) -> int:
    """Size of the index of a shard with so many frames."""
    return chunks_of(frames) * ENTRY_BYTES + CHECKSUM_BYTES


def pack_index(entries: Any) -> bytes:
    """Index of a shard: (offset, size) of each chunk as uint64, then its CRC-32C."""
    data: bytes = np.asarray(entries, "<u8").tobytes()
    return data + checksum(data)


def unpack_index(packed: bytes) -> Any:
    """(N, 2) offsets and sizes of the chunks, or None if the index is damaged."""
    data = packed[:-CHECKSUM_BYTES]
    if checksum(data) != packed[-CHECKSUM_BYTES:]:
        return None
    return np.frombuffer(data, "<u8").reshape(-1, 2).astype(np.int64)


class ShardWriter:
    """Writes a shard front to back; call `finish` at the end."""

    def __init__(self, path: Path, layout: Layout) -> None:
        self._layout = layout
        self._path, self._file = path, path.open("w+b")
        self._entries: list[tuple[int, int]] = []
        self._end = 0
        self._digest = hashlib.sha256()
        self._chunk = np.empty((CHUNK_FRAMES, layout.mel_bins), layout.dtype)
        self._pending = 0  # rows of the chunk that is being filled

    @property
    def sha256(self) -> str:
        """SHA-256 of the bytes written so far: of the whole file after `finish`."""
        return str(self._digest.hexdigest())

    def add(self, pieces: Iterable[QuantizedArray]) -> int:
        """Append quantised values, in pieces (T, M); return their number, or forget all if an error breaks them off."""
        before, rows, digest = len(self._entries), self._chunk[: self._pending].copy(), self._digest.copy()
        try:
            return sum(map(self._append, pieces))
        except BaseException:
            self._digest = digest
            del self._entries[before:]
            self._end = sum(self._entries[-1]) if self._entries else 0
            with naming(self._path):
                self._file.seek(self._end)
                self._file.truncate()
            self._pending = len(rows)
            self._chunk[: self._pending] = rows
            raise

    def _append(self, quantized: QuantizedArray) -> int:
        frames = len(quantized)
        while len(quantized):
            count = min(CHUNK_FRAMES - self._pending, len(quantized))
            self._chunk[self._pending : self._pending + count] = quantized[:count]
            self._pending += count
            quantized = quantized[count:]
            if self._pending == CHUNK_FRAMES:
                self._flush()
        return frames

    def finish(self) -> None:
        """Fill up the last chunk, write the index and close the file."""
        if self._pending:
            self._chunk[self._pending :] = self._layout.fill
            self._flush()
        self._write(pack_index(self._entries))
        self.close()

    def _flush(self) -> None:
        packed = self._layout.pack(self._chunk)
        self._entries.append((self._end, len(packed)))
        self._write(packed)
        self._pending = 0

    def _write(self, data: bytes) -> None:
        with naming(self._path):
            self._file.write(data)
        self._digest.update(data)
        self._end += len(data)

    def close(self) -> None:
        """Close the file, finished or not."""
        with naming(self._path):
            self._file.close()
