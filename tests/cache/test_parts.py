"""A part's shard: raw bytes and zarr must show the same frames, and damage must be noticed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import zarr

from cache.codec import Codec, Codes
from cache.errors import StoreError
from cache.parts import CHUNK_FRAMES, SHARD, check_chunks, copy_rows, map_chunks, write_array

Dtype = Literal["float16", "uint8"]
MEL_BINS = 8
DTYPES = pytest.mark.parametrize("dtype", ["float16", "uint8"])
LENGTHS = pytest.mark.parametrize("frames", [1, 511, 512, 513, 1024, 1300])


def random_codes(frames: int, dtype: Dtype) -> tuple[Codes, Codec]:
    codec = Codec(dtype, -100.0, 45.0)
    values = np.random.default_rng(frames).uniform(-100, 45, (frames, MEL_BINS))
    return codec.encode(values.astype(np.float32)), codec


def write_part(folder: Path, frames: int, dtype: Dtype) -> Codes:
    codes, codec = random_codes(frames, dtype)
    write_array(folder, codes, codec)
    return codes


@DTYPES
@LENGTHS
def test_memory_map_and_zarr_show_the_frames_that_were_written(tmp_path: Path, frames: int, dtype: Dtype) -> None:
    codes = write_part(tmp_path / "0", frames, dtype)
    chunks = map_chunks(tmp_path / "0", MEL_BINS, dtype)
    by_zarr: Any = zarr.open_array(tmp_path / "0", mode="r")
    np.testing.assert_array_equal(chunks.reshape(-1, MEL_BINS)[:frames], codes)
    np.testing.assert_array_equal(by_zarr[:], codes)
    assert by_zarr.dtype == chunks.dtype == codes.dtype


@DTYPES
@LENGTHS
def test_rows_behind_the_last_frame_hold_fill(tmp_path: Path, frames: int, dtype: Dtype) -> None:
    write_part(tmp_path / "0", frames, dtype)
    chunks = map_chunks(tmp_path / "0", MEL_BINS, dtype)
    assert len(chunks) == -(-frames // CHUNK_FRAMES)
    assert (chunks.reshape(-1, MEL_BINS)[frames:] == Codec(dtype, 0.0, 1.0).fill).all()


@DTYPES
def test_chunks_of_nothing_but_fill_keep_their_place(tmp_path: Path, dtype: Dtype) -> None:
    codes, codec = random_codes(4 * CHUNK_FRAMES, dtype)
    codes[: 3 * CHUNK_FRAMES] = codec.fill
    write_array(tmp_path / "0", codes, codec)
    chunks = map_chunks(tmp_path / "0", MEL_BINS, dtype)
    np.testing.assert_array_equal(chunks.reshape(-1, MEL_BINS), codes)


@DTYPES
def test_the_same_codes_give_the_same_bytes(tmp_path: Path, dtype: Dtype) -> None:
    for name in ("one", "two"):
        write_part(tmp_path / name, 600, dtype)
    for file in (SHARD, Path("zarr.json")):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_mapped_frames_cannot_be_written(tmp_path: Path) -> None:
    write_part(tmp_path / "0", 10, "float16")
    with pytest.raises(ValueError, match="read-only"):
        map_chunks(tmp_path / "0", MEL_BINS, "float16")[0, 0, 0] = 1


def test_rows_are_copied_from_any_start_over_any_chunk_border(tmp_path: Path) -> None:
    codes = write_part(tmp_path / "0", 1300, "uint8")
    chunks = map_chunks(tmp_path / "0", MEL_BINS, "uint8")
    for start, count in [(0, 1300), (0, 0), (511, 2), (512, 512), (100, 1100), (1299, 1), (1024, 276)]:
        out = np.empty((count, MEL_BINS), np.uint8)
        copy_rows(chunks, start, out)
        np.testing.assert_array_equal(out, codes[start : start + count])


@DTYPES
@pytest.mark.parametrize("chunk", [0, 1, 2])
@pytest.mark.parametrize("place", [0, 300, -1])
def test_flipped_bit_is_found_in_its_chunk(tmp_path: Path, dtype: Dtype, chunk: int, place: int) -> None:
    write_part(tmp_path / "0", 3 * CHUNK_FRAMES, dtype)
    check_chunks(tmp_path / "0", map_chunks(tmp_path / "0", MEL_BINS, dtype))
    stride = map_chunks(tmp_path / "0", MEL_BINS, dtype).strides[0]
    shard = tmp_path / "0" / SHARD
    content = bytearray(shard.read_bytes())
    content[chunk * stride + place % stride] ^= 4
    shard.write_bytes(content)
    with pytest.raises(StoreError, match=rf"0/c/0/0: chunk {chunk} is damaged; run `dvc repro -f`"):
        check_chunks(tmp_path / "0", map_chunks(tmp_path / "0", MEL_BINS, dtype))


def test_shard_of_any_other_length_is_refused(tmp_path: Path) -> None:
    write_part(tmp_path / "0", 600, "uint8")
    shard = tmp_path / "0" / SHARD
    whole = shard.read_bytes()
    chunk_bytes = CHUNK_FRAMES * MEL_BINS + 4
    for length in (0, 1, 3, 4, 5, 20, chunk_bytes, chunk_bytes + 20, len(whole) - 1):
        shard.write_bytes(whole[:length])
        with pytest.raises(StoreError, match=r"c/0/0: is not the raw shard that was written; rebuild it"):
            map_chunks(tmp_path / "0", MEL_BINS, "uint8")
    shard.write_bytes(whole + b"\0")
    with pytest.raises(StoreError, match="is not the raw shard"):
        map_chunks(tmp_path / "0", MEL_BINS, "uint8")


def test_empty_index_is_no_part(tmp_path: Path) -> None:
    write_part(tmp_path / "0", 600, "uint8")
    (tmp_path / "0" / SHARD).write_bytes(bytes(4))  # the CRC-32C of nothing is 0
    with pytest.raises(StoreError, match="is not the raw shard"):
        map_chunks(tmp_path / "0", MEL_BINS, "uint8")


@pytest.mark.parametrize("place", [-1, -4, -5, -13, -30])
def test_damaged_index_is_refused(tmp_path: Path, place: int) -> None:
    write_part(tmp_path / "0", 600, "uint8")
    shard = tmp_path / "0" / SHARD
    content = bytearray(shard.read_bytes())
    content[place] ^= 1
    shard.write_bytes(content)
    with pytest.raises(StoreError, match="is not the raw shard"):
        map_chunks(tmp_path / "0", MEL_BINS, "uint8")


@pytest.mark.parametrize(("mel_bins", "dtype"), [(MEL_BINS, "float16"), (16, "uint8"), (7, "uint8")])
def test_shard_of_another_view_is_refused(tmp_path: Path, mel_bins: int, dtype: Dtype) -> None:
    write_part(tmp_path / "0", 600, "uint8")
    with pytest.raises(StoreError, match="is not the raw shard"):
        map_chunks(tmp_path / "0", mel_bins, dtype)
