"""A pool and its stores behind URLs, here in fsspec's `memory://`: the same parts, whole or not there at all."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from upath import UPath

from birdcache.errors import StoreError
from birdcache.params.views import MelView
from birdcache.storage import absolute, place, reaching, read_range
from cache.keys import content_key
from cache.part import SHARD
from cache.part_writer import ROWS
from cache.pool import LocalPool, PooledPart
from cache.quantize import Quantizer
from cache.remote_parts import NAME as ELSEWHERE
from cache.remote_pool import Pool, RemotePool, open_pool
from cache.shard import Layout
from cache.store import Store
from cache.store_writer import NamedPart, commit_store
from cache.verify import Contents, find_corruption
from tests.cache.conftest import PARTS, CommittedStore, commit_known_store
from tests.fixtures.parts import add_part
from tests.fixtures.stores import verify
from tests.fixtures.tiny import ROOT

MakeCommitted = Callable[..., CommittedStore]
DIGEST = "ab" * 32
KEYS = ["1" * 64, "2" * 64]
CODES = np.split(np.random.default_rng(1).integers(0, 255, (700, 8), np.uint8), [300])


@pytest.fixture
def root() -> UPath:
    """The URL of an empty pool."""
    MemoryFileSystem.store.clear()
    return UPath("memory://bucket/pool")


@pytest.fixture
def layout(view: MelView) -> Layout:
    uint8 = view.model_copy(update={"dtype": "uint8"})
    return Layout.of(uint8, Quantizer("uint8", -100.0, 28.0))


def add(pool: Pool, layout: Layout) -> PooledPart:
    return add_part(pool, layout, KEYS, CODES)


def contents(folder: Any) -> dict[str, bytes]:
    """Bytes of each file below a folder, local or remote."""
    start = len(folder.as_posix()) + 1
    return {path.as_posix()[start:]: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def flip(file: Any, where: int = 100) -> None:
    content = bytearray(file.read_bytes())
    content[where] ^= 1
    file.write_bytes(bytes(content))


def raise_on(monkeypatch: pytest.MonkeyPatch, method: str, error: Exception) -> None:
    """Let every file system in memory fail."""

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(MemoryFileSystem, method, fail)


def test_url_has_a_remote_pool_and_a_path_a_local_one(tmp_path: Path, root: UPath) -> None:
    assert isinstance(open_pool(root, DIGEST), RemotePool)
    assert isinstance(open_pool(tmp_path, DIGEST), LocalPool)


def test_part_is_found_again_by_its_keys_and_by_no_others(root: UPath, layout: Layout) -> None:
    added = add(RemotePool(root, DIGEST), layout)
    again = RemotePool(root, DIGEST)
    assert again.find(KEYS) == added
    assert again.find(KEYS[::-1]) is None
    assert RemotePool(root, "cd" * 32).find(KEYS) is None
    np.testing.assert_array_equal(np.concatenate(list(added.reader(layout).rows(0, 700))), np.concatenate(CODES))


def test_remote_part_has_the_bytes_of_a_local_one(tmp_path: Path, root: UPath, layout: Layout) -> None:
    local, remote = add(LocalPool(tmp_path, DIGEST), layout), add(RemotePool(root, DIGEST), layout)
    assert contents(remote.folder) == contents(local.folder)
    assert remote.folder.as_posix() == f"{root}/{Path(str(local.folder)).relative_to(tmp_path)}"
    assert remote.files == local.files


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("missing", [ROWS, SHARD.as_posix(), "zarr.json"])
def test_part_that_lacks_a_file_is_not_found_and_can_be_added_again(
    root: UPath, layout: Layout, missing: str, listed: bool
) -> None:
    part = add(RemotePool(root, DIGEST), layout)
    (part.folder / missing).unlink()
    pool = RemotePool(root, DIGEST)
    if listed:
        assert len(pool.parts()) == (missing != ROWS)
    assert pool.find(KEYS) is None
    assert add(pool, layout) == part
    assert RemotePool(root, DIGEST).find(KEYS) == part


@pytest.mark.parametrize("listed", [False, True])
def test_part_of_another_size_is_not_found(root: UPath, layout: Layout, listed: bool) -> None:
    shard: Any = add(RemotePool(root, DIGEST), layout).folder / SHARD.as_posix()
    shard.write_bytes(shard.read_bytes()[:-1])
    pool = RemotePool(root, DIGEST)
    if listed:
        pool.parts()
    assert pool.find(KEYS) is None


def test_upload_that_breaks_off_leaves_no_part(root: UPath, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = MemoryFileSystem.put_file

    def break_off(files: Any, local: str, path: str, **keywords: Any) -> None:
        if path.endswith(ROWS):
            raise TimeoutError("no answer")
        upload(files, local, path, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "put_file", break_off)
        with pytest.raises(StoreError, match=rf"^{root}: cannot be reached \(TimeoutError: no answer\)"):
            add(RemotePool(root, DIGEST), layout)
    assert len(contents(root)) == 2
    assert RemotePool(root, DIGEST).parts() == []
    assert RemotePool(root, DIGEST).find(KEYS) is None


def test_part_that_is_there_is_not_uploaded_twice(root: UPath, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    first = add(RemotePool(root, DIGEST), layout)
    raise_on(monkeypatch, "put_file", AssertionError("uploaded again"))
    assert add(RemotePool(root, DIGEST), layout) == first


def test_listed_pool_tells_of_all_parts_without_asking_for_each(
    root: UPath, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, other = RemotePool(root, DIGEST), RemotePool(root, DIGEST)
    added = [add_part(other, layout, [key], [quantized]) for key, quantized in zip(KEYS, CODES, strict=True)]
    assert pool.parts() == sorted(added, key=lambda part: part.folder.name)
    raise_on(monkeypatch, "find", AssertionError("asked again"))
    assert [pool.find([key]) for key in KEYS] == added
    assert pool.find(KEYS) is None


def test_part_of_a_worker_is_found_once_it_is_trusted(root: UPath, layout: Layout) -> None:
    pool = RemotePool(root, DIGEST)
    assert pool.parts() == []
    written = add(RemotePool(root, DIGEST), layout)
    assert pool.find(KEYS) is None
    pool.trust(written)
    assert pool.find(KEYS) == written
    own = add_part(pool, layout, KEYS[:1], CODES[:1])
    assert pool.find(KEYS[:1]) == own


def test_draft_leaves_nothing_on_this_machine(
    tmp_path: Path, root: UPath, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    pool = RemotePool(root, DIGEST)
    add(pool, layout)
    with pool.new_part(layout) as part_writer:
        assert len(list(tmp_path.iterdir())) == 1
    del part_writer
    assert list(tmp_path.iterdir()) == []


def test_missing_bucket_is_named(root: UPath, monkeypatch: pytest.MonkeyPatch) -> None:
    raise_on(monkeypatch, "find", FileNotFoundError("The specified bucket does not exist"))
    with pytest.raises(StoreError, match=rf"^{root}: The specified bucket.*create the bucket, or correct machine"):
        RemotePool(root, DIGEST).parts()


def commit_elsewhere(committed: CommittedStore, root: UPath, target: Path) -> Store:
    """The store that `committed` is, over a remote pool."""
    local = Store(committed.path)
    digest, rows = local.manifest.view_digest, iter(committed.quantized.items())
    named = []
    for name, frames in PARTS.items():
        audio, quantized = zip(*islice(rows, len(frames)), strict=True)
        keys = [content_key(sha256, digest) for sha256 in audio]
        named.append(NamedPart(name, add_part(RemotePool(root, digest), local.layout, keys, quantized), audio))
    commit_store(target, committed.view, digest, committed.quantizer, named)
    return Store(target, committed.view)


@pytest.fixture(scope="module", params=["none", "lz4"])
def twin(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> CommittedStore:
    """A local store, raw or compressed."""
    return commit_known_store(tmp_path_factory.mktemp("twin"), compression=request.param)


def test_store_over_a_remote_pool_is_the_local_one_but_for_its_parts(
    twin: CommittedStore, root: UPath, tmp_path: Path
) -> None:
    remote, local = commit_elsewhere(twin, root, tmp_path / "mel.zarr"), Store(twin.path)
    local_files = {
        name: data for name, data in contents(twin.path).items() if not name.startswith(("parts/0", "parts/a"))
    }
    remote_files = contents(tmp_path / "mel.zarr")
    assert json.loads(remote_files.pop(ELSEWHERE)).keys() == PARTS.keys()
    assert remote_files == local_files
    assert remote.is_remote
    assert not remote.is_mappable
    assert remote.digest == local.digest


def test_store_over_a_remote_pool_reads_as_the_local_one(twin: CommittedStore, root: UPath, tmp_path: Path) -> None:
    remote, local = commit_elsewhere(twin, root, tmp_path / "mel.zarr"), Store(twin.path)
    for row in range(len(local)):
        np.testing.assert_array_equal(remote.read(row), local.read(row))
    out = remote.empty(500)
    remote.copy_frames(4, 300, out)
    np.testing.assert_array_equal(out, list(twin.quantized.values())[4][300:800])


def test_whole_remote_part_is_read_at_once(
    twin: CommittedStore, root: UPath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = commit_elsewhere(twin, root, tmp_path / "mel.zarr")
    reads: list[str] = []
    read = MemoryFileSystem.cat_file

    def count(files: Any, path: str, **keywords: Any) -> Any:
        reads.append(path)
        return read(files, path, **keywords)

    monkeypatch.setattr(MemoryFileSystem, "cat_file", count)
    for number, part in enumerate(remote.manifest.parts):
        reader = remote.reader(number)
        reader.fetch()
        remote.copy_rows(number, 0, remote.empty(part.frames), reader)
    assert len(reads) == len(PARTS)


def test_verify_finds_a_flipped_byte_in_a_remote_part(twin: CommittedStore, root: UPath, tmp_path: Path) -> None:
    store = commit_elsewhere(twin, root, tmp_path / "mel.zarr")
    verify(store)
    shard = next(file for file in root.rglob("*") if file.as_posix().endswith(SHARD.as_posix()))
    flip(shard)
    repair = rf"remove {shard} there, then run `dvc repro -f -s`"
    with pytest.raises(StoreError, match=rf"^{shard}: chunk \d is damaged; holds . recordings? .*; {repair}"):
        verify(store)
    with pytest.raises(StoreError, match=rf"^{shard}: chunk 0 is damaged"):
        list(map(Store(store.path).read, range(len(store))))


@pytest.mark.parametrize("how", ["missing", "short"])
def test_store_whose_remote_part_lacks_bytes_is_refused(
    committed: CommittedStore, root: UPath, tmp_path: Path, how: str
) -> None:
    store = commit_elsewhere(committed, root, tmp_path / "remote.zarr")
    shard = next(file for file in root.rglob("*") if file.as_posix().endswith(SHARD.as_posix()))
    if how == "short":
        shard.write_bytes(shard.read_bytes()[:-4])
    else:
        shard.unlink()
    with pytest.raises(StoreError, match=rf"^{shard}: (is missing|has \d+ bytes), its manifest says"):
        Store(store.path)
    other = next(file for file in root.rglob("*") if file.as_posix().endswith(SHARD.as_posix()) and file != shard)
    flip(other)
    found = find_corruption(Contents(store.path), full=False)
    assert {(str(each.file), each.what.split(", ")[0]) for each in found} == {
        (str(shard), "is missing" if how == "missing" else f"has {len(shard.read_bytes())} bytes"),
        (str(other), "chunk 0 is damaged"),
    }, "all that is wrong is told"


def test_store_whose_pool_does_not_answer_is_refused(
    committed: CommittedStore, root: UPath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = commit_elsewhere(committed, root, tmp_path / "remote.zarr")
    raise_on(monkeypatch, "find", ConnectionError("connection refused"))
    with pytest.raises(StoreError, match=r"memory://.*: cannot be reached \(ConnectionError: connection refused\)"):
        Store(store.path)


@pytest.mark.parametrize("note", ["", "[1]", '{"0": 1}', '{"0": null}'])
def test_damaged_note_of_where_parts_lie_is_refused(committed: CommittedStore, note: str) -> None:
    (committed.path / ELSEWHERE).write_text(note)
    with pytest.raises(StoreError, match=r"elsewhere\.json: is damaged, .*; run `dvc repro`"):
        Store(committed.path)


def test_text_with_a_protocol_is_a_url_and_other_text_a_path() -> None:
    url = place("memory://bucket/a folder/#1.ogg")
    assert not isinstance(url, Path)
    assert url.as_posix() == str(url) == "memory://bucket/a folder/#1.ogg"
    assert place("a/b") == Path("a/b")
    assert absolute("memory://a/b", "/project").as_posix() == "memory://a/b"
    assert absolute("a/b", "/project") == Path("/project/a/b")
    assert absolute("/a/b", "/project") == Path("/a/b")


def test_range_of_a_remote_file_is_that_of_a_local_one(tmp_path: Path, root: UPath) -> None:
    for where in (root / "file", tmp_path / "file"):
        where.write_bytes(bytes(range(100)))
        assert read_range(where, 10, 20) == bytes(range(10, 20))


def test_protocol_that_nothing_opens_is_refused() -> None:
    with pytest.raises(StoreError, match=r"^nest://bucket/pool: cannot be opened .*pip install \"birdcache\[s3\]\""):
        place("nest://bucket/pool")


def test_missing_extra_is_named_instead_of_a_traceback() -> None:
    code = "import sys; sys.modules['s3fs'] = None\nfrom birdcache.storage import place\nplace('s3://bucket/pool')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr.strip().splitlines()[-1].startswith("birdcache.errors.StoreError: s3://bucket/pool: cannot be")
    assert 'pip install "birdcache[s3]"' in done.stderr


def test_only_what_goes_wrong_on_the_way_to_a_remote_place_is_worded_anew(tmp_path: Path, root: UPath) -> None:
    wording = r"^memory://.*: cannot be reached \(ValueError: no credentials\); correct the URL"
    with pytest.raises(StoreError, match=wording), reaching(root):
        raise ValueError("no credentials")
    for error in (FileNotFoundError("gone"), StoreError("known")):
        with pytest.raises(type(error), match=r"^(gone|known)$"), reaching(root):
            raise error
    with pytest.raises(PermissionError), reaching(tmp_path):
        raise PermissionError
