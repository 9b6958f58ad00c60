"""Runs of a batch: together they are its frames, each once, and none crosses the border of a chunk."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from birdcache.arrays import Ints
from cache.gather import find_slices
from cache.shard import CHUNK_FRAMES
from cache.store import Store
from tests.cache.conftest import CommittedStore

LENGTHS = {"0": (700, 3, 512, 1300), "a": (1, 1100, 40)}
CLIP_FRAMES = 40


@pytest.fixture
def store(make_committed: Callable[..., CommittedStore]) -> Store:
    return Store(make_committed(parts=LENGTHS).path)


def clips(store: Store, kind: str) -> tuple[Ints, Ints]:
    """Recordings (B,) and positions (B, T): inside them, looped, or padded on either side."""
    rng = np.random.default_rng(3)
    row_B = rng.integers(0, len(store), 200)
    frames_B = store.frames[row_B]
    start_B = rng.integers(-30, np.maximum(frames_B - CLIP_FRAMES, 0) + 30)
    if kind == "inside":
        row_B = row_B[frames_B >= CLIP_FRAMES]
        frames_B = store.frames[row_B]
        start_B = rng.integers(0, frames_B - CLIP_FRAMES + 1)
    position_BT = start_B[:, None] + np.arange(CLIP_FRAMES)
    if kind == "looped":
        return row_B, position_BT % frames_B[:, None]
    return row_B, np.where((position_BT >= 0) & (position_BT < frames_B[:, None]), position_BT, -1)


KINDS = pytest.mark.parametrize("kind", ["inside", "looped", "padded"])


@KINDS
def test_runs_are_the_frames_of_a_batch_each_at_its_place(store: Store, kind: str) -> None:
    row_B, position_BT = clips(store, kind)
    found = np.full((position_BT.size, 2), -1)  # part, frame of the part
    for part, chunk, row, count, place in find_slices(store, row_B, position_BT):
        assert (found[place : place + count] == -1).all()
        found[place : place + count, 0] = part
        found[place : place + count, 1] = chunk * CHUNK_FRAMES + row + np.arange(count)
    wanted = np.stack([np.broadcast_to(store.part[row_B][:, None], position_BT.shape), position_BT], axis=2)
    wanted[:, :, 1] += store.start[row_B][:, None]
    wanted[position_BT < 0] = -1
    np.testing.assert_array_equal(found, wanted.reshape(-1, 2))


@KINDS
def test_no_run_crosses_the_border_of_a_chunk_or_of_a_clip(store: Store, kind: str) -> None:
    for _, _, row, count, place in find_slices(store, *clips(store, kind)):
        assert count > 0
        assert row + count <= CHUNK_FRAMES
        assert place // CLIP_FRAMES == (place + count - 1) // CLIP_FRAMES


def test_a_clip_inside_its_recording_is_one_run_in_each_chunk(store: Store) -> None:
    row_B, position_BT = clips(store, "inside")
    first_B = store.start[row_B] + position_BT[:, 0]
    chunks_B = (first_B + CLIP_FRAMES - 1) // CHUNK_FRAMES - first_B // CHUNK_FRAMES + 1
    assert len(find_slices(store, row_B, position_BT).part) == chunks_B.sum()


def test_a_batch_of_padding_alone_has_no_runs(store: Store) -> None:
    assert list(find_slices(store, np.array([0, 1]), np.full((2, 5), -1))) == []
