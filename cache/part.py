"""One part of a store: a zarr array [frames, mel bins] in a single shard file, local or remote.

`cache.shard` writes the file and zarr its metadata, so zarr reads both. A reader here has two ways: a memory map of an
uncompressed local shard, whose chunks lie at a fixed stride (measured in docs/benchmarks.md: faster than a zarr call
by orders of magnitude), and chunk by chunk, each compared with its CRC-32C, for everything else.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.storage import MemoryStore

from birdcache.errors import StoreError
from birdcache.files import naming
from birdcache.process import allow_open_files
from birdcache.storage import AnyPath, read_range
from cache.corruption import Corruption
from cache.quantize import QuantizedArray
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
    files: dict[str, Any] = {}
    zarr.create_array(
        store=MemoryStore(files),
        shape=(frames, layout.mel_bins),
        dtype=layout.dtype,
        chunks=(CHUNK_FRAMES, layout.mel_bins),
        shards=(chunks_of(frames) * CHUNK_FRAMES, layout.mel_bins),
        compressors=compressors,
        fill_value=layout.fill,
    )
    with naming(folder / METADATA):
        (folder / METADATA).write_bytes(files[METADATA.as_posix()].to_bytes())


class PartReader:
    """Reads a part's chunks one by one, each compared with its checksum.

    Parameters
    ----------
    folder : of the part.
    layout, frames : what it holds.
    shard_bytes : size of its file, as its writer noted it.
    holds : SHA-256 of the audio whose recordings reach into a chunk, or of all (None); for messages only.
    """

    def __init__(
        self,
        folder: AnyPath,
        layout: Layout,
        frames: int,
        shard_bytes: int,
        holds: Callable[[int | None], tuple[str, ...]] | None = None,
    ) -> None:
        self._path = folder / SHARD.as_posix()
        self._layout, self._frames, self._shard_bytes = layout, frames, shard_bytes
        self._holds = holds or (lambda chunk: ())
        self._content: bytes | None = None
        self._entries: Any = None
        self._last: tuple[int, QuantizedArray] | None = None

    def fetch(self) -> None:
        """Read the whole file at once: cheaper for a remote part of which most is wanted.

        A StoreError if it cannot be read.
        """
        try:
            self._content = self._read(0, self._shard_bytes)
        except OSError as error:
            raise self._corruption(f"cannot be read ({error})").error() from error

    def read_chunk(self, number: int) -> QuantizedArray:
        """Quantised values of one chunk: (512, M) read-only; rows behind the last frame hold fill. Any thread may ask.

        A StoreError if the file is missing, or its bytes are not those that were written.
        """
        found = self._look_at(number)
        if isinstance(found, Corruption):
            raise found.error()
        return found

    def rows(self, start: int, frames: int) -> Iterator[QuantizedArray]:
        """Quantised rows `start` to `start + frames`, in pieces (T, M); the last chunk is kept. Any thread may ask."""
        for number in range(start // CHUNK_FRAMES, chunks_of(start + frames)):
            first = number * CHUNK_FRAMES
            last = self._last
            if last is None or last[0] != number:  # another thread may have replaced it since
                self._last = last = number, self.read_chunk(number)
            yield last[1][max(start - first, 0) : start + frames - first]

    def corruption(self) -> Iterator[Corruption]:
        """Each chunk that is not as it was written; the file once, where its index is bad or it cannot be read."""
        seen = set()
        for number in range(chunks_of(self._frames)):
            found = self._look_at(number)
            if isinstance(found, Corruption) and found.what not in seen:
                seen.add(found.what)
                yield found

    def _look_at(self, number: int) -> QuantizedArray | Corruption:
        try:
            index = self._index
            if index is None:
                return self._corruption("its index is damaged")
            start, size = index[number]
            quantized = self._layout.unpack(self._read(int(start), int(start + size)))
        except OSError as error:
            return self._corruption(f"cannot be read ({error})")
        return self._corruption(f"chunk {number} is damaged", number) if quantized is None else quantized

    def _corruption(self, what: str, chunk: int | None = None) -> Corruption:
        return Corruption(self._path, what, self._holds(chunk))

    @property
    def _index(self) -> Any:
        """(N, 2) offsets and sizes of the chunks, read once; None if it is damaged."""
        if self._entries is None:  # no cached_property: in Python 3.11 all readers would wait for each other
            packed = self._read(self._shard_bytes - index_bytes(self._frames), self._shard_bytes)
            self._entries = unpack_index(packed)
        return self._entries

    def _read(self, start: int, end: int) -> bytes:
        return read_range(self._path, start, end) if self._content is None else self._content[start:end]


def map_chunks(folder: Path, layout: Layout) -> Any:
    """Map an uncompressed local part's shard into memory.

    A StoreError if the shard is not laid out as it was written, for example because it was cut short.

    Returns
    -------
    (N, 512, M) read-only view of N chunks; rows behind the part's last frame hold fill.
    """
    path = folder / SHARD
    item_bytes = np.dtype(layout.dtype).itemsize
    stride = layout.chunk_bytes + CHECKSUM_BYTES
    chunks, rest = divmod(path.stat().st_size - CHECKSUM_BYTES, stride + ENTRY_BYTES)
    raw = np.memmap(path, mode="r", dtype=np.uint8) if chunks > 0 and not rest else None
    plain_index = pack_index([(start, stride) for start in range(0, chunks * stride, stride)])
    if raw is None or raw[chunks * stride :].tobytes() != plain_index:
        raise Corruption(path, "is not the raw shard that was written").error()
    shape = (chunks, CHUNK_FRAMES, layout.mel_bins)
    return np.ndarray(shape, layout.dtype, buffer=raw, strides=(stride, layout.frame_bytes, item_bytes))


def map_parts(folders: Sequence[Path], layout: Layout) -> list[Any]:
    """As `map_chunks`, for all parts of a store. Each takes one open file for as long as it is mapped.

    A StoreError if a part is damaged, or this process may not open so many files.
    """
    wanted = len(folders) + SPARE_FILES
    if (allowed := allow_open_files(wanted)) < wanted:
        raise StoreError(
            f"{folders[0].parent}: mapping it takes {wanted} open files, and this process may have {allowed}; "
            f"raise `ulimit -Hn`, or set machine.placement to stream"
        )
    return [map_chunks(folder, layout) for folder in folders]
