"""How long a GPU waited for data, by its own clock."""

from __future__ import annotations

import torch

from train.data.upload import Uploaded


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
