"""A part's shard: raw bytes, our reader and zarr must show the same frames, and damage must be noticed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import zarr

from birdcache.errors import StoreError
from cache.manifest import Index
from cache.mapped import MappedParts
from cache.part import METADATA, SHARD, PartReader, map_chunks
from cache.part_writer import PartWriter
from cache.quantize import QuantizedArray, Quantizer
from cache.shard import CHUNK_FRAMES, Layout

Dtype = Literal["float16", "uint8"]
Compression = Literal["none", "lz4", "zstd"]
MEL_BINS = 8
DTYPES = pytest.mark.parametrize("dtype", ["float16", "uint8"])
COMPRESSIONS = pytest.mark.parametrize("compression", ["none", "lz4", "zstd"])
LENGTHS = pytest.mark.parametrize("frames", [1, 511, 512, 513, 1024, 1300])


def layout_of(dtype: Dtype, compression: Compression = "none") -> Layout:
    return Layout(MEL_BINS, dtype, Quantizer(dtype, -100.0, 45.0).fill, compression)


def random_codes(frames: int, dtype: Dtype) -> QuantizedArray:
    values = np.random.default_rng(frames).uniform(-100, 45, (frames, MEL_BINS))
    return Quantizer(dtype, -100.0, 45.0).encode(values.astype(np.float32))


def write_codes(folder: Path, quantized: QuantizedArray, layout: Layout, piece: int = 10_000) -> QuantizedArray:
    """Write a part of one recording, whose codes arrive in pieces."""
    with PartWriter(folder, layout) as part_writer:
        part_writer.add("1" * 64, (quantized[start : start + piece] for start in range(0, len(quantized), piece)))
        part_writer.finish()
    (folder / SHARD).chmod(0o644)  # for tests that damage it
    return quantized


def write_part(folder: Path, frames: int, dtype: Dtype, compression: Compression = "none") -> QuantizedArray:
    return write_codes(folder, random_codes(frames, dtype), layout_of(dtype, compression))


def open_reader(folder: Path, frames: int, layout: Layout) -> PartReader:
    return PartReader(folder, layout, frames, (folder / SHARD).stat().st_size)


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)


@DTYPES
@COMPRESSIONS
@LENGTHS
def test_reader_and_zarr_show_the_frames_that_were_written(
    tmp_path: Path, frames: int, dtype: Dtype, compression: Compression
) -> None:
    quantized = write_part(tmp_path / "0", frames, dtype, compression)
    by_zarr: Any = zarr.open_array(tmp_path / "0", mode="r")
    np.testing.assert_array_equal(by_zarr[:], quantized)
    assert by_zarr.dtype == quantized.dtype
    reader = open_reader(tmp_path / "0", frames, layout_of(dtype, compression))
    np.testing.assert_array_equal(np.concatenate(list(reader.rows(0, frames))), quantized)
    reader.fetch()
    np.testing.assert_array_equal(np.concatenate(list(reader.rows(0, frames))), quantized)


@DTYPES
@LENGTHS
def test_memory_map_shows_the_frames_that_were_written(tmp_path: Path, frames: int, dtype: Dtype) -> None:
    quantized = write_part(tmp_path / "0", frames, dtype)
    chunks = map_chunks(tmp_path / "0", layout_of(dtype))
    np.testing.assert_array_equal(chunks.reshape(-1, MEL_BINS)[:frames], quantized)
    assert chunks.dtype == quantized.dtype


@DTYPES
@COMPRESSIONS
def test_shard_is_laid_out_as_by_zarr_itself(tmp_path: Path, dtype: Dtype, compression: Compression) -> None:
    quantized = write_part(tmp_path / "ours", 1300, dtype, compression)
    (tmp_path / "zarr").mkdir()
    (tmp_path / "zarr" / METADATA).write_bytes((tmp_path / "ours" / METADATA).read_bytes())
    by_zarr: Any = zarr.open_array(tmp_path / "zarr", mode="r+").with_config({"write_empty_chunks": True})
    by_zarr[:] = quantized
    assert (tmp_path / "ours" / SHARD).read_bytes() == (tmp_path / "zarr" / SHARD).read_bytes()


@DTYPES
@pytest.mark.parametrize("piece", [1, 7, 511, 512, 513])
def test_bytes_do_not_depend_on_the_pieces_that_frames_arrive_in(tmp_path: Path, dtype: Dtype, piece: int) -> None:
    quantized = write_part(tmp_path / "whole", 1300, dtype)
    write_codes(tmp_path / "pieces", quantized, layout_of(dtype), piece)
    for file in (SHARD, METADATA):
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "pieces" / file).read_bytes()


@DTYPES
@LENGTHS
def test_rows_behind_the_last_frame_hold_fill(tmp_path: Path, frames: int, dtype: Dtype) -> None:
    write_part(tmp_path / "0", frames, dtype)
    chunks = map_chunks(tmp_path / "0", layout_of(dtype))
    assert len(chunks) == -(-frames // CHUNK_FRAMES)
    assert (chunks.reshape(-1, MEL_BINS)[frames:] == Quantizer(dtype, 0.0, 1.0).fill).all()


@DTYPES
@COMPRESSIONS
def test_chunks_of_nothing_but_fill_keep_their_place(tmp_path: Path, dtype: Dtype, compression: Compression) -> None:
    layout, quantized = layout_of(dtype, compression), random_codes(4 * CHUNK_FRAMES, dtype)
    quantized[: 3 * CHUNK_FRAMES] = layout.fill
    write_codes(tmp_path / "0", quantized, layout)
    read = open_reader(tmp_path / "0", len(quantized), layout).rows(0, len(quantized))
    np.testing.assert_array_equal(np.concatenate(list(read)), quantized)


@COMPRESSIONS
def test_any_rows_can_be_read(tmp_path: Path, compression: Compression) -> None:
    quantized = write_part(tmp_path / "0", 1300, "uint8", compression)
    reader = open_reader(tmp_path / "0", 1300, layout_of("uint8", compression))
    for start, count in [(0, 1300), (511, 2), (512, 512), (100, 1100), (1299, 1), (1024, 276)]:
        read = np.concatenate(list(reader.rows(start, count)))
        np.testing.assert_array_equal(read, quantized[start : start + count])


def test_compressed_shard_of_regular_sound_is_smaller(tmp_path: Path) -> None:
    time_T = np.arange(4 * CHUNK_FRAMES)
    quantized = np.rint(100 + 50 * np.sin(time_T[:, None] / 50 + np.arange(MEL_BINS))).astype(np.uint8)
    sizes = []
    for compression in ("none", "lz4", "zstd"):
        write_codes(tmp_path / compression, quantized, layout_of("uint8", compression))
        sizes.append((tmp_path / compression / SHARD).stat().st_size)
    assert sizes[0] > 1.2 * sizes[1]
    assert sizes[0] > 1.2 * sizes[2]


def test_mapped_frames_cannot_be_written(tmp_path: Path) -> None:
    write_part(tmp_path / "0", 10, "float16")
    with pytest.raises(ValueError, match="read-only"):
        map_chunks(tmp_path / "0", layout_of("float16"))[0, 0, 0] = 1


def test_rows_of_a_mapped_part_are_read_from_any_start_over_any_chunk_border(tmp_path: Path) -> None:
    quantized = write_part(tmp_path / "0", 1300, "uint8")
    none = np.zeros(0, np.int64)
    parts = MappedParts([tmp_path / "0"], layout_of("uint8"), Index(none, none, none, np.zeros((0, 32), np.uint8)))
    for start, count in [(0, 1300), (0, 0), (511, 2), (512, 512), (100, 1100), (1299, 1), (1024, 276)]:
        read = np.concatenate([np.empty((0, MEL_BINS), np.uint8), *parts.rows(0, start, count)])
        np.testing.assert_array_equal(read, quantized[start : start + count])


@DTYPES
@COMPRESSIONS
@pytest.mark.parametrize("chunk", [0, 1, 2])
@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
def test_flipped_bit_is_found_in_its_chunk(
    tmp_path: Path, dtype: Dtype, compression: Compression, chunk: int, place: float
) -> None:
    frames, layout = 3 * CHUNK_FRAMES, layout_of(dtype, compression)
    write_part(tmp_path / "0", frames, dtype, compression)
    start, size = open_reader(tmp_path / "0", frames, layout)._index[chunk]
    flip(tmp_path / "0" / SHARD, int(start + place * (size - 1)))
    reader = open_reader(tmp_path / "0", frames, layout)
    for other in {0, 1, 2} - {chunk}:
        reader.read_chunk(other)
    with pytest.raises(StoreError, match=rf"0/c/0/0: chunk {chunk} is damaged; run `dvc repro`"):
        reader.read_chunk(chunk)


@pytest.mark.parametrize("place", [-1, -4, -5, -13, -30])
def test_damaged_index_is_refused(tmp_path: Path, place: int) -> None:
    write_part(tmp_path / "0", 600, "uint8")
    flip(tmp_path / "0" / SHARD, place)
    with pytest.raises(StoreError, match="is not the raw shard"):
        map_chunks(tmp_path / "0", layout_of("uint8"))
    with pytest.raises(StoreError, match=r"c/0/0: its index is damaged; run `dvc repro`"):
        open_reader(tmp_path / "0", 600, layout_of("uint8")).read_chunk(0)


def test_missing_shard_is_an_error_that_names_it(tmp_path: Path) -> None:
    write_part(tmp_path / "0", 600, "uint8")
    reader = open_reader(tmp_path / "0", 600, layout_of("uint8"))
    (tmp_path / "0" / SHARD).unlink()
    with pytest.raises(StoreError, match=r"c/0/0: cannot be read .*No such file"):
        reader.read_chunk(0)


def test_shard_of_any_other_length_is_refused(tmp_path: Path) -> None:
    write_part(tmp_path / "0", 600, "uint8")
    shard = tmp_path / "0" / SHARD
    whole = shard.read_bytes()
    chunk_bytes = CHUNK_FRAMES * MEL_BINS + 4
    for length in (0, 1, 3, 4, 5, 20, chunk_bytes, chunk_bytes + 20, len(whole) - 1):
        shard.write_bytes(whole[:length])
        with pytest.raises(StoreError, match=r"c/0/0: is not the raw shard that was written; run `dvc repro`"):
            map_chunks(tmp_path / "0", layout_of("uint8"))
    shard.write_bytes(whole + b"\0")
    with pytest.raises(StoreError, match="is not the raw shard"):
        map_chunks(tmp_path / "0", layout_of("uint8"))


def test_empty_index_is_no_part(tmp_path: Path) -> None:
    write_part(tmp_path / "0", 600, "uint8")
    (tmp_path / "0" / SHARD).write_bytes(bytes(4))  # the CRC-32C of nothing is 0
    with pytest.raises(StoreError, match="is not the raw shard"):
        map_chunks(tmp_path / "0", layout_of("uint8"))


@pytest.mark.parametrize(("mel_bins", "dtype"), [(MEL_BINS, "float16"), (16, "uint8"), (7, "uint8")])
def test_shard_of_another_view_is_refused(tmp_path: Path, mel_bins: int, dtype: Dtype) -> None:
    write_part(tmp_path / "0", 600, "uint8")
    with pytest.raises(StoreError, match="is not the raw shard"):
        map_chunks(tmp_path / "0", Layout(mel_bins, dtype, 0, "none"))
