"""What a pool may free: exactly the parts that no living store needs, wherever pool and stores lie."""

from __future__ import annotations

import os
import platform
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from upath import UPath

from birdcache.errors import StoreError
from birdcache.storage import AnyPath
from cache.gc import address_of, free, pool_usage, read_roots, write_root
from cache.part import SHARD
from cache.part_writer import ROWS
from cache.pool import LocalPool
from cache.quantize import Quantizer
from cache.remote_pool import open_pool
from cache.shard import Layout
from cache.store import Store
from cache.store_writer import NamedPart, commit_store
from tests.cache.conftest import VIEW
from tests.fixtures.parts import add_part
from tests.fixtures.stores import verify

DIGEST, OTHER_DIGEST = "ab" * 32, "cd" * 32
CODEC = Quantizer("float16", -100.0, 28.0)
LAYOUT = Layout.of(VIEW, CODEC)


@pytest.fixture(params=["local", "remote"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AnyPath]:
    """Where a pool is: a folder, or a URL."""
    if request.param == "local":
        yield tmp_path / "pool"
        return
    url = UPath(f"memory://{uuid.uuid4().hex}")
    yield url
    url.fs.rm(url.path, recursive=True)


@pytest.fixture
def no_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if stores lay on another disk than the pool: symbolic links."""
    link = os.link

    def refuse(source: Path, target: Path) -> None:
        if ("pool" in Path(source).parts) != ("pool" in Path(target).parts):
            raise OSError("another disk")
        link(source, target)

    monkeypatch.setattr(os, "link", refuse)


def make_parts(root: AnyPath, names: str, digest: str = DIGEST) -> list[NamedPart]:
    """A part per letter, of as many recordings as the letter's place in the alphabet."""
    named = []
    for letter in names:
        audio = [f"{ord(letter):02x}{number:062x}" for number in range(ord(letter) - ord("a") + 1)]
        quantized = [np.full((600, VIEW.n_mels), 7, np.float16) for _ in audio]
        named.append(NamedPart(letter, add_part(open_pool(root, digest), LAYOUT, audio, quantized), tuple(audio)))
    return named


def make_store(root: AnyPath, target: Path, names: str, digest: str = DIGEST) -> list[str]:
    """Build, commit and note a store; returns the addresses of its parts."""
    parts = make_parts(root, names, digest)
    target.parent.mkdir(parents=True, exist_ok=True)
    commit_store(target, VIEW, digest, CODEC, parts)
    write_root(root, target, [address_of(named.part.folder) for named in parts], is_finished=True)
    return [address_of(named.part.folder) for named in parts]


def garbage(root: AnyPath, *stores: Path) -> list[str]:
    return sorted(address_of(entry.folder) for entry in pool_usage(root, stores).garbage)


def collect(root: AnyPath) -> int:
    """Free all garbage; returns its bytes."""
    usage = pool_usage(root, [])
    free(usage.garbage, usage.roots)
    return sum(entry.bytes for entry in usage.garbage)


def files_of(root: AnyPath) -> dict[str, int]:
    """Size of every file below a place."""
    return {str(file): file.stat().st_size for file in root.rglob("*") if file.is_file()}


def test_stores_keep_their_parts_and_nothing_else_is_kept(root: AnyPath, tmp_path: Path) -> None:
    make_store(root, tmp_path / "one/mel.zarr", "ab")
    make_store(root, tmp_path / "two/mel.zarr", "bc")
    make_store(root, tmp_path / "two/pcen.zarr", "a", OTHER_DIGEST)
    unused = [address_of(named.part.folder) for named in make_parts(root, "cde") + make_parts(root, "b", OTHER_DIGEST)]
    assert garbage(root) == sorted(unused[1:])
    usage = pool_usage(root, [])
    assert {entry.view for entry in usage.entries} == {DIGEST[:32], OTHER_DIGEST[:32]}


def test_what_is_freed_is_what_was_said(root: AnyPath, tmp_path: Path) -> None:
    make_store(root, tmp_path / "mel.zarr", "ab")
    make_parts(root, "cd")
    make_parts(root, "ef", OTHER_DIGEST)
    before = files_of(root)
    said_bytes = collect(root)
    after = files_of(root)
    assert sum(before.values()) - sum(after.values()) == said_bytes > 0
    assert garbage(root) == []
    assert len(pool_usage(root, []).entries) == 2
    verify(Store(tmp_path / "mel.zarr"))


def test_removed_store_frees_what_it_alone_needed(root: AnyPath, tmp_path: Path) -> None:
    make_store(root, tmp_path / "one.zarr", "ab")
    addresses = make_store(root, tmp_path / "two.zarr", "bc")
    shutil.rmtree(tmp_path / "two.zarr")
    assert garbage(root) == addresses[1:]
    collect(root)
    assert [Path(note.store).name for note in read_roots(root)] == ["one.zarr"]
    verify(Store(tmp_path / "one.zarr"))


def test_rebuilt_store_frees_its_old_parts(root: AnyPath, tmp_path: Path) -> None:
    old = make_store(root, tmp_path / "mel.zarr", "abc")
    make_store(root, tmp_path / "mel.zarr", "bcd")
    assert garbage(root) == old[:1]
    assert len(read_roots(root)) == 1


@pytest.mark.usefixtures("no_links")
def test_store_on_another_disk_keeps_its_parts(tmp_path: Path) -> None:
    root = tmp_path / "pool"
    make_store(root, tmp_path / "mel.zarr", "ab")
    assert (tmp_path / "mel.zarr/parts/a" / SHARD).is_symlink()
    assert garbage(root) == []
    collect(root)
    verify(Store(tmp_path / "mel.zarr"))


def test_moved_store_keeps_its_hard_links(tmp_path: Path) -> None:
    root = tmp_path / "pool"
    make_store(root, tmp_path / "mel.zarr", "ab")
    (tmp_path / "mel.zarr").rename(tmp_path / "moved.zarr")
    assert garbage(root) == []
    (root / "stores").rename(tmp_path / "lost")
    assert garbage(root) == []


@pytest.mark.usefixtures("no_links")
def test_moved_store_that_is_named_keeps_what_it_points_to(root: AnyPath, tmp_path: Path) -> None:
    addresses = make_store(root, tmp_path / "mel.zarr", "ab")
    make_parts(root, "c")
    (tmp_path / "mel.zarr").rename(tmp_path / "moved.zarr")
    assert set(garbage(root)) > set(addresses)
    assert not set(garbage(root, tmp_path / "moved.zarr")) & set(addresses)
    assert len(garbage(root, tmp_path / "moved.zarr")) == 1


def test_store_of_another_machine_is_taken_for_living(
    root: AnyPath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_store(root, tmp_path / "mel.zarr", "ab")
    shutil.rmtree(tmp_path / "mel.zarr")
    monkeypatch.setattr(platform, "node", lambda: "elsewhere")
    assert garbage(root) == []
    monkeypatch.undo()
    assert len(garbage(root)) == 2


def test_killed_build_keeps_its_old_parts_and_its_new_ones(root: AnyPath, tmp_path: Path) -> None:
    """DVC removes the old store before it runs the stage."""
    target = tmp_path / "data/mel.zarr"
    make_store(root, target, "ab")
    shutil.rmtree(target)
    assert len(garbage(root)) == 2
    planned = [address_of(named.part.folder) for named in make_parts(root, "c")]
    write_root(root, target, [*planned, f"{DIGEST[:32]}/{'0' * 64}"], is_finished=False)
    assert garbage(root) == []
    make_store(root, target, "c")
    assert len(garbage(root)) == 2


def test_unfinished_store_whose_project_is_gone_needs_nothing(root: AnyPath, tmp_path: Path) -> None:
    target = tmp_path / "data/mel.zarr"
    make_store(root, target, "a")
    write_root(root, target, [], is_finished=False)
    shutil.rmtree(target.parent)
    assert len(garbage(root)) == 1
    collect(root)
    assert read_roots(root) == ()


def test_unfinished_parts_are_freed(tmp_path: Path) -> None:
    root = tmp_path / "pool"
    make_store(root, tmp_path / "mel.zarr", "a")
    for number in range(2):
        with LocalPool(root, DIGEST).new_part(LAYOUT) as part_writer:
            part_writer.add("1" * 64, [np.zeros((600 + number, VIEW.n_mels), np.float16)])
    found = pool_usage(root, []).garbage
    assert [entry.is_finished for entry in found] == [False] * 2
    assert collect(root) == sum(entry.bytes for entry in found) > 0
    assert [*root.rglob("tmp-*")] == []
    verify(Store(tmp_path / "mel.zarr"))


def test_what_is_not_the_pools_is_never_touched(root: AnyPath, tmp_path: Path) -> None:
    """A pool may be set by mistake to a folder that holds other things."""
    make_parts(root, "a")
    strangers = ["thesis/chapter/text", "photo", f"{DIGEST[:32]}/notes/text", f"{'AB' * 16}/{'0' * 64}/rows.json"]
    for name in strangers:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"years of work")
    collect(root)
    assert garbage(root) == []
    assert sorted(files_of(root)) == sorted(str(root / name) for name in strangers)


def test_removal_cut_short_leaves_no_half_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "pool"
    keys = make_parts(root, "a")[0].part.keys

    def cut_short(folder: Path) -> None:
        (folder / SHARD).unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", cut_short)
    with pytest.raises(KeyboardInterrupt):
        collect(root)
    monkeypatch.undo()
    assert LocalPool(root, DIGEST).find(keys) is None
    assert LocalPool(root, DIGEST).parts() == []
    assert [entry.is_finished for entry in pool_usage(root, []).garbage] == [False]
    assert make_parts(root, "a")[0].part.keys == keys


def test_remote_removal_cut_short_leaves_no_half_part(monkeypatch: pytest.MonkeyPatch) -> None:
    root = UPath(f"memory://{uuid.uuid4().hex}")
    keys = make_parts(root, "ab")[0].part.keys
    remove, calls = type(root.fs).rm, []

    def cut_short(fs: object, paths: list[str]) -> None:
        calls.append(paths)
        if len(calls) == 2:
            raise KeyboardInterrupt
        remove(fs, paths)

    monkeypatch.setattr(type(root.fs), "rm", cut_short)
    with pytest.raises(KeyboardInterrupt):
        collect(root)
    monkeypatch.undo()
    assert open_pool(root, DIGEST).find(keys) is None
    assert open_pool(root, DIGEST).parts() == []
    assert len(pool_usage(root, []).garbage) == 2
    collect(root)
    assert files_of(root) == {}


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"host":"a","store":"b","parts":3,"finished":true}'])
def test_damaged_note_is_refused_by_name(root: AnyPath, tmp_path: Path, content: bytes) -> None:
    make_store(root, tmp_path / "mel.zarr", "a")
    (note,) = read_roots(root)
    note.file.write_bytes(content)
    with pytest.raises(StoreError, match=rf"stores/{note.file.name}: is damaged, so nobody knows"):
        pool_usage(root, [])


def test_part_with_an_unreadable_list_of_rows_is_freed(root: AnyPath) -> None:
    folder = make_parts(root, "c")[0].part.folder
    if isinstance(folder, Path):
        (folder / ROWS).chmod(0o644)
    (folder / ROWS).write_bytes(b"[1]")
    assert [entry.is_finished for entry in pool_usage(root, []).garbage] == [True]
    collect(root)
    assert garbage(root) == []


def test_empty_pool_holds_nothing(root: AnyPath, tmp_path: Path) -> None:
    (root / "lock").parent.mkdir(parents=True, exist_ok=True)
    (root / "lock").touch()
    assert pool_usage(root, [tmp_path / "none.zarr"]).entries == ()
