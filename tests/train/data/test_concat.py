"""Frames of two stores joined: each clip is to the last bit what its own store gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from birdcache.arrays import Ints
from birdcache.params.views import MelView
from cache.store import Store
from train.data.frames import DeviceFrames, Frames, HostFrames, StreamFrames, Uploaded
from train.data.multi_view import ConcatFrames

RECORDINGS, SOUNDSCAPES = (70, 3, 41, 90), (200, 150, 64)
CLIP_FRAMES = 40
WAYS: dict[str, Callable[[Store], Frames]] = {
    "host": lambda store: HostFrames(store, torch.device("cpu")),
    "device": lambda store: DeviceFrames(store, torch.device("cpu")),
    "stream": lambda store: StreamFrames(store, torch.device("cpu"), 50_000),
}


@pytest.fixture
def stores(random_store: Callable[..., Store], view: MelView) -> tuple[Store, Store]:
    return random_store(RECORDINGS, view), random_store(SOUNDSCAPES, view)


def positions(rows: Sequence[int], stores: tuple[Store, Store]) -> Ints:
    """Clips at the end of each row, padded where it is short."""
    lengths = np.concatenate([store.frames for store in stores])[list(rows)]
    position = lengths[:, None] - CLIP_FRAMES + np.arange(CLIP_FRAMES)
    return np.where(position < 0, -1, position)


def gathered(frames: Frames, rows: Sequence[int], position_BT: Ints) -> torch.Tensor:
    return frames.finish(frames.stage(np.array(rows, np.int64), position_BT))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "rows", [(0, 4, 1, 6, 5, 2, 3), (4, 5, 6), (3, 2, 2), (6, 0), (0,), (4,)], ids=lambda rows: str(rows)
)
def test_joined_frames_are_those_of_each_store(stores: tuple[Store, Store], rows: tuple[int, ...], way: str) -> None:
    concatenated = ConcatFrames(WAYS[way](stores[0]), WAYS[way](stores[1]), len(RECORDINGS))
    position = positions(rows, stores)
    values = gathered(concatenated, rows, position)
    for number, row in enumerate(rows):
        store, own = (stores[0], row) if row < len(RECORDINGS) else (stores[1], row - len(RECORDINGS))
        alone = gathered(HostFrames(store, torch.device("cpu")), [own], position[number : number + 1])
        assert torch.equal(values[number], alone[0])
    assert values.shape == (len(rows), CLIP_FRAMES, 32)


def test_a_store_that_a_batch_has_nothing_of_is_not_asked(stores: tuple[Store, Store]) -> None:
    first = WAYS["host"](stores[0])
    asked = []

    class Counted(HostFrames):
        def stage(self, row_B: Ints, position_BT: Ints) -> Uploaded:
            asked.append(row_B)
            return super().stage(row_B, position_BT)

    concatenated = ConcatFrames(first, Counted(stores[1], torch.device("cpu")), len(RECORDINGS))
    gathered(concatenated, (0, 3), positions((0, 3), stores))
    assert not asked
    gathered(concatenated, (0, 5), positions((0, 5), stores))
    assert [each.tolist() for each in asked] == [[1]]
