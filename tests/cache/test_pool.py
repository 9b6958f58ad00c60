"""The pool: each part once, under an address that follows from its recordings, whatever happens around it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from birdcache import files
from cache import pool
from cache.part import METADATA, SHARD
from cache.part_writer import ROWS
from cache.pool import LocalPool, PooledPart, is_intact, link_part
from cache.quantize import QuantizedArray
from cache.shard import Layout
from tests.fixtures.parts import add_part

LAYOUT = Layout(mel_bins=8, dtype="uint8", fill=255, compression="none")
KEYS, FRAMES = ["1" * 64, "2" * 64], [3, 5]


def some_codes(seed: int = 1) -> list[QuantizedArray]:
    return [np.random.default_rng(seed).integers(0, 255, (frames, 8), np.uint8) for frames in FRAMES]


def read_codes(part: PooledPart) -> QuantizedArray:
    return np.concatenate(list(part.reader(LAYOUT).rows(0, sum(part.frames))))


def add(parts: LocalPool, keys: list[str] = KEYS) -> PooledPart:
    return add_part(parts, LAYOUT, keys, some_codes()[: len(keys)])


def local(part: PooledPart) -> Path:
    assert isinstance(part.folder, Path)
    return part.folder


def corruption(path: Path) -> None:
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.fixture
def digest() -> str:
    return "ab" * 32


@pytest.fixture
def parts(tmp_path: Path, digest: str) -> LocalPool:
    """An empty pool at tmp_path/pool."""
    return LocalPool(tmp_path / "pool", digest)


def leftovers(root: Path) -> list[Path]:
    return list(root.rglob("tmp-*"))


def test_part_is_found_again_by_its_keys(parts: LocalPool, tmp_path: Path, digest: str) -> None:
    added = add(parts)
    found = LocalPool(tmp_path / "pool", digest).find(KEYS)
    assert found == added
    assert found.keys == tuple(KEYS)
    assert found.frames == tuple(FRAMES)
    np.testing.assert_array_equal(read_codes(found), np.concatenate(some_codes()))


def test_part_is_found_by_no_other_keys_and_in_no_other_view(parts: LocalPool, tmp_path: Path) -> None:
    add(parts)
    assert parts.find(KEYS[::-1]) is None
    assert parts.find(KEYS[:1]) is None
    assert parts.find([*KEYS, "3" * 64]) is None
    assert LocalPool(tmp_path / "pool", "cd" * 32).find(KEYS) is None


def test_files_of_a_part_are_read_only(parts: LocalPool) -> None:
    part = add(parts)
    modes = {path.name: path.stat().st_mode & 0o777 for path in local(part).rglob("*") if path.is_file()}
    assert modes == {"zarr.json": 0o444, "0": 0o444, ROWS: 0o444}


def test_part_that_is_there_is_kept(parts: LocalPool, tmp_path: Path) -> None:
    first = add(parts)
    inode = (first.folder / SHARD).stat().st_ino
    assert add(parts) == first
    assert (first.folder / SHARD).stat().st_ino == inode
    assert leftovers(tmp_path) == []


def test_process_that_finishes_first_does_no_harm(
    parts: LocalPool, tmp_path: Path, digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def overtaken(source: Path, target: Path) -> Path:
        monkeypatch.undo()
        add(LocalPool(tmp_path / "pool", digest))  # the other process
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", overtaken)
    part = add(parts)
    assert leftovers(tmp_path) == []
    assert parts.parts() == [part]
    assert is_intact(part)


def test_failed_publication_is_an_error(parts: LocalPool, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OSError, match="disk full"):
        add(parts)
    assert parts.find(KEYS) is None


def test_parts_are_listed_only_once_they_are_finished(parts: LocalPool, tmp_path: Path, digest: str) -> None:
    part = add(parts)
    growing = local(part).with_name("tmp-1234")  # of a live build, all written but not renamed
    growing.mkdir()
    (growing / ROWS).write_bytes((local(part) / ROWS).read_bytes())
    other = add(parts, KEYS[:1])
    listed = LocalPool(tmp_path / "pool", digest).parts()
    assert {entry.folder for entry in listed} == {part.folder, other.folder}


@pytest.mark.parametrize("name", [METADATA, SHARD])
@pytest.mark.parametrize("how", ["flipped", "short", "missing"])
def test_damaged_part_is_removed_so_that_it_is_built_again(
    parts: LocalPool, tmp_path: Path, digest: str, name: Path, how: str
) -> None:
    part = add(parts)
    if how == "flipped":
        corruption(local(part) / name)
    elif how == "short":
        os.truncate(local(part) / name, 5)
    else:
        (local(part) / name).unlink()
    assert not is_intact(part)
    again = LocalPool(tmp_path / "pool", digest)
    assert again.find(KEYS) is None
    assert is_intact(add(again))


def test_flipped_bit_of_a_list_of_rows_is_never_read_as_other_rows(
    parts: LocalPool, tmp_path: Path, digest: str
) -> None:
    """A number of frames that is one too high would shift every recording behind it."""
    rows = local(add(parts)) / ROWS
    rows.chmod(0o644)
    whole = rows.read_bytes()
    for place in range(len(whole)):
        rows.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        assert LocalPool(tmp_path / "pool", digest).parts() == []
    again = LocalPool(tmp_path / "pool", digest)
    assert again.find(KEYS) is None
    np.testing.assert_array_equal(read_codes(add(again)), np.concatenate(some_codes()))


def test_list_of_rows_of_an_older_version_is_no_part(parts: LocalPool, tmp_path: Path, digest: str) -> None:
    rows = local(add(parts)) / ROWS
    rows.chmod(0o644)
    content = json.loads(rows.read_bytes())
    del content["sha256"]
    rows.write_bytes(files.canonical_json(content))
    assert LocalPool(tmp_path / "pool", digest).find(KEYS) is None


def test_damaged_part_is_not_taken_for_the_one_that_was_to_be_added(
    parts: LocalPool, tmp_path: Path, digest: str
) -> None:
    part = add(parts)
    corruption(local(part) / SHARD)
    again = add(LocalPool(tmp_path / "pool", digest))
    np.testing.assert_array_equal(read_codes(again), np.concatenate(some_codes()))


def test_bytes_are_compared_once_and_not_at_all_if_just_written(
    parts: LocalPool, tmp_path: Path, digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = add(parts)
    compared: list[Any] = []

    def compare(part: PooledPart) -> bool:
        compared.append(part.folder)
        return is_intact(part)

    monkeypatch.setattr(pool, "is_intact", compare)
    found, written = LocalPool(tmp_path / "pool", digest), LocalPool(tmp_path / "pool", digest)
    written.trust(part)
    for _ in range(2):
        found.find(KEYS)
        written.find(KEYS)
    assert compared == [part.folder]


def test_sweep_removes_unfinished_parts_and_nothing_else(parts: LocalPool, tmp_path: Path) -> None:
    part = add(parts)
    left = local(part).with_name("tmp-1234")
    left.mkdir()
    (left / "zarr.json").touch(0o444)
    parts.sweep()
    assert leftovers(tmp_path) == []
    assert parts.find(KEYS) == part


def breaking_off(frames: int) -> Iterator[QuantizedArray]:
    yield np.zeros((frames, 8), np.uint8)
    raise ValueError("breaks off")


@pytest.mark.parametrize("failed", [0, 1, 2])
@pytest.mark.parametrize("frames", [0, 1, 511, 512, 1300])
def test_failed_recording_leaves_no_trace_in_a_part(parts: LocalPool, tmp_path: Path, failed: int, frames: int) -> None:
    clean, other = add(parts), LocalPool(tmp_path / "other", "ab" * 32)
    adding = [(key, quantized) for key, quantized in zip(KEYS, some_codes(), strict=True)]
    with other.new_part(LAYOUT) as part_writer:
        for number in range(len(KEYS) + 1):
            if number == failed:
                with pytest.raises(ValueError, match="breaks off"):
                    part_writer.add("3" * 64, breaking_off(frames))
            if number < len(KEYS):
                part_writer.add(adding[number][0], [adding[number][1]])
        soiled = other.publish(part_writer)
    assert soiled.files == clean.files
    assert (soiled.frames, soiled.keys) == (clean.frames, clean.keys)
    assert is_intact(soiled)


def test_draft_that_fails_or_stays_empty_leaves_no_folder(parts: LocalPool, tmp_path: Path) -> None:
    with parts.new_part(LAYOUT):
        assert len(leftovers(tmp_path)) == 1
    with pytest.raises(ValueError, match="breaks off"), parts.new_part(LAYOUT) as part_writer:
        part_writer.add("3" * 64, breaking_off(5))
    assert leftovers(tmp_path) == []


def test_linked_part_shares_its_bytes_with_the_pool(parts: LocalPool, tmp_path: Path) -> None:
    part = add(parts)
    link_part(part, tmp_path / "store" / "0")
    for name in (METADATA, SHARD):
        assert (tmp_path / "store" / "0" / name).lstat().st_ino == (part.folder / name).stat().st_ino
    assert not (tmp_path / "store" / "0" / ROWS).exists()


def test_link_falls_back_to_a_symbolic_link_and_then_to_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("not on this file system")

    (tmp_path / "source").write_bytes(b"frames")
    monkeypatch.setattr(os, "link", refuse)
    files.link(tmp_path / "source", tmp_path / "linked")
    monkeypatch.setattr(Path, "symlink_to", refuse)
    files.link(tmp_path / "source", tmp_path / "copied")
    assert (tmp_path / "linked").is_symlink()
    assert not (tmp_path / "copied").is_symlink()
    assert (tmp_path / "linked").read_bytes() == (tmp_path / "copied").read_bytes() == b"frames"


def test_link_to_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        files.link(tmp_path / "source", tmp_path / "target")
    assert not (tmp_path / "target").is_symlink()


def test_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.write_durably(tmp_path / "manifest.json", b"old")

    def refuse(handle: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="disk full"):
        files.write_durably(tmp_path / "manifest.json", b"new")
    assert (tmp_path / "manifest.json").read_bytes() == b"old"
