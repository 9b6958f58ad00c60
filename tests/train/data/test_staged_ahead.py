"""Staging in a thread ahead of use: order, honest waiting, and exceptions that are not lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np
import pytest
import torch

from birdcache.arrays import Ints
from birdcache.params.views import MelView
from cache.store import Store
from train.data.frames import Frames, HostFrames, StreamFrames, Uploaded
from train.data.loader import AHEAD, ahead


class SlowFrames(Frames):
    """Frames whose staging takes its time; fails at one row."""

    def __init__(self, seconds: float, broken_row: int = -1) -> None:
        self.seconds, self.broken_row, self.staged = seconds, broken_row, list[int]()

    def stage(self, row_B: Ints, position_BT: Ints) -> Uploaded:
        if row_B[0] == self.broken_row:
            raise OSError("the disk is gone")
        time.sleep(self.seconds)
        self.staged.append(int(row_B[0]))
        return Uploaded(torch.tensor(row_B), None)

    def codes(self, staged: Uploaded) -> tuple[torch.Tensor, ...]:
        return (staged.tensor,)


def staged(count: int, frames: Frames) -> Iterator[tuple[int, Uploaded]]:
    for row in range(count):
        yield row, frames.stage(np.array([row]), np.zeros((1, 1), np.int64))


@pytest.mark.parametrize("count", [0, 1, 3, 20])
def test_batches_staged_ahead_keep_their_order(count: int) -> None:
    batches = ahead(staged(count, SlowFrames(0)))
    found = [(row, int(sent.tensor[0])) for (row, sent), _ in batches]
    assert found == [(row, row) for row in range(count)]


def test_time_spent_waiting_for_the_stage_is_reported() -> None:
    waited_s = [waited for _, waited in ahead(staged(6, SlowFrames(0.02)))]
    assert 0.08 < sum(waited_s) < 5


def test_batches_that_were_staged_meanwhile_cost_no_waiting() -> None:
    waited_s = []
    for _, waited in ahead(staged(6, SlowFrames(0.04))):
        waited_s.append(waited)
        time.sleep(0.06)
    assert sum(waited_s[1:]) < 0.1


def test_only_a_few_batches_are_staged_ahead() -> None:
    frames = SlowFrames(0)
    batches = ahead(staged(50, frames))
    next(batches)
    time.sleep(0.05)
    assert len(frames.staged) <= AHEAD + 1
    assert len(list(batches)) == 49


def test_an_exception_of_the_staging_thread_reaches_the_caller_after_the_batches_before_it() -> None:
    batches = ahead(staged(9, SlowFrames(0, broken_row=5)))
    assert [row for (row, _), _ in islice(batches, 5)] == [0, 1, 2, 3, 4]
    with pytest.raises(OSError, match="the disk is gone"):
        next(batches)


@pytest.mark.parametrize("placement", ["host", "stream"])
def test_batches_that_wait_for_their_use_are_not_overwritten_by_later_ones(
    random_store: Callable[..., Store], view: MelView, cpu: torch.device, placement: str
) -> None:
    store = random_store((700, 520, 90), view)
    frames = HostFrames(store, cpu) if placement == "host" else StreamFrames(store, cpu, 50_000)
    planned = [(np.array([n % 3]), np.arange(n, n + 40)[None]) for n in range(50)]
    kept = [sent for (_, sent), _ in ahead((None, frames.stage(*clip)) for clip in planned)]
    for (row, position), sent in zip(planned, kept, strict=True):
        quantized = store.empty(40)
        store.copy_frames(int(row[0]), int(position[0, 0]), quantized)
        assert np.array_equal(sent.tensor[0].numpy(), quantized)
