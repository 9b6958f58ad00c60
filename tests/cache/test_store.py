"""Committed stores: what was written is read back, and nothing else is taken for it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from birdcache.errors import StoreError
from birdcache.files import canonical_json, remove_tree, sha256_hex, write_durably
from cache import store_writer
from cache.manifest import NAME, read_manifest
from cache.store import Store, digest_file, open_named
from tests.cache.conftest import CommittedStore
from tests.fixtures.stores import verify

MakeCommitted = Callable[..., CommittedStore]
DTYPES = pytest.mark.parametrize("dtype", ["float16", "uint8"])
INDEX = ["index/audio_sha256/c/0/0", "index/spans/c/0/0"]
SHARDS = ["parts/0/c/0/0", "parts/a/c/0/0"]
METADATA = [
    "zarr.json",
    "index/zarr.json",
    "index/audio_sha256/zarr.json",
    "index/spans/zarr.json",
    "parts/zarr.json",
    "parts/0/zarr.json",
    "parts/a/zarr.json",
]
EVERY_FILE = pytest.mark.parametrize("name", [*METADATA, *INDEX, *SHARDS])


def flip(path: Path, place: int, bit: int = 1) -> None:
    """Change one bit, as a failing disk would, without touching other links to the file."""
    content = bytearray(path.read_bytes())
    content[place] ^= bit
    path.unlink()
    path.write_bytes(content)


def all_quantized(store: Store) -> Any:
    """The codes of all parts, one after the other."""
    axis = store.empty(store.manifest.frames)
    ends = np.cumsum([part.frames for part in store.manifest.parts])
    for part, piece in enumerate(np.split(axis, ends[:-1]) if len(ends) else []):
        store.copy_rows(part, 0, piece)
    return axis


def all_files(store: Path) -> set[str]:
    return {path.relative_to(store).as_posix() for path in store.rglob("*") if path.is_file()}


@DTYPES
def test_recordings_are_read_back_as_they_were_encoded(make_committed: MakeCommitted, dtype: str) -> None:
    committed = make_committed(dtype)
    store = Store(committed.path, committed.view)
    assert len(store) == len(committed.quantized) == 5
    rows = store.rows_of(list(committed.quantized))
    assert rows.tolist() == [0, 1, 2, 3, 4]
    for row, quantized in zip(rows, committed.quantized.values(), strict=True):
        assert store.frames[row] == len(quantized)
        np.testing.assert_array_equal(store.read(int(row)), committed.quantizer.decode(quantized))
    verify(store)


def test_recordings_are_found_in_any_order_and_strangers_are_not(committed: CommittedStore) -> None:
    one, two, *_ = committed.quantized
    assert Store(committed.path).rows_of([two, "f" * 64, one, two]).tolist() == [1, -1, 0, 1]


@DTYPES
def test_all_codes_are_one_axis_on_which_recordings_have_their_place(make_committed: MakeCommitted, dtype: str) -> None:
    committed = make_committed(dtype)
    store = Store(committed.path)
    axis = all_quantized(store)
    assert len(axis) == store.manifest.frames == int(store.frames.sum())
    for first, frames, quantized in zip(store.first_frame, store.frames, committed.quantized.values(), strict=True):
        np.testing.assert_array_equal(axis[first : first + frames], quantized)


def test_frames_are_copied_from_anywhere_in_a_recording(committed: CommittedStore) -> None:
    store = Store(committed.path)
    for row, quantized in enumerate(committed.quantized.values()):
        for start in {0, len(quantized) // 3, len(quantized) - 1}:
            out = store.empty(len(quantized) - start)
            store.copy_frames(row, start, out)
            np.testing.assert_array_equal(out, quantized[start:])


@DTYPES
def test_zarr_alone_can_read_a_store(make_committed: MakeCommitted, dtype: str) -> None:
    committed = make_committed(dtype)
    group: Any = zarr.open_group(committed.path, mode="r")
    assert sorted(group["parts"].array_keys()) == ["0", "a"]
    read = np.concatenate([group[f"parts/{name}"][:] for name in ("0", "a")])
    np.testing.assert_array_equal(read, np.concatenate(list(committed.quantized.values())))
    assert [row.tobytes().hex() for row in group["index/audio_sha256"][:]] == list(committed.quantized)
    assert group["index/spans"][:].tolist() == [[0, 0, 700], [0, 700, 3], [0, 703, 512], [1, 0, 1], [1, 1, 1100]]


@DTYPES
def test_empty_store_can_be_committed_and_read(make_committed: MakeCommitted, dtype: str) -> None:
    committed = make_committed(dtype, {})
    store = Store(committed.path, committed.view)
    verify(store)
    assert len(store) == len(store.frames) == len(store.first_frame) == 0
    assert len(all_quantized(store)) == 0
    assert store.rows_of(["1" * 64]).tolist() == [-1]


def test_parts_are_links_to_the_pool(make_committed: MakeCommitted) -> None:
    committed = make_committed()
    pooled = {path.stat().st_ino for path in committed.pool.rglob("*") if path.is_file()}
    for name in (*SHARDS, "parts/0/zarr.json", "parts/a/zarr.json"):
        assert (committed.path / name).lstat().st_ino in pooled
        assert (committed.path / name).lstat().st_mode & 0o222 == 0


def test_manifest_names_every_file_but_itself(committed: CommittedStore) -> None:
    manifest = read_manifest(committed.path)
    of_parts = {f"parts/{part.name}/{name}" for part in manifest.parts for name in part.files}
    assert set(manifest.files) | of_parts | {NAME} == all_files(committed.path) == {*METADATA, *INDEX, *SHARDS, NAME}


def test_manifest_survives_writing_and_reading(committed: CommittedStore) -> None:
    content = (committed.path / NAME).read_bytes()
    manifest = read_manifest(committed.path)
    assert manifest.to_bytes() == content
    assert manifest.codec == committed.quantizer
    assert manifest.view == committed.view
    assert manifest.recordings == 5


def test_store_without_a_manifest_is_unfinished(committed: CommittedStore) -> None:
    (committed.path / NAME).unlink()
    with pytest.raises(StoreError, match=r"mel\.zarr: has no manifest\.json, so it is unfinished.*run `dvc repro"):
        Store(committed.path)
    with pytest.raises(StoreError, match=r"nowhere\.zarr: has no manifest\.json"):
        Store(committed.path.with_name("nowhere.zarr"))


def test_manifest_is_written_after_everything_else(
    make_committed: MakeCommitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    there: list[set[str]] = []

    def write(path: Path, data: bytes) -> None:
        there.append(all_files(path.parent))
        write_durably(path, data)

    monkeypatch.setattr(store_writer, "write_durably", write)
    make_committed()
    assert there == [{*METADATA, *INDEX, *SHARDS}]


@EVERY_FILE
@pytest.mark.parametrize("found", ["is missing", "has 0 bytes", "has 10 bytes"])
def test_missing_or_short_file_is_refused_by_name(committed: CommittedStore, name: str, found: str) -> None:
    path = committed.path / name
    content = path.read_bytes()
    path.unlink()
    if found != "is missing":
        path.write_bytes(content[: int(found.split()[1])])
    with pytest.raises(
        StoreError, match=rf"mel\.zarr/{name}: {found}, its manifest says {len(content)}; .*run `dvc repro`"
    ):
        Store(committed.path)


@EVERY_FILE
@pytest.mark.parametrize("part", [0.0, 0.5, 1.0])
def test_flipped_bit_is_found_in_every_file(committed: CommittedStore, name: str, part: float) -> None:
    store = Store(committed.path)
    path = committed.path / name
    flip(path, round(part * (path.stat().st_size - 1)))
    what = "(chunk [0-2]|its index) is damaged" if name in SHARDS else "its bytes have changed since it was written"
    with pytest.raises(StoreError, match=rf"mel\.zarr/{name}: {what}.*; run `dvc repro`"):
        verify(store)


def test_flipped_bit_of_the_manifest_is_found_on_opening(committed: CommittedStore) -> None:
    path = committed.path / NAME
    content = path.read_bytes()
    for place in range(0, len(content), 23):
        flip(path, place)
        with pytest.raises(StoreError, match=r"manifest\.json: is damaged or of another version, .*; run `dvc repro`"):
            Store(committed.path)
        path.write_bytes(content)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"null", b'{"sha256":1}', b"\xff", b'"'])
def test_file_that_is_no_manifest_is_refused(committed: CommittedStore, content: bytes) -> None:
    (committed.path / NAME).write_bytes(content)
    with pytest.raises(StoreError, match=r"manifest\.json: is damaged or of another version"):
        Store(committed.path)


def test_manifest_of_another_version_is_refused_by_its_key(committed: CommittedStore) -> None:
    path = committed.path / NAME
    content = json.loads(path.read_bytes()) | {"version": 2}
    del content["sha256"]
    path.write_bytes(canonical_json({**content, "sha256": sha256_hex(canonical_json(content))}) + b"\n")
    with pytest.raises(
        StoreError, match=r"manifest\.json: version: .*of another version than this code reads; run `dvc repro`"
    ):
        Store(committed.path)


def test_store_of_another_view_is_refused(committed: CommittedStore) -> None:
    Store(committed.path, committed.view)
    with pytest.raises(StoreError, match=r"mel\.zarr: was built for another view than params\.yaml describes now"):
        Store(committed.path, committed.view.model_copy(update={"hop": 128}))


def test_digest_tells_stores_apart(make_committed: MakeCommitted) -> None:
    digests = [Store(make_committed(seed=seed).path).digest for seed in (1, 2, 1)]
    assert digests[0] == digests[2] != digests[1]


@pytest.mark.parametrize("named", [None, b"", b"0" * 64 + b"\n", b"\xff"])
def test_a_store_is_opened_by_name_only_if_it_is_the_one_that_was_named(
    committed: CommittedStore, named: bytes | None, tmp_path: Path
) -> None:
    path = shutil.copytree(committed.path, tmp_path / "data/cache/mel.zarr")
    file = tmp_path / "data/stores/mel.sha256"
    assert digest_file(path) == file
    file.parent.mkdir()
    file.write_text(f"{Store(path).digest}\n")
    assert open_named(path, committed.view).digest == Store(path).digest
    file.unlink()
    if named is not None:
        file.write_bytes(named)
    with pytest.raises(StoreError, match=rf"{path}: is not the store whose digest stands in {file}; run `dvc repro`"):
        open_named(path)


def test_new_store_replaces_the_old_one(make_committed: MakeCommitted) -> None:
    make_committed(seed=1)
    committed = make_committed("uint8", {"7": (5,)}, seed=2)
    verify(Store(committed.path))
    assert len(Store(committed.path)) == 1
    assert [path.name for path in committed.path.parent.iterdir() if path.name.startswith(".")] == []


def test_old_store_is_removed_only_after_the_new_one_is_in_place(
    make_committed: MakeCommitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = make_committed(seed=1)
    before = Store(old.path).digest
    digests = []

    def remove(path: Path) -> None:
        store = Store(old.path)
        verify(store)
        digests.append(store.digest)
        remove_tree(path)

    monkeypatch.setattr(store_writer, "remove_tree", remove)
    make_committed(seed=2)
    assert digests[:2] == [before, before]
    assert digests[2:] == 2 * [Store(old.path).digest] != 2 * [before]


def test_failed_commit_leaves_the_old_store(make_committed: MakeCommitted, monkeypatch: pytest.MonkeyPatch) -> None:
    old = make_committed(seed=1)
    before = Store(old.path).digest

    def refuse(handle: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(store_writer, "fsync_tree", refuse)
    with pytest.raises(OSError, match="disk full"):
        make_committed(seed=2)
    assert Store(old.path).digest == before
    monkeypatch.undo()
    verify(Store(make_committed(seed=2).path))
    assert [path.name for path in old.path.parent.iterdir() if path.name.startswith(".")] == []


def test_open_store_outlives_its_replacement(make_committed: MakeCommitted) -> None:
    old = make_committed(seed=1)
    store = Store(old.path)
    store.read(0)
    make_committed(seed=2)
    for row, quantized in enumerate(old.quantized.values()):
        np.testing.assert_array_equal(store.read(row), old.quantizer.decode(quantized))


def test_store_holds_no_path_time_or_process(committed: CommittedStore) -> None:
    for name in (*METADATA, NAME):
        text = (committed.path / name).read_text()
        assert str(committed.path.parent) not in text
        assert not any(word in text for word in ("time", "date", "host", f"{os.getpid()}-"))
