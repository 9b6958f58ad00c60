"""Clips staged by the host ahead of their use, and the time that a GPU waited for them. B batch, T frame."""

import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

import torch

from birdcache.arrays import Ints
from train.data.frames import Frames, Uploaded

AHEAD = 3  # batches that are staged while the device works


class StreamWaits:
    """Marks on the stream that computes where each wait for a batch begins and ends.

    Between the marks the stream has nothing to do but to wait: they lie close together while earlier steps still
    compute, and apart by the time that the GPU stood idle. Nothing is read before the epoch is over, so that no step
    waits for the measurement.

    Parameters
    ----------
    earlier_s : waits of the same epoch before an interruption.
    """

    def __init__(self, device: torch.device, earlier_s: float = 0.0) -> None:
        self._device, self._earlier_s = device, earlier_s
        self._marks: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        self._begin: torch.cuda.Event | None = None

    def begin(self) -> None:
        """Mark that the loop asks for a batch."""
        if self._device.type == "cuda":
            self._begin = self._mark()

    def end(self, uploaded: Uploaded) -> None:
        """Mark that the batch is there: the host has it, and its copy to the device has ended."""
        if self._begin is None:
            return
        for event in uploaded.arrivals:
            torch.cuda.current_stream(self._device).wait_event(event)
        self._marks.append((self._begin, self._mark()))
        self._begin = None

    def total_s(self) -> float | None:
        """Seconds of all waits together; None without a GPU. The device must have finished its work."""
        if self._device.type != "cuda":
            return None
        return self._earlier_s + float(sum(begin.elapsed_time(end) for begin, end in self._marks)) / 1000

    def _mark(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._device))
        return event


class Clips(Protocol):
    """The clips that a batch is made of."""

    @property
    def row(self) -> Ints:
        """(B,) in the store."""

    @property
    def position(self) -> Ints:
        """(B, T) frames of the recording, -1 = padding."""


AnyClips = TypeVar("AnyClips", bound=Clips)
Item = TypeVar("Item")


def staged_ahead(
    plans: Iterable[AnyClips], frames: Frames, stream_waits: StreamWaits | None = None
) -> Iterator[tuple[tuple[AnyClips, Uploaded], float]]:
    """Stage batches in one thread, a few ahead of their use; yields each with the seconds spent waiting for it."""
    return ahead(((plan, frames.stage(plan.row, plan.position)) for plan in plans), AHEAD, stream_waits)


def ahead(
    items: Iterator[tuple[Item, Uploaded]], count: int, stream_waits: StreamWaits | None = None
) -> Iterator[tuple[tuple[Item, Uploaded], float]]:
    """Make items in one thread, so many ahead of their use; yields each with the seconds spent waiting for it."""
    with ThreadPoolExecutor(1, thread_name_prefix="stage") as thread:
        coming = deque(thread.submit(next, items, None) for _ in range(count))
        while True:
            begin = time.perf_counter()
            if stream_waits:
                stream_waits.begin()
            item = coming.popleft().result()
            waited_s = time.perf_counter() - begin
            if item is None:
                return
            if stream_waits:
                stream_waits.end(item[1])
            coming.append(thread.submit(next, items, None))
            yield item, waited_s
