"""Frames read from the device's memory, from files mapped by the host, or from chunks streamed through a cache.

All give the same clips to the last bit. Copies to the device run on a stream of their own beside its computing.
B batch, T frame, M mel bin.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import NamedTuple
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import Tensor, distributed

from birdcache.arrays import Ints
from birdcache.errors import TrainError
from birdcache.params.sections import MachineParams
from cache.gather import MappedReader, find_slices
from cache.quantize import QuantizedArray, Quantizer
from cache.shard import CHUNK_FRAMES
from cache.store import Store
from cache.stream import StreamReader, reading_threads

SHARE_OF_FREE = 0.5  # of the device's free memory that a store may take
UPLOAD_FRAMES = 8 * CHUNK_FRAMES  # that are copied to the device at a time
_OPENED = WeakValueDictionary[tuple[str, ...], "Frames"]()  # by store, device and what was asked for


class Uploaded(NamedTuple):
    """A tensor on its way to the device, and the event after which it is there (none on a CPU).

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


NOTHING = Uploaded(torch.empty(0), None)


class Uploader:
    """Brings host memory to a device.

    On a GPU a side stream copies out of pinned memory while the main stream computes; the main stream waits for the
    event, the host for nothing. torch reuses pinned host memory only after the copies from it have ended.
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
        pinned = host if host.is_pinned() else host.pin_memory()
        with torch.cuda.stream(self._stream):
            tensor = pinned.to(self._device, non_blocking=True)
            arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            arrived.record(self._stream)
        return Uploaded(tensor, arrived)

    def receive(self, uploaded: Uploaded) -> Tensor:
        """The tensor on the device, for use by the current stream."""
        if uploaded.arrived is not None:
            current = torch.cuda.current_stream(self._device)
            current.wait_event(uploaded.arrived)
            uploaded.tensor.record_stream(current)  # its memory is not reused before this stream is done with it
        return uploaded.tensor


class Frames(ABC):
    """Gathers clips of a store as values on the device."""

    def __init__(self, quantizer: Quantizer, device: torch.device) -> None:
        self.quantizer, self.uploader = quantizer, Uploader(device)

    @abstractmethod
    def stage(self, row_B: Ints, position_BT: Ints) -> Uploaded:
        """Bring what a batch needs towards the device; may run in another thread, ahead of time."""

    def codes(self, staged: Uploaded) -> tuple[Tensor, ...]:
        """Quantised values of the batch on the device, of each view: (B, T, M), with padding as the lowest value."""
        return (self.uploader.receive(staged),)

    def decode(self, codes: tuple[Tensor, ...]) -> Tensor:
        """Values of codes: (B, T, M) float32, with M the mel bins of all views together."""
        values = codes[0].to(torch.float32)
        return values.mul_(self.quantizer.step).add_(self.quantizer.low) if self.quantizer.dtype == "uint8" else values

    def finish(self, staged: Uploaded) -> Tensor:
        """Values of the batch on the device: (B, T, M) float32."""
        return self.decode(self.codes(staged))


class CopiedFrames(Frames):
    """Copies clips into (pinned) host memory, then to the device."""

    def __init__(self, store: Store, device: torch.device, reader: MappedReader | StreamReader) -> None:
        super().__init__(store.quantizer, device)
        self._store, self._device, self._reader = store, device, reader

    def stage(self, row_B: Ints, position_BT: Ints) -> Uploaded:
        """(B, T, M) quantised values, copied by way of host memory that is pinned for a GPU."""
        quantized = _new_quantized(self._store, position_BT.size, self._device)
        self._reader.copy(find_slices(self._store, row_B, position_BT), quantized.numpy())
        quantized.numpy()[np.flatnonzero(position_BT < 0)] = _lowest(self.quantizer)
        return self.uploader.send(quantized.view(*position_BT.shape, -1))


class HostFrames(CopiedFrames):
    """Copies clips out of memory-mapped files."""

    def __init__(self, store: Store, device: torch.device) -> None:
        super().__init__(store, device, MappedReader(store))


class StreamFrames(CopiedFrames):
    """Copies clips out of a cache of chunks, for stores of any compression, local or remote."""

    def __init__(self, store: Store, device: torch.device, budget_bytes: int) -> None:
        super().__init__(store, device, StreamReader(store, budget_bytes))


class DeviceFrames(Frames):
    """Holds the whole store in the device's memory, and one row of padding behind it; a batch is one gather.

    Of several processes each reads its share of the parts, and the devices exchange them.
    """

    def __init__(self, store: Store, device: torch.device) -> None:
        super().__init__(store.quantizer, device)
        self._store, self._device, self.padding = store, device, store.manifest.frames
        self.stored = torch.empty((self.padding + 1, store.view.n_mels), dtype=_torch_dtype(store), device=device)
        self.stored[self.padding] = _lowest(store.quantizer)
        first = np.cumsum([0, *(part.frames for part in store.manifest.parts)]).tolist()
        pieces = list(zip(range(len(store.manifest.parts)), first[:-1], first[1:], strict=True))
        together = distributed.is_initialized()
        rank, world = (distributed.get_rank(), distributed.get_world_size()) if together else (0, 1)
        with ThreadPoolExecutor(reading_threads(store), thread_name_prefix="upload") as threads:
            list(threads.map(self._upload, *zip(*pieces[rank::world], strict=True)))
        for part, begin, end in pieces if together else ():
            distributed.broadcast(self.stored[begin:end], part % world)

    def _upload(self, part: int, first: int, end: int) -> None:
        """Read a part whole, each chunk compared with its checksum, and copy it to the device.

        Out of a mapped file by one copy, into pinned memory for a GPU: twice as fast as through `read`.
        """
        reader = None if self._store.is_mappable else self._store.reader(part)
        if reader is not None and self._store.is_remote:
            reader.fetch()
        piece = _new_quantized(self._store, min(UPLOAD_FRAMES, end - first), self._device)
        for begin in range(first, end, UPLOAD_FRAMES):
            there = self.stored[begin : min(begin + UPLOAD_FRAMES, end)]
            here = piece[: len(there)] if self._device.type == "cuda" else there
            self._store.copy_rows(part, begin - first, here.numpy(), reader)
            there.copy_(here)

    def place(self, row: Ints, position: Ints) -> Ints:
        """Places of frames of recordings on the axis of all frames."""
        return self._store.first_frame[row] + position

    def stage(self, row_B: Ints, position_BT: Ints) -> Uploaded:
        """(B, T) places of the clips' frames on the axis of all frames."""
        place_BT = np.where(position_BT < 0, self.padding, self.place(row_B[:, None], position_BT))
        return self.uploader.send(torch.from_numpy(place_BT))

    def codes(self, staged: Uploaded) -> tuple[Tensor, ...]:
        """Gather on the device."""
        return self.gather(self.uploader.receive(staged))

    def gather(self, place_BT: Tensor) -> tuple[Tensor, ...]:
        """The frames at places on the axis of all frames."""
        return (self.stored.index_select(0, place_BT.reshape(-1)).reshape(*place_BT.shape, -1),)


class ArrayFrames(Frames):
    """One recording's quantised values, an array in memory or mapped from a file, as a store of a single row."""

    def __init__(self, quantized_TM: QuantizedArray, quantizer: Quantizer, device: torch.device) -> None:
        super().__init__(quantizer, device)
        self._codes = quantized_TM

    def stage(self, row_B: Ints, position_BT: Ints) -> Uploaded:
        """(B, T, M) quantised values; all rows are the one recording."""
        quantized = np.asarray(self._codes[np.maximum(position_BT, 0)])
        quantized[position_BT < 0] = _lowest(self.quantizer)
        return self.uploader.send(torch.from_numpy(quantized))


def open_frames(store: Store, device: torch.device, machine: MachineParams) -> tuple[Frames, str]:
    """Choose a placement by free memory, or as machine.placement says; also a line on the choice and its reason.

    What this process has open already is used again, so that no store lies twice in a device's memory.

    A TrainError if placement `host` is asked for a store that cannot be mapped, or `device` for one that is larger than
    a GPU.
    """
    key = (str(store.path), store.digest, str(device), machine.placement, str(machine.stream_gb))
    if (opened := _OPENED.get(key)) is not None:
        return opened, f"reading frames of {store.path} from where they are open already"
    chosen, why = (machine.placement, "as asked") if machine.placement != "auto" else _choice(store, device)
    chosen = _agreed(chosen, device)
    if chosen == "device" and device.type == "cuda" and _size_bytes(store) > (free_bytes := _free_bytes(device)):
        raise TrainError(
            f"machine.placement: device puts the whole store into the GPU's memory, but {store.path} takes "
            f"{_size_bytes(store) / 1e6:,.0f} MB and {free_bytes / 1e6:,.0f} MB are free; set it to auto or host, or "
            "build the view with dtype: uint8"
        )
    if chosen == "host" and not store.is_mappable:
        raise TrainError(
            f"machine.placement: host maps uncompressed local files, but {store.path} is "
            f"{_obstacle(store)}; set it to auto or stream, or build the view with compression: none in a local pool"
        )
    budget_bytes = round(machine.stream_gb * 1e9)
    ways: dict[str, tuple[str, Callable[[], Frames]]] = {
        "device": ("memory of", lambda: DeviceFrames(store, device)),
        "host": ("mapped files to", lambda: HostFrames(store, device)),
        "stream": (f"a cache of {budget_bytes / 1e6:,.0f} MB to", lambda: StreamFrames(store, device, budget_bytes)),
    }
    way, build = ways[chosen]
    line = f"reading {_size_bytes(store) / 1e6:,.0f} MB of frames from {way} {device} (placement {chosen}: {why})"
    _OPENED[key] = frames = build()
    return frames, line


def _agreed(chosen: str, device: torch.device) -> str:
    """A placement that all processes can have: that of the one with least room."""
    if not distributed.is_initialized():
        return chosen
    order = ("device", "host", "stream")
    number = torch.tensor([order.index(chosen)], device=device)
    distributed.all_reduce(number, distributed.ReduceOp.MAX)
    return order[int(number)]


def _choice(store: Store, device: torch.device) -> tuple[str, str]:
    """The placement that placement `auto` stands for, and the reason."""
    room = "no GPU is used"
    if device.type == "cuda":
        free_bytes = _free_bytes(device)
        room = f"the GPU has {free_bytes / 1e6:,.0f} MB free, and the store may take {SHARE_OF_FREE:.0%} of them"
        if _size_bytes(store) <= SHARE_OF_FREE * free_bytes:
            return "device", room
    return ("host", room) if store.is_mappable else ("stream", f"{room}; the store is {_obstacle(store)}")


def _free_bytes(device: torch.device) -> int:
    """Free memory of a GPU, with what torch has reserved for this process and does not use."""
    return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def _obstacle(store: Store) -> str:
    """The reason why a store cannot be mapped."""
    return "in a remote pool" if store.is_remote else f"compressed with {store.layout.compression}"


def _size_bytes(store: Store) -> int:
    return store.manifest.frames * store.layout.frame_bytes


def _lowest(quantizer: Quantizer) -> float:
    """Code of the lowest value, which is silence, and padding."""
    return float(quantizer.encode(np.array([quantizer.low], np.float32))[0])


def _new_quantized(store: Store, frames: int, device: torch.device) -> Tensor:
    """Host memory for quantised values (T, M), from which copying to the device is fast.

    Each batch has its own, so that none is overwritten while it is in use. Pinning is slow, so torch
    keeps freed blocks and reuses them, but not before the copies from them have ended.
    """
    if device.type == "cuda":
        return torch.empty((frames, store.view.n_mels), dtype=_torch_dtype(store), pin_memory=True)
    return torch.from_numpy(store.empty(frames))


def _torch_dtype(store: Store) -> torch.dtype:
    return torch.float16 if store.quantizer.dtype == "float16" else torch.uint8
