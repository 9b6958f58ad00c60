"""What is on disk after a write that failed, and what a power cut would find: the old state or the new one, whole."""

from __future__ import annotations

import itertools
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from birdcache.errors import StoreError
from birdcache.files import sweep_temporary, write_durably, writing
from cache import pool, store_writer
from cache.gc import read_roots, write_root
from cache.store import Store
from tests.cache.conftest import CommittedStore
from tests.fixtures.failing_disk import FailingDisk
from tests.fixtures.stores import verify

MakeCommitted = Callable[..., CommittedStore]


def temporary_files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.name.startswith(("tmp-", "."))]


@pytest.mark.parametrize("stays_full", [False, True], ids=["one write fails", "the disk is full from then on"])
def test_whichever_write_fails_the_old_store_stays_and_nothing_else(
    make_committed: MakeCommitted, monkeypatch: pytest.MonkeyPatch, stays_full: bool
) -> None:
    root = make_committed(seed=1).path.parent
    errors: list[OSError] = []
    for at in itertools.count(1):
        with monkeypatch.context() as patch:
            disk = FailingDisk(patch, at, stays_full)
            try:
                make_committed(seed=at + 1)  # other parts each time, so that each is written
            except OSError as error:
                errors.append(error)
        assert temporary_files(root) == [], at
        verify(Store(root / "mel.zarr"))
        if not disk.has_refused:
            break
    assert [error for error in errors if str(root) not in str(error.filename)] == []
    assert len(errors) > 40


@pytest.mark.parametrize("at", range(1, 4))
def test_failed_note_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    write_root(tmp_path, tmp_path / "mel.zarr", ["old"], is_finished=False)
    with monkeypatch.context() as patch:
        FailingDisk(patch, at, stays_full=True)
        with pytest.raises(OSError, match=r"No space left on device: '.*stores"):
            write_root(tmp_path, tmp_path / "mel.zarr", ["new"], is_finished=False)
    (note,) = read_roots(tmp_path)
    assert "old" in note.parts
    assert temporary_files(tmp_path) == []


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file of this process may grow beyond `size`, as under `ulimit -f` or a quota."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [0, 1, 100, 1000, 8192, 20_000])
def test_file_that_may_not_grow_leaves_the_old_store(make_committed: MakeCommitted, size: int) -> None:
    old = make_committed(seed=1)
    before = Store(old.path).digest
    refused = pytest.raises(StoreError, match=rf"{old.path.parent}/.*: cannot be written: File too large; no file")
    with refused, largest_file(size), writing(old.path):
        make_committed(seed=2)
    assert Store(old.path).digest == before
    assert temporary_files(old.path.parent) == []
    verify(Store(make_committed(seed=2).path))


def test_error_names_the_file_the_rule_and_the_hint(tmp_path: Path) -> None:
    refused = pytest.raises(
        StoreError,
        match=r"pool/part: cannot be written: No space .*; free some .*cache gc.*BIRDCACHE_POOL.*run the stage again",
    )
    with refused, writing(tmp_path / "mel.zarr"):
        raise OSError(28, "No space left on device", "pool/part")
    with pytest.raises(StoreError, match=r"mel\.zarr: cannot be written: disk full"), writing(tmp_path / "mel.zarr"):
        raise OSError("disk full")


def test_network_that_fails_is_no_full_disk(tmp_path: Path) -> None:
    with pytest.raises(ConnectionResetError), writing(tmp_path):
        raise ConnectionResetError(104, "reset by the scheduler")


class Journal:
    """Which files lie safely on disk: those that were forced there after their last change."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.renamed: list[Path] = []
        self.unsafe: list[Path] = []
        self._forced: dict[int, int] = {}
        self._rename = os.rename
        patch.setattr(os, "fsync", self._fsync)
        patch.setattr(os, "rename", self._rename_checked)
        patch.setattr(os, "replace", self._rename_checked)

    def _fsync(self, handle: int) -> None:
        facts = os.fstat(handle)
        self._forced[facts.st_ino] = facts.st_mtime_ns

    def _rename_checked(self, source: Path, target: Path) -> None:
        source = Path(source)
        self.renamed.append(Path(target))
        below = [source, *source.rglob("*")] if source.is_dir() else [source]
        below = [path for path in below if not (path.is_dir() and "parts" in path.parts)]  # sizes tell of lost links
        self.unsafe += [path for path in below if self._forced.get(path.stat().st_ino) != path.stat().st_mtime_ns]
        self._rename(source, target)


def test_everything_is_forced_to_disk_before_it_is_renamed_into_its_place(
    make_committed: MakeCommitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(monkeypatch)
    committed = make_committed()
    write_root(committed.pool, committed.path, ["a"], is_finished=False)
    assert {"mel.zarr", "manifest.json"} <= {path.name for path in journal.renamed}
    assert len([path for path in journal.renamed if len(path.name) == 64]) == 2
    assert journal.unsafe == []


@pytest.mark.parametrize(
    ("module", "name"), [(pool, "fsync_tree"), (store_writer, "fsync_tree"), (store_writer, "write_durably")]
)
def test_journal_sees_what_is_not_forced_to_disk(
    make_committed: MakeCommitted, monkeypatch: pytest.MonkeyPatch, module: object, name: str
) -> None:
    """The control of the test above."""
    journal = Journal(monkeypatch)
    monkeypatch.setattr(module, name, lambda path, *data: [path.write_bytes(each) for each in data])
    make_committed()
    assert journal.unsafe != []


def test_what_killed_processes_began_to_write_is_swept(tmp_path: Path) -> None:
    (tmp_path / "stores").mkdir()
    write_durably(tmp_path / "stores/note.json", b"{}")
    (tmp_path / "stores/.note.json.123.part").write_bytes(b"{")
    pool.LocalPool(tmp_path, "ab" * 32).sweep()
    assert [path.name for path in (tmp_path / "stores").iterdir()] == ["note.json"]
    sweep_temporary(tmp_path / "nowhere")
