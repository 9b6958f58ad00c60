"""The pool: each part once, under an address that follows from its recordings, whatever happens around it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cache import files, pool
from cache.codec import Codec, Codes
from cache.parts import METADATA, SHARD, write_array
from cache.pool import ROWS, Pool, PooledPart, is_intact, link_part, map_part

CODEC = Codec("uint8", -100.0, 45.0)
KEYS, FRAMES = ["1" * 64, "2" * 64], [3, 5]


def some_codes(seed: int = 1) -> Codes:
    return np.random.default_rng(seed).integers(0, 255, (sum(FRAMES), 8), np.uint8)


def read_codes(part: PooledPart) -> Codes:
    codes: Codes = map_part(part, 8, CODEC).reshape(-1, 8)[: sum(part.frames)]
    return codes


def damage(path: Path) -> None:
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.fixture
def digest() -> str:
    return "ab" * 32


@pytest.fixture
def parts(tmp_path: Path, digest: str) -> Pool:
    """An empty pool at tmp_path/pool."""
    return Pool(tmp_path / "pool", digest)


def leftovers(root: Path) -> list[Path]:
    return list(root.rglob("tmp-*"))


def test_part_is_found_again_by_its_keys(parts: Pool, tmp_path: Path, digest: str) -> None:
    added = parts.add(KEYS, FRAMES, some_codes(), CODEC)
    found = Pool(tmp_path / "pool", digest).find(KEYS)
    assert found == added
    assert found.keys == tuple(KEYS)
    assert found.frames == tuple(FRAMES)
    np.testing.assert_array_equal(read_codes(found), some_codes())


def test_part_is_found_by_no_other_keys_and_in_no_other_view(parts: Pool, tmp_path: Path) -> None:
    parts.add(KEYS, FRAMES, some_codes(), CODEC)
    assert parts.find(KEYS[::-1]) is None
    assert parts.find(KEYS[:1]) is None
    assert parts.find([*KEYS, "3" * 64]) is None
    assert Pool(tmp_path / "pool", "cd" * 32).find(KEYS) is None


def test_files_of_a_part_are_read_only(parts: Pool) -> None:
    part = parts.add(KEYS, FRAMES, some_codes(), CODEC)
    modes = {path.name: path.stat().st_mode & 0o777 for path in part.folder.rglob("*") if path.is_file()}
    assert modes == {"zarr.json": 0o444, "0": 0o444, ROWS: 0o444}


def test_part_that_is_there_is_not_written_twice(parts: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    first = parts.add(KEYS, FRAMES, some_codes(), CODEC)
    monkeypatch.delattr(pool, "write_array")
    assert parts.add(KEYS, FRAMES, some_codes(), CODEC) == first


def test_process_that_finishes_first_does_no_harm(
    parts: Pool, tmp_path: Path, digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overtaken(temporary: Path, codes: Codes, codec: Codec) -> None:
        monkeypatch.undo()
        monkeypatch.setattr(os, "getpid", lambda: 1)  # the other process
        Pool(tmp_path / "pool", digest).add(KEYS, FRAMES, codes, codec)
        write_array(temporary, codes, codec)

    monkeypatch.setattr(pool, "write_array", overtaken)
    part = parts.add(KEYS, FRAMES, some_codes(), CODEC)
    assert leftovers(tmp_path) == []
    assert parts.all_parts() == [part]
    assert is_intact(part)


def test_failed_publication_is_an_error(parts: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OSError, match="disk full"):
        parts.add(KEYS, FRAMES, some_codes(), CODEC)
    assert parts.find(KEYS) is None


def test_parts_are_listed_only_once_they_are_finished(parts: Pool, tmp_path: Path, digest: str) -> None:
    part = parts.add(KEYS, FRAMES, some_codes(), CODEC)
    growing = part.folder.with_name(f"tmp-{os.getpid()}-1234")  # of a live build, all written but not renamed
    growing.mkdir()
    (growing / ROWS).write_bytes((part.folder / ROWS).read_bytes())
    other = parts.add(KEYS[:1], FRAMES[:1], some_codes()[:3], CODEC)
    listed = Pool(tmp_path / "pool", digest).all_parts()
    assert {entry.folder for entry in listed} == {part.folder, other.folder}


@pytest.mark.parametrize("name", [METADATA, SHARD])
@pytest.mark.parametrize("how", ["flipped", "short", "missing"])
def test_damaged_part_is_removed_so_that_it_is_built_again(
    parts: Pool, tmp_path: Path, digest: str, name: Path, how: str
) -> None:
    part = parts.add(KEYS, FRAMES, some_codes(), CODEC)
    if how == "flipped":
        damage(part.folder / name)
    elif how == "short":
        os.truncate(part.folder / name, 5)
    else:
        (part.folder / name).unlink()
    assert not is_intact(part)
    again = Pool(tmp_path / "pool", digest)
    assert again.find(KEYS) is None
    assert is_intact(again.add(KEYS, FRAMES, some_codes(), CODEC))


def test_damaged_part_is_not_taken_for_the_one_that_was_to_be_added(parts: Pool, tmp_path: Path, digest: str) -> None:
    part = parts.add(KEYS, FRAMES, some_codes(), CODEC)
    damage(part.folder / SHARD)
    again = Pool(tmp_path / "pool", digest).add(KEYS, FRAMES, some_codes(), CODEC)
    np.testing.assert_array_equal(read_codes(again), some_codes())


def test_bytes_are_compared_once_and_not_at_all_if_just_written(
    parts: Pool, tmp_path: Path, digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = parts.add(KEYS, FRAMES, some_codes(), CODEC)
    compared: list[Path] = []

    def compare(part: PooledPart) -> bool:
        compared.append(part.folder)
        return is_intact(part)

    monkeypatch.setattr(pool, "is_intact", compare)
    found, written = Pool(tmp_path / "pool", digest), Pool(tmp_path / "pool", digest)
    written.trust(part)
    for _ in range(2):
        found.find(KEYS)
        written.find(KEYS)
    assert compared == [part.folder]


def test_sweep_removes_what_dead_builds_left_and_nothing_else(parts: Pool, tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    part = parts.add(KEYS, FRAMES, some_codes(), CODEC)
    folders = {pid: part.folder.with_name(f"tmp-{pid}-1234") for pid in (dead.pid, os.getpid(), os.getppid(), 1)}
    for folder in folders.values():
        folder.mkdir()
        (folder / "zarr.json").touch(0o444)
    parts.sweep()
    assert folders.pop(dead.pid) not in leftovers(tmp_path)
    assert set(leftovers(tmp_path)) == set(folders.values())
    assert parts.find(KEYS) == part


def test_linked_part_shares_its_bytes_with_the_pool(parts: Pool, tmp_path: Path) -> None:
    part = parts.add(KEYS, FRAMES, some_codes(), CODEC)
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
