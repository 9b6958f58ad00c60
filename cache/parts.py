"""One part of a store: a zarr array [frames, mel bins] in a single shard file, written by zarr, read as raw bytes.

An uncompressed shard is its chunks one after another, each followed by its CRC-32C, then an index. So a memory map with
a fixed stride shows all frames without decoding anything (measured in design: two hundred times zarr's own reads).
"""

from __future__ import annotations

import json
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
        If the shard is not laid out as `write_array` leaves it.
    """
    path = folder / SHARD
    raw = np.memmap(path, mode="r", dtype=np.uint8)
    row_bytes = mel_bins * np.dtype(dtype).itemsize
    stride = CHUNK_FRAMES * row_bytes + CHECKSUM_BYTES
    chunks = _chunk_count(path, raw, stride)
    return np.ndarray(
        (chunks, CHUNK_FRAMES, mel_bins), dtype, buffer=raw, strides=(stride, row_bytes, np.dtype(dtype).itemsize)
    )


def _chunk_count(path: Path, raw: Any, stride: int) -> int:
    """Number of chunks, after a check that the shard's index has them one after another."""
    chunks, rest = divmod(len(raw) - CHECKSUM_BYTES, stride + 16)
    start = chunks * stride
    index = raw[start : start + 16 * chunks].tobytes()
    stored = raw[start + 16 * chunks :].tobytes()
    offsets = np.frombuffer(index, "<u8").reshape(chunks, 2)
    in_order = np.array_equal(offsets[:, 0], np.arange(chunks) * stride) and bool((offsets[:, 1] == stride).all())
    if rest or not in_order or crc32c(index).to_bytes(4, "little") != stored:
        raise StoreError(f"{path}: is not the raw shard that was written; rebuild it with `dvc repro -f` of its stage")
    return chunks


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
        if crc32c(data).to_bytes(4, "little") != raw[end - CHECKSUM_BYTES : end].tobytes():
            raise StoreError(f"{folder / SHARD}: chunk {number} is damaged; delete the file's part and run `dvc repro`")


def frames_of(folder: Path) -> int:
    """Number of frames that a part's zarr metadata promises."""
    return int(json.loads((folder / METADATA).read_text())["shape"][0])


def copy_rows(chunks: Any, start: int, out: Any) -> None:
    """Copy len(out) rows of a mapped part, beginning at row `start`, into `out` (T, M)."""
    done, frames = 0, len(out)
    while done < frames:
        chunk, row = divmod(start + done, CHUNK_FRAMES)
        count = min(CHUNK_FRAMES - row, frames - done)
        out[done : done + count] = chunks[chunk, row : row + count]
        done += count
