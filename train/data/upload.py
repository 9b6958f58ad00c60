"""Copies of batches to the device, on a stream of their own beside its computing."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor


class Uploaded(NamedTuple):
    """What is on its way to the device, and the event after which it is there (none on a CPU).

    A batch out of several stores holds what each of them sends in `beside`.
    """

    tensor: Tensor
    arrived: torch.cuda.Event | None
    beside: tuple[Uploaded, ...] = ()

    @property
    def arrivals(self) -> list[torch.cuda.Event]:
        """The events after which all of it is there."""
        own = [] if self.arrived is None else [self.arrived]
        return own + [event for each in self.beside for event in each.arrivals]


class Uploader:
    """Brings host memory to a device.

    On a GPU a side stream copies out of pinned memory while the main stream computes; the main stream waits for the
    event, the host for nothing. Host memory that was pinned by torch is lent again only after its copies have ended.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device

    @cached_property
    def _stream(self) -> torch.cuda.Stream | None:
        return torch.cuda.Stream(self._device) if self._device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def send(self, host: Tensor) -> Uploaded:
        """Start the copy; may be called in another thread than `receive`."""
        if self._stream is None:
            return Uploaded(host.to(self._device), None)
        with torch.cuda.stream(self._stream):
            tensor = host.to(self._device, non_blocking=True)
            arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            arrived.record(self._stream)
        return Uploaded(tensor, arrived)

    def receive(self, uploaded: Uploaded) -> Tensor:
        """The tensor on the device, for use by the current stream."""
        if uploaded.arrived is not None:
            current = torch.cuda.current_stream(self._device)
            current.wait_event(uploaded.arrived)
            uploaded.tensor.record_stream(current)  # its memory is not lent again before this stream is done with it
        return uploaded.tensor
