"""Mapped files: what is copied out of them, and what the kernel is told before."""

from __future__ import annotations

import mmap
import resource
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from birdcache.errors import StoreError
from cache import gather
from cache.gather import MappedReader, find_slices
from cache.part import SHARD, SPARE_FILES
from cache.shard import CHUNK_FRAMES
from cache.store import Store
from tests.cache.conftest import CommittedStore

MakeCommitted = Callable[..., CommittedStore]
CLIP_FRAMES = 30


@pytest.fixture
def store(make_committed: MakeCommitted) -> Store:
    return Store(make_committed(parts={"0": (700, 9000, 512), "a": (40, 1100)}).path)


class Advice:
    """Takes the place of a mapped file, and notes what it is told."""

    def __init__(self) -> None:
        self.ranges: list[tuple[int, int]] = []

    def madvise(self, kind: int, start: int, length: int) -> None:
        assert kind == mmap.MADV_WILLNEED
        self.ranges.append((start, start + length))


def stage(reader: MappedReader, store: Store, starts: dict[int, int]) -> np.ndarray:
    """Clips that begin at a frame of each recording."""
    position_BT = np.array(list(starts.values()))[:, None] + np.arange(CLIP_FRAMES)
    slices = find_slices(store, np.array(list(starts)), position_BT)
    out = store.empty(position_BT.size)
    reader.copy(slices, out)
    return out.reshape(len(starts), CLIP_FRAMES, -1)


def test_clips_are_copied_from_anywhere(store: Store) -> None:
    starts = {0: 490, 1: 8000, 2: 0, 3: 10, 4: 1070}
    clips = stage(MappedReader(store), store, starts)
    for (row, start), clip in zip(starts.items(), clips, strict=True):
        recording = store.empty(int(store.frames[row]))
        store.copy_frames(row, 0, recording)
        np.testing.assert_array_equal(clip, recording[start : start + CLIP_FRAMES])


@pytest.fixture
def advice(store: Store) -> list[Advice]:
    """What the kernel is told of each part from now on."""
    told = [Advice(), Advice()]
    store.mapped.files = told  # type: ignore[assignment]
    return told


def shards_of(store: Store) -> list[bytes]:
    return [(store.path / "parts" / part.name / SHARD).read_bytes() for part in store.manifest.parts]


def test_the_kernel_is_told_the_bytes_of_every_run_of_a_cold_batch(store: Store, advice: list[Advice]) -> None:
    starts = {0: 490, 1: 8000, 4: 1070}
    stage(MappedReader(store), store, starts)  # from now on their chunks have been compared
    for each in advice:
        each.ranges.clear()
    clips = stage(MappedReader(store), store, starts)
    shards = shards_of(store)
    for (row, start), clip in zip(starts.items(), clips, strict=True):
        part, frame = int(store.part[row]), int(store.start[row]) + start
        in_chunk = min(CLIP_FRAMES, CHUNK_FRAMES - frame % CHUNK_FRAMES)
        for piece in (clip[:in_chunk], clip[in_chunk:]):
            told = [shards[part][begin:end] for begin, end in advice[part].ranges]
            assert any(piece.tobytes() in content for content in told)
    assert all(begin % mmap.PAGESIZE == 0 for each in advice for begin, _ in each.ranges)
    most_bytes = clips.nbytes + mmap.PAGESIZE * sum(len(each.ranges) for each in advice)
    assert sum(end - begin for each in advice for begin, end in each.ranges) < most_bytes


def test_the_kernel_is_told_the_whole_of_each_chunk_that_must_be_compared(store: Store, advice: list[Advice]) -> None:
    stage(MappedReader(store), store, {1: 8100})
    chunk = (int(store.start[1]) + 8100) // CHUNK_FRAMES
    begin, stride = chunk * (store.layout.chunk_bytes + 4), store.layout.chunk_bytes + 4
    assert advice[0].ranges == [(begin - begin % mmap.PAGESIZE, begin + stride)]


def test_the_kernel_is_told_nothing_while_files_lie_in_memory(
    store: Store, advice: list[Advice], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = MappedReader(store)
    for bytes_per_s, told in ((0.0, 1), (0.0, 1), (1e18, 1), (1e18, 2), (0.0, 3), (0.0, 3)):
        monkeypatch.setattr(gather, "WARM_BYTES_PER_S", bytes_per_s)
        stage(reader, store, {3: 0})
        assert len(advice[1].ranges) == told


def test_a_damaged_part_is_refused_when_it_is_mapped(store: Store) -> None:
    shard = store.path / "parts" / "a" / SHARD
    shard.chmod(0o644)
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(StoreError, match=r"parts/a/c/0/0: is not the raw shard"):
        MappedReader(store)


def flip(store: Store, part: int, place: int) -> None:
    """Change one bit of a shard, as a failing disk would."""
    shard = store.path / "parts" / store.manifest.parts[part].name / SHARD
    shard.chmod(0o644)
    with shard.open("r+b") as file:
        file.seek(place)
        value = file.read(1)[0]
        file.seek(place)
        file.write(bytes([value ^ 16]))


def test_a_chunk_is_compared_when_it_is_first_wanted_and_then_no_more(store: Store) -> None:
    reader, stride = MappedReader(store), store.layout.chunk_bytes + 4
    first = stage(reader, store, {0: 0, 4: 0})
    flip(store, 0, 5)  # a page that has been read stays in memory; what is asked here is who compares it
    changed = stage(reader, store, {0: 0, 4: 0})
    assert (first != changed).sum() == 1
    flip(store, 0, 3 * stride + 9)
    stage(reader, store, {0: 100, 1: 0, 4: 0})
    audio = store.audio_sha256[1][:12]
    for _ in range(2):
        with pytest.raises(StoreError, match=rf"parts/0/c/0/0: chunk 3 is damaged; holds 1 recording .*{audio}\)"):
            stage(reader, store, {1: 3 * CHUNK_FRAMES - 700})


@pytest.mark.parametrize("place", [0, 1, 4000, -1])
def test_no_bit_of_a_chunk_or_of_its_checksum_goes_unseen(store: Store, place: int) -> None:
    stride = store.layout.chunk_bytes + 4
    flip(store, 1, place % stride)
    with pytest.raises(StoreError, match=r"parts/a/c/0/0: chunk 0 is damaged"):
        store.read(3)
    store.read(0)


def test_clips_over_the_border_of_chunks_have_both_compared(store: Store) -> None:
    flip(store, 0, store.layout.chunk_bytes + 4)
    with pytest.raises(StoreError, match=r"parts/0/c/0/0: chunk 1 is damaged; holds 2 recordings"):
        stage(MappedReader(store), store, {0: 500})


def test_every_chunk_is_compared_only_once_by_all_readers_of_a_store(store: Store) -> None:
    everything = dict.fromkeys(range(5), 0)
    parts, chunks = store.mapped, sum(map(len, store.mapped.chunks))
    stage(MappedReader(store), store, everything)
    for row in range(5):
        store.read(row)
    assert parts._left == 0
    every = np.concatenate([np.full(len(each), part) for part, each in enumerate(parts.chunks)])
    assert not parts.unchecked(every, np.arange(chunks) - np.where(every, len(parts.chunks[0]), 0)).any()
    assert parts.check(every, np.arange(chunks) - np.where(every, len(parts.chunks[0]), 0)) == 0


@pytest.fixture
def few_files() -> Iterator[int]:
    """A process that may open no more than 100 files for now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_store_of_many_parts_raises_the_limit_of_open_files(make_committed: MakeCommitted, few_files: int) -> None:
    store = Store(make_committed(parts={f"{number:02x}": (5,) for number in range(150)}).path)
    reader = MappedReader(store)
    assert len(reader._parts.chunks) == 150
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (150 + SPARE_FILES, few_files)


def test_a_store_of_more_parts_than_files_may_be_open_is_refused_with_a_hint(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = {resource.RLIMIT_NOFILE: (100, 257)}
    monkeypatch.setattr(resource, "getrlimit", limits.__getitem__)
    monkeypatch.setattr(resource, "setrlimit", limits.__setitem__)
    with pytest.raises(StoreError, match=r"parts: mapping it takes 258 .* may have 257; .*placement to stream"):
        MappedReader(store)


def test_a_process_without_a_limit_may_map_anything(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    infinity = resource.RLIM_INFINITY
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (infinity, infinity))
    assert len(MappedReader(store)._parts.chunks) == 2
