"""Batches: planned by index, staged by the host ahead of time, finished on the device. B batch, T frame."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, TypeVar

from train.augment.batch import Batch, BatchTransform
from train.data.batch_plan import Planner
from train.data.frames import Frames
from train.data.random import Ints
from train.data.upload import Uploaded
from train.data.waiting import StreamWaits

AHEAD = 3  # batches that are staged while the device works


class Clips(Protocol):
    """Which clips a batch is made of."""

    @property
    def row(self) -> Ints:
        """(B,) in the store."""

    @property
    def position(self) -> Ints:
        """(B, T) frames of the recording, -1 = padding."""


AnyClips = TypeVar("AnyClips", bound=Clips)


class TrainingBatches:
    """The training batches of a fold, drawn by (seed, epoch, index)."""

    def __init__(self, planner: Planner, frames: Frames, transform: BatchTransform) -> None:
        self.planner, self.transform, self._frames = planner, transform, frames

    def __len__(self) -> int:
        """Batches of an epoch."""
        return len(self.planner)

    def epoch(
        self, epoch: int, first: int = 0, stream_waits: StreamWaits | None = None
    ) -> Iterator[tuple[Batch, float]]:
        """The batches of an epoch from number `first` on, each with the seconds that the caller waited for its data."""
        for (plan, staged), waited_s in staged_ahead(self.planner.epoch(epoch, first), self._frames, stream_waits):
            yield self.transform(self._frames.finish(staged, plan.position), plan), waited_s


def staged_ahead(
    plans: Iterable[AnyClips], frames: Frames, stream_waits: StreamWaits | None = None
) -> Iterator[tuple[tuple[AnyClips, Uploaded], float]]:
    """Stage batches in one thread, a few ahead of their use; yields each with the seconds spent waiting for it."""
    plans = iter(plans)

    def next_staged() -> tuple[AnyClips, Uploaded] | None:
        plan = next(plans, None)
        return None if plan is None else (plan, frames.stage(plan.row, plan.position))

    with ThreadPoolExecutor(1, thread_name_prefix="stage") as thread:
        first = [thread.submit(next_staged) for _ in range(AHEAD)]
        ahead: deque[Future[tuple[AnyClips, Uploaded] | None]] = deque(first)
        while True:
            begin = time.perf_counter()
            if stream_waits:
                stream_waits.begin()
            item = ahead.popleft().result()
            waited_s = time.perf_counter() - begin
            if item is None:
                return
            if stream_waits:
                stream_waits.end(item[1])
            ahead.append(thread.submit(next_staged))
            yield item, waited_s
