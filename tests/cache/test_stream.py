"""The chunk cache behind placement `stream`: right frames, within its budget, no chunk read twice without need."""

from __future__ import annotations

import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from upath import UPath

from birdcache.arrays import Ints
from birdcache.errors import StoreError
from cache import stream
from cache.gather import find_slices
from cache.part import SHARD, PartReader
from cache.pool import LocalPool
from cache.quantize import QuantizedArray
from cache.remote_pool import RemotePool
from cache.store import Store
from cache.store_writer import NamedPart, commit_store
from cache.stream import StreamReader
from tests.cache.conftest import CommittedStore

MakeCommitted = Callable[..., CommittedStore]
LENGTHS = {"0": (700, 300, 5000), "a": (1500, 3000)}  # 12 and 9 chunks
CHUNKS, CHUNK_BYTES = 21, 512 * 8 * 2
CLIP_FRAMES = 300
MemoryFileSystem: Any = type(UPath("memory://").fs)


@pytest.fixture
def store(make_committed: MakeCommitted) -> Store:
    return Store(make_committed(parts=LENGTHS, compression="zstd").path)


@pytest.fixture(autouse=True)
def _empty_memory() -> Iterator[None]:
    yield
    MemoryFileSystem.store.clear()


@pytest.fixture
def remote(make_committed: MakeCommitted) -> Store:
    """The same recordings in a pool behind a URL."""
    return Store(commit_remotely(make_committed(parts=LENGTHS, compression="zstd")))


def commit_remotely(committed: CommittedStore, silent: bool = False) -> Any:
    """Commit another store of the same parts, which a remote pool holds, or of parts as long but silent."""
    local, quantizer = Store(committed.path), committed.quantizer
    digest = local.manifest.view_digest
    pool, named = RemotePool(UPath("memory://pool"), digest), []
    for number, part in enumerate(LocalPool(committed.pool, digest).parts()):
        keys, starts = part.keys, np.cumsum([0, *part.frames])
        with pool.new_part(local.layout) as part_writer:
            reader = part.reader(local.layout)
            for key, first, frames in zip(keys, starts, part.frames, strict=False):
                rows = reader.rows(int(first), frames)
                part_writer.add(key, (np.zeros_like(quantized) if silent else quantized for quantized in rows))
            audio = tuple(f"{number}{row}".rjust(64, "0") for row in range(len(keys)))
            named.append(NamedPart(str(number), pool.publish(part_writer), audio))
    path = committed.path.with_name("remote.zarr")
    commit_store(path, committed.view, digest, quantizer, named)
    return path


def random_clips(store: Store, count: int, seed: int = 1) -> tuple[Ints, Ints]:
    rng = np.random.default_rng(seed)
    row_B = rng.integers(0, len(store), count)
    start_B = rng.integers(0, store.frames[row_B] - CLIP_FRAMES + 1)
    return row_B, start_B[:, None] + np.arange(CLIP_FRAMES)


def held_bytes(reader: StreamReader) -> int:
    """Bytes of the chunks in memory."""
    return len(reader._slots) * CHUNK_BYTES


def copied(reader: StreamReader, store: Store, clips: tuple[Ints, Ints]) -> QuantizedArray:
    out = store.empty(clips[1].size)
    reader.copy(find_slices(store, *clips), out)
    return out


def wanted(store: Store, clips: tuple[Ints, Ints]) -> QuantizedArray:
    """The same frames, one recording after another."""
    out = store.empty(clips[1].size)
    for place, (row, position_T) in enumerate(zip(*clips, strict=True)):
        store.copy_frames(int(row), int(position_T[0]), out[place * CLIP_FRAMES : (place + 1) * CLIP_FRAMES])
    return out


def count_reads(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[int, int]]:
    """How often each chunk is read from now on, by reader and number."""
    reads, read_chunk, lock = Counter[tuple[int, int]](), PartReader.read_chunk, threading.Lock()

    def counted(self: PartReader, number: int) -> QuantizedArray:
        with lock:
            reads[id(self), number] += 1
        return read_chunk(self, number)

    monkeypatch.setattr(PartReader, "read_chunk", counted)
    return reads


@pytest.mark.parametrize("dtype", ["float16", "uint8"])
@pytest.mark.parametrize("compression", ["none", "lz4", "zstd"])
@pytest.mark.parametrize("budget_bytes", [0, 5 * CHUNK_BYTES, 10**9])
def test_streamed_clips_equal_the_recordings(
    make_committed: MakeCommitted, dtype: str, compression: str, budget_bytes: int
) -> None:
    committed = make_committed(dtype, LENGTHS, compression=compression)
    store = Store(committed.path)
    reader, originals = StreamReader(store, budget_bytes), list(committed.quantized.values())
    for seed in range(3):
        row_B, position_BT = random_clips(store, 20, seed)
        quantized = np.concatenate([originals[row][position] for row, position in zip(row_B, position_BT, strict=True)])
        np.testing.assert_array_equal(copied(reader, store, (row_B, position_BT)), quantized)


@pytest.mark.parametrize("room", [1, 2, 5, 13])
def test_chunks_in_memory_never_exceed_the_budget(store: Store, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """Beside its block of memory a reader holds no chunk but those that its threads are reading."""
    alive, most, lock, read_chunk = 0, 0, threading.Lock(), PartReader.read_chunk

    def changed(by: int) -> None:
        nonlocal alive, most
        with lock:
            alive += by
            most = max(most, alive)

    def tracked(self: PartReader, number: int) -> QuantizedArray:
        quantized = read_chunk(self, number).copy()
        weakref.finalize(quantized, changed, -1)
        changed(1)
        return quantized

    clips = [random_clips(store, 20, seed) for seed in range(4)]
    quantized = [wanted(store, each) for each in clips]
    monkeypatch.setattr(PartReader, "read_chunk", tracked)
    monkeypatch.setattr(stream, "reading_threads", lambda store: 3)
    reader = StreamReader(store, room * CHUNK_BYTES + 7)
    for each, expected in zip(clips, quantized, strict=True):
        np.testing.assert_array_equal(copied(reader, store, each), expected)
        assert held_bytes(reader) == reader._memory.nbytes == room * CHUNK_BYTES
        assert alive == 0
    assert 0 < most <= 3


@pytest.mark.parametrize("room", [3, 21])
def test_a_chunk_that_many_clips_of_a_batch_want_is_read_once(
    store: Store, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    reads = count_reads(monkeypatch)
    copied(StreamReader(store, room * CHUNK_BYTES), store, random_clips(store, 200))
    assert len(reads) == CHUNKS
    assert set(reads.values()) == {1}


def test_a_store_that_fits_is_read_once_and_then_lies_in_memory(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, reads = StreamReader(store, CHUNKS * CHUNK_BYTES), count_reads(monkeypatch)
    for seed in range(20):
        copied(reader, store, random_clips(store, 20, seed))
    assert len(reads) == reads.total() == CHUNKS
    assert held_bytes(reader) == CHUNKS * CHUNK_BYTES


def test_the_least_recently_used_chunk_makes_room(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, reads = StreamReader(store, 3 * CHUNK_BYTES), count_reads(monkeypatch)
    row = int(np.argmax(store.frames))
    first = -int(store.start[row]) % 512  # where its first whole chunk begins

    def read(*chunks: int) -> int:
        before = reads.total()
        positions = [first + 512 * chunk + np.arange(CLIP_FRAMES) for chunk in chunks]
        copied(reader, store, (np.full(len(chunks), row), np.stack(positions)))
        return reads.total() - before

    assert [read(0), read(1), read(2), read(0), read(3), read(0), read(2), read(1)] == [1, 1, 1, 0, 1, 0, 0, 1]
    assert read(2, 4, 0) == 1  # both of the three that are wanted stay, though 1 was used last
    assert read(2, 4, 0) == 0


def test_several_chunks_are_read_at_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "reading_threads", lambda store: 3)
    meeting, read_chunk = threading.Barrier(3, timeout=20), PartReader.read_chunk

    def read_together(self: PartReader, number: int) -> QuantizedArray:
        meeting.wait()
        return read_chunk(self, number)

    expected = wanted(store, random_clips(store, 200))
    monkeypatch.setattr(PartReader, "read_chunk", read_together)
    reader = StreamReader(store, CHUNKS * CHUNK_BYTES)  # 21 chunks: seven meetings of three
    np.testing.assert_array_equal(copied(reader, store, random_clips(store, 200)), expected)


@pytest.mark.parametrize("room", [2, 9, 30])
def test_many_threads_get_the_frames_that_each_asked_for(store: Store, room: int) -> None:
    reader = StreamReader(store, room * CHUNK_BYTES)
    clips = [random_clips(store, 8, seed) for seed in range(80)]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda each: copied(reader, store, each), clips))
    for each, quantized in zip(clips, found, strict=True):
        np.testing.assert_array_equal(quantized, wanted(store, each))


def test_a_part_reader_may_be_asked_by_many_threads(store: Store) -> None:
    reader, numbers = store.reader(0), [number % 11 for number in range(300)]
    expected = [store.reader(0).read_chunk(number) for number in range(11)]
    with ThreadPoolExecutor(8) as threads:
        for number, quantized in zip(numbers, threads.map(reader.read_chunk, numbers), strict=True):
            np.testing.assert_array_equal(quantized, expected[number])


def test_a_damaged_chunk_is_named_and_the_others_can_still_be_read(store: Store) -> None:
    whole = random_clips(store, 200)
    expected = wanted(store, whole)
    shard = store.path / "parts" / "a" / SHARD
    shard.chmod(0o644)
    content = shard.read_bytes()
    begin, size = (int(value) for value in store.reader(1)._index[4])
    shard.write_bytes(content[: begin + size // 2] + b"!!" + content[begin + size // 2 + 2 :])
    reader = StreamReader(store, 10**9)
    with pytest.raises(StoreError, match=r"parts/a/c/0/0: chunk 4 is damaged; holds 1 recording .*; run `dvc repro`"):
        copied(reader, store, whole)
    row = int(np.flatnonzero(store.part == 0)[0])
    clip = np.array([row]), np.arange(CLIP_FRAMES)[None]
    np.testing.assert_array_equal(copied(reader, store, clip), wanted(store, clip))
    shard.write_bytes(content)
    np.testing.assert_array_equal(copied(reader, store, whole), expected)


def test_a_part_that_vanished_is_named(store: Store) -> None:
    reader = StreamReader(store, 10**9)
    (store.path / "parts" / "0" / SHARD).unlink()
    with pytest.raises(StoreError, match=r"parts/0/c/0/0: cannot be read .*; holds 3 recordings .*; run `dvc repro`"):
        copied(reader, store, random_clips(store, 50))


def requests(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Name and bytes of each object that is asked for from now on."""
    asked, cat_file = [], MemoryFileSystem.cat_file

    def noted(self: Any, path: str, start: int | None = None, end: int | None = None, **rest: Any) -> bytes:
        content: bytes = cat_file(self, path, start, end, **rest)
        asked.append((path, len(content)))
        return content

    monkeypatch.setattr(MemoryFileSystem, "cat_file", noted)
    return asked


def shard_bytes(store: Store) -> list[int]:
    return [part.files[SHARD.as_posix()].bytes for part in store.manifest.parts]


def test_a_remote_store_that_fits_arrives_part_by_part(remote: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, clips = requests(monkeypatch), random_clips(remote, 100)
    found = copied(StreamReader(remote, 10**9), remote, clips)
    assert sorted(size for _, size in asked) == sorted(shard_bytes(remote))
    np.testing.assert_array_equal(found, wanted(remote, clips))


@pytest.mark.parametrize("room", [1, 4, CHUNKS])
def test_of_a_larger_remote_store_only_the_wanted_ranges_arrive(
    remote: Store, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    """Even with room for all chunks: whole files on their way would come on top of the budget."""
    asked, clips = requests(monkeypatch), random_clips(remote, 3)
    found = copied(StreamReader(remote, room * CHUNK_BYTES), remote, clips)
    assert 0 < max(size for _, size in asked) < min(shard_bytes(remote)) / 3
    assert len(asked) <= 3 * 2 + 2  # a clip crosses a border of chunks at most once; an index for each part
    np.testing.assert_array_equal(found, wanted(remote, clips))


def test_small_files_do_not_make_a_store_fit(make_committed: MakeCommitted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence packs so well that four whole files on their way are smaller than one chunk."""
    monkeypatch.setattr(stream, "reading_threads", lambda store: 4)
    silent = Store(commit_remotely(make_committed(parts=LENGTHS, compression="zstd"), silent=True))
    assert 4 * max(shard_bytes(silent)) < CHUNK_BYTES
    reader = StreamReader(silent, 3 * CHUNK_BYTES - 1)
    np.testing.assert_array_equal(copied(reader, silent, random_clips(silent, 40)), 0)


def test_a_remote_store_is_read_by_more_threads_than_there_are_cores(remote: Store, store: Store) -> None:
    assert stream.reading_threads(remote) == 16
    assert 1 <= stream.reading_threads(store) <= 1024


def test_an_empty_store_has_nothing_to_read(make_committed: MakeCommitted) -> None:
    store = Store(make_committed(parts={}, compression="lz4").path)
    reader = StreamReader(store, 100)
    reader.copy(find_slices(store, np.empty(0, np.int64), np.empty((0, 5), np.int64)), store.empty(0))
    assert held_bytes(reader) == 0
