"""Mapped files: what is copied out of them, and what the kernel is told before."""

from __future__ import annotations

import mmap
import resource
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from cache import mapped
from cache.errors import StoreError
from cache.mapped import MappedReader
from cache.parts import SHARD, SPARE_FILES
from cache.runs import find_runs
from cache.shard import CHUNK_FRAMES
from cache.store import Store
from tests.cache.conftest import Sealed

MakeSealed = Callable[..., Sealed]
CLIP_FRAMES = 30


@pytest.fixture
def store(make_sealed: MakeSealed) -> Store:
    return Store(make_sealed(parts={"0": (700, 9000, 512), "a": (40, 1100)}).path)


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
    runs = find_runs(store, np.array(list(starts)), position_BT)
    out = store.empty(position_BT.size)
    reader.copy(runs, out)
    return out.reshape(len(starts), CLIP_FRAMES, -1)


def test_clips_are_copied_from_anywhere(store: Store) -> None:
    starts = {0: 490, 1: 8000, 2: 0, 3: 10, 4: 1070}
    clips = stage(MappedReader(store), store, starts)
    for (row, start), clip in zip(starts.items(), clips, strict=True):
        recording = store.empty(int(store.frames[row]))
        store.copy_frames(row, 0, recording)
        np.testing.assert_array_equal(clip, recording[start : start + CLIP_FRAMES])


def test_the_kernel_is_told_the_bytes_of_every_run_of_a_cold_batch(store: Store) -> None:
    reader, advice = MappedReader(store), [Advice(), Advice()]
    reader._files = advice  # type: ignore[assignment]
    starts = {0: 490, 1: 8000, 4: 1070}
    clips = stage(reader, store, starts)
    shards = [(store.path / "parts" / part.name / SHARD).read_bytes() for part in store.manifest.parts]
    for (row, start), clip in zip(starts.items(), clips, strict=True):
        part, frame = int(store.part[row]), int(store.start[row]) + start
        in_chunk = min(CLIP_FRAMES, CHUNK_FRAMES - frame % CHUNK_FRAMES)
        for piece in (clip[:in_chunk], clip[in_chunk:]):
            told = [shards[part][begin:end] for begin, end in advice[part].ranges]
            assert any(piece.tobytes() in content for content in told)
    assert all(begin % mmap.PAGESIZE == 0 for each in advice for begin, _ in each.ranges)
    most_bytes = clips.nbytes + mmap.PAGESIZE * sum(len(each.ranges) for each in advice)
    assert sum(end - begin for each in advice for begin, end in each.ranges) < most_bytes


def test_the_kernel_is_told_nothing_while_files_lie_in_memory(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, advice = MappedReader(store), [Advice(), Advice()]
    reader._files = advice  # type: ignore[assignment]
    for bytes_per_s, told in ((0.0, 1), (0.0, 1), (1e18, 1), (1e18, 2), (0.0, 3), (0.0, 3)):
        monkeypatch.setattr(mapped, "WARM_BYTES_PER_S", bytes_per_s)
        stage(reader, store, {3: 0})
        assert len(advice[1].ranges) == told


def test_a_damaged_part_is_refused_when_it_is_mapped(store: Store) -> None:
    shard = store.path / "parts" / "a" / SHARD
    shard.chmod(0o644)
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(StoreError, match=r"parts/a/c/0/0: is not the raw shard"):
        MappedReader(store)


@pytest.fixture
def few_files() -> Iterator[int]:
    """A process that may open no more than 100 files for now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_store_of_many_parts_raises_the_limit_of_open_files(make_sealed: MakeSealed, few_files: int) -> None:
    store = Store(make_sealed(parts={f"{number:02x}": (5,) for number in range(150)}).path)
    reader = MappedReader(store)
    assert len(reader._parts) == 150
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (150 + SPARE_FILES, few_files)


def test_a_store_of_more_parts_than_files_may_be_open_is_refused_with_a_way_out(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (100, 257))
    with pytest.raises(StoreError, match=r"parts: mapping it takes 258 .* may have 257; .*residence to stream"):
        MappedReader(store)


def test_a_process_without_a_limit_may_map_anything(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    infinity = resource.RLIM_INFINITY
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (infinity, infinity))
    assert len(MappedReader(store)._parts) == 2
