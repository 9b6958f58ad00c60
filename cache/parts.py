"""One part of a store: a zarr array [frames, mel bins] in a single shard file, written by zarr, read as raw bytes.

An uncompressed shard is its chunks one after another, each followed by its CRC-32C, then an index. So a memory map with
a fixed stride shows all frames without decoding anything (measured in design: two hundred times zarr's own reads).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import zarr
from google_crc32c import value as crc32c
from zarr.codecs import Crc32cCodec

from cache.codec import Codec, Codes
from cache.errors import StoreError

CHUNK_FRAMES = 512
CHECKSUM_BYTES = 4
ENTRY_BYTES = 16  # of the shard's index: offset and size of a chunk
SHARD = Path("c", "0", "0")
METADATA = Path("zarr.json")


def write_array(folder: Path, codes: Codes, codec: Codec) -> None:
    """Write codes (T, M) as a zarr v3 array of one shard.

    `write_empty_chunks` matters: zarr would drop chunks that hold only fill, and every later chunk would move.
    """
    frames, mel_bins = codes.shape
    shard_frames = -(-frames // CHUNK_FRAMES) * CHUNK_FRAMES
    array = zarr.create_array(
        store=folder,
        shape=codes.shape,
        dtype=codec.dtype,
        chunks=(CHUNK_FRAMES, mel_bins),
        shards=(shard_frames, mel_bins),
        compressors=[Crc32cCodec()],
        fill_value=codec.fill,
        config={"write_empty_chunks": True},
    )
    array[:] = codes


def map_chunks(folder: Path, mel_bins: int, dtype: str) -> Any:
    """Map a part's shard into memory.

    Returns
    -------
    (N, 512, M) read-only view of N chunks, of type `dtype`; rows behind the part's last frame hold fill.

    Raises
    ------
    StoreError
        If the shard is not laid out as `write_array` leaves it, for example because it was cut short.
    """
    path = folder / SHARD
    item_bytes = np.dtype(dtype).itemsize
    stride = CHUNK_FRAMES * mel_bins * item_bytes + CHECKSUM_BYTES
    chunks, rest = divmod(path.stat().st_size - CHECKSUM_BYTES, stride + ENTRY_BYTES)
    raw = np.memmap(path, mode="r", dtype=np.uint8) if chunks > 0 and not rest else None
    if raw is None or raw[chunks * stride :].tobytes() != _plain_index(chunks, stride):
        raise StoreError(f"{path}: is not the raw shard that was written; rebuild it with `dvc repro -f` of its stage")
    return np.ndarray(
        (chunks, CHUNK_FRAMES, mel_bins), dtype, buffer=raw, strides=(stride, mel_bins * item_bytes, item_bytes)
    )


def _plain_index(chunks: int, stride: int) -> bytes:
    """Index of a shard whose chunks follow one another: (offset, size) of each as uint64, then its CRC-32C."""
    entries = np.stack([np.arange(chunks) * stride, np.full(chunks, stride)], axis=1).astype("<u8").tobytes()
    checksum: bytes = crc32c(entries).to_bytes(CHECKSUM_BYTES, "little")
    return entries + checksum


def check_chunks(folder: Path, chunks: Any) -> None:
    """Compare every chunk of a mapped part with its stored CRC-32C.

    Raises
    ------
    StoreError
        If a chunk's bytes changed since they were written.
    """
    raw = np.memmap(folder / SHARD, mode="r", dtype=np.uint8)
    stride = chunks.strides[0]
    for number in range(len(chunks)):
        end = (number + 1) * stride
        data = raw[number * stride : end - CHECKSUM_BYTES].tobytes()
        if crc32c(data).to_bytes(CHECKSUM_BYTES, "little") != raw[end - CHECKSUM_BYTES : end].tobytes():
            raise StoreError(f"{folder / SHARD}: chunk {number} is damaged; run `dvc repro -f` of its stage")


def copy_rows(chunks: Any, start: int, out: Any) -> None:
    """Copy len(out) rows of a mapped part, beginning at row `start`, into `out` (T, M)."""
    done, frames = 0, len(out)
    while done < frames:
        chunk, row = divmod(start + done, CHUNK_FRAMES)
        count = min(CHUNK_FRAMES - row, frames - done)
        out[done : done + count] = chunks[chunk, row : row + count]
        done += count
