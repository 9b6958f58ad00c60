"""Clips staged by the host ahead of their use, and the time that a GPU waited for them."""

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import torch

from train.data.frames import Uploaded

AHEAD = 3  # batches that are staged while the device works


class DeviceClock:
    """Adds up spans of an epoch by marks on the stream that computes; on a CPU, by the host's clock.

    Between marks around a wait, the stream has nothing to do but to wait: they lie close together while earlier steps
    still compute, and apart by the time that the GPU stood idle. Between marks around a step it computes. Nothing is
    read before the epoch is over, so that no step waits for the measurement.

    Parameters
    ----------
    earlier_s : of the same epoch before an interruption.
    """

    def __init__(self, device: torch.device, earlier_s: float = 0.0) -> None:
        self._device, self._earlier_s = device, earlier_s
        self._marks: list[tuple[Any, Any]] = []

    def begin(self) -> None:
        """Mark the begin of a span."""
        self._begin = self._mark()

    def end(self, uploaded: Uploaded | None = None) -> None:
        """Mark its end: if it was a wait for a batch, once that is on the device."""
        for event in uploaded.arrivals if uploaded else ():
            torch.cuda.current_stream(self._device).wait_event(event)
        self._marks.append((self._begin, self._mark()))

    def total_s(self) -> float:
        """Seconds of all spans together. The device must have finished its work."""
        if self._device.type != "cuda":
            return self._earlier_s + float(sum(end - begin for begin, end in self._marks))
        return self._earlier_s + float(sum(begin.elapsed_time(end) for begin, end in self._marks)) / 1000

    def _mark(self) -> Any:
        if self._device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._device))
        return event


Item = TypeVar("Item")


def ahead(
    items: Iterator[tuple[Item, Uploaded]], waits: DeviceClock | None = None, count: int = AHEAD
) -> Iterator[tuple[tuple[Item, Uploaded], float]]:
    """Make and stage items in one thread, so many ahead of their use; yields each with the seconds of waiting for it.

    The thread begins at once, before the first one is asked for.
    """
    thread = ThreadPoolExecutor(1, thread_name_prefix="stage")
    return _taken(items, thread, deque(thread.submit(next, items, None) for _ in range(count)), waits)


def _taken(
    items: Iterator[Any], thread: ThreadPoolExecutor, coming: deque[Future[Any]], waits: DeviceClock | None
) -> Iterator[tuple[Any, float]]:
    with thread:
        while True:
            begin = time.perf_counter()
            if waits:
                waits.begin()
            item = coming.popleft().result()
            waited_s = time.perf_counter() - begin
            if item is None:
                return
            if waits:
                waits.end(item[1])
            coming.append(thread.submit(next, items, None))
            yield item, waited_s
