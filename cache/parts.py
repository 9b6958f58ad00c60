"""One part of a store: a zarr array [frames, mel bins] in a single shard file, local or remote.

`cache.shard` writes the file and zarr its metadata, so zarr reads both. A reader here has two ways: a memory map of an
uncompressed local shard, whose chunks lie at a fixed stride (measured in docs/benchmarks.md: faster than a zarr call
by orders of magnitude), and chunk by chunk, each compared with its CRC-32C, for everything else.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec

from cache.codec import Codes
from cache.errors import StoreError
from cache.places import Place, read_range
from cache.shard import (
    BLOSC_LEVEL,
    CHECKSUM_BYTES,
    CHUNK_FRAMES,
    ENTRY_BYTES,
    Layout,
    chunks_of,
    index_bytes,
    pack_index,
    unpack_index,
)

SHARD = Path("c", "0", "0")
METADATA = Path("zarr.json")
SPARE_FILES = 256  # that a process may hold open beside the mapped parts


def write_metadata(folder: Path, frames: int, layout: Layout) -> None:
    """Write the zarr.json of a part whose shard holds so many frames."""
    compressors: list[Any] = [Crc32cCodec()]
    if layout.compression != "none":
        typesize = np.dtype(layout.dtype).itemsize
        blosc = BloscCodec(typesize=typesize, cname=layout.compression, clevel=BLOSC_LEVEL, shuffle="bitshuffle")
        compressors.insert(0, blosc)
    zarr.create_array(
        store=folder,
        shape=(frames, layout.mel_bins),
        dtype=layout.dtype,
        chunks=(CHUNK_FRAMES, layout.mel_bins),
        shards=(chunks_of(frames) * CHUNK_FRAMES, layout.mel_bins),
        compressors=compressors,
        fill_value=layout.fill,
    )


class PartReader:
    """Reads a part's chunks one by one, each compared with its checksum.

    Parameters
    ----------
    folder : of the part.
    layout, frames : what it holds.
    shard_bytes : size of its file, as its writer noted it.
    """

    def __init__(self, folder: Place, layout: Layout, frames: int, shard_bytes: int) -> None:
        self._path = folder / SHARD.as_posix()
        self._layout, self._frames, self._shard_bytes = layout, frames, shard_bytes
        self._content: bytes | None = None
        self._entries: Any = None
        self._last: tuple[int, Codes] | None = None

    def fetch(self) -> None:
        """Read the whole file at once: cheaper for a remote part of which most is wanted."""
        self._content = self._read(0, self._shard_bytes)

    def chunk(self, number: int) -> Codes:
        """As `read_chunk`, but the last chunk is kept: for one thread that reads rows in order."""
        if self._last is None or self._last[0] != number:
            self._last = number, self.read_chunk(number)
        return self._last[1]

    def read_chunk(self, number: int) -> Codes:
        """Codes of one chunk: (512, M) read-only; rows behind the part's last frame hold fill. Any thread may ask.

        Raises
        ------
        StoreError
            If the file is missing, or its bytes are not those that were written.
        """
        start, size = self._index[number]
        codes = self._layout.unpack(self._read(int(start), int(start + size)))
        if codes is None:
            raise StoreError(f"{self._path}: chunk {number} is damaged; run `dvc repro -f` of its stage")
        return codes

    def rows(self, start: int, frames: int) -> Iterator[Codes]:
        """Codes of rows `start` to `start + frames`, in pieces (T, M)."""
        for number in range(start // CHUNK_FRAMES, chunks_of(start + frames)):
            first = number * CHUNK_FRAMES
            yield self.chunk(number)[max(start - first, 0) : start + frames - first]

    @property
    def _index(self) -> Any:
        """(N, 2) offsets and sizes of the chunks, read once."""
        if self._entries is None:  # no cached_property: in Python 3.11 all readers would wait for each other
            packed = self._read(self._shard_bytes - index_bytes(self._frames), self._shard_bytes)
            self._entries = unpack_index(packed)
        if self._entries is None:
            raise StoreError(f"{self._path}: its index is damaged; run `dvc repro -f` of its stage")
        return self._entries

    def _read(self, start: int, end: int) -> bytes:
        if self._content is not None:
            return self._content[start:end]
        try:
            return read_range(self._path, start, end)
        except OSError as error:
            raise StoreError(f"{self._path}: cannot be read ({error}); run `dvc repro -f` of its stage") from error


def map_chunks(folder: Path, layout: Layout) -> Any:
    """Map an uncompressed local part's shard into memory.

    Returns
    -------
    (N, 512, M) read-only view of N chunks; rows behind the part's last frame hold fill.

    Raises
    ------
    StoreError
        If the shard is not laid out as it was written, for example because it was cut short.
    """
    path = folder / SHARD
    item_bytes = np.dtype(layout.dtype).itemsize
    stride = layout.chunk_bytes + CHECKSUM_BYTES
    chunks, rest = divmod(path.stat().st_size - CHECKSUM_BYTES, stride + ENTRY_BYTES)
    raw = np.memmap(path, mode="r", dtype=np.uint8) if chunks > 0 and not rest else None
    if raw is None or raw[chunks * stride :].tobytes() != _plain_index(chunks, stride):
        raise StoreError(f"{path}: is not the raw shard that was written; rebuild it with `dvc repro -f` of its stage")
    shape = (chunks, CHUNK_FRAMES, layout.mel_bins)
    return np.ndarray(shape, layout.dtype, buffer=raw, strides=(stride, layout.frame_bytes, item_bytes))


def map_parts(folders: Sequence[Path], layout: Layout) -> list[Any]:
    """As `map_chunks`, for all parts of a store. Each takes one open file for as long as it is mapped.

    Raises
    ------
    StoreError
        If a part is damaged, or this process may not open so many files.
    """
    limits, wanted = resource.getrlimit(resource.RLIMIT_NOFILE), len(folders) + SPARE_FILES
    soft, hard = (sys.maxsize if limit == resource.RLIM_INFINITY else limit for limit in limits)
    if wanted > hard:
        raise StoreError(
            f"{folders[0].parent}: mapping it takes {wanted} open files, and this process may have {hard}; "
            f"raise `ulimit -Hn`, or set machine.residence to stream"
        )
    if wanted > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, limits[1]))
    return [map_chunks(folder, layout) for folder in folders]


def _plain_index(chunks: int, stride: int) -> bytes:
    """Index of a shard whose chunks follow one another."""
    return pack_index(np.stack([np.arange(chunks) * stride, np.full(chunks, stride)], axis=1))


def copy_rows(chunks: Any, start: int, out: Any) -> None:
    """Copy len(out) rows of a mapped part, beginning at row `start`, into `out` (T, M)."""
    done, frames = 0, len(out)
    while done < frames:
        chunk, row = divmod(start + done, CHUNK_FRAMES)
        count = min(CHUNK_FRAMES - row, frames - done)
        out[done : done + count] = chunks[chunk, row : row + count]
        done += count
