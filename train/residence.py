"""Where training reads frames from: the device's memory, or files mapped by the host. Same frames from each.

B batch, T frame, M mel bin.
"""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cache.store import Store
from train.draws import Ints

SHARE_OF_FREE = 0.5  # of the device's free memory that a store may take


class Frames(Protocol):
    """Gathers clips of a store as values on the device."""

    def stage(self, row_B: Ints, position_BT: Ints) -> Tensor:
        """Bring what a batch needs towards the device; may run in another thread, ahead of time."""

    def finish(self, staged: Tensor, position_BT: Ints) -> Tensor:
        """Values of the batch on the device: (B, T, M) float32, padding at the codec's lowest value."""


class HostFrames:
    """Copies clips out of memory-mapped shards into (pinned) host memory, then to the device."""

    def __init__(self, store: Store, device: torch.device) -> None:
        self._store, self._device = store, device

    def stage(self, row_B: Ints, position_BT: Ints) -> Tensor:
        """(B, T, M) codes in host memory, pinned when the device is a GPU."""
        shape = (*position_BT.shape, self._store.view.n_mels)
        codes = torch.empty(shape, dtype=_torch_dtype(self._store), pin_memory=self._device.type == "cuda")
        for out, row, position_T in zip(codes.numpy(), row_B, position_BT, strict=True):
            self._copy(out, int(row), position_T)
        return codes

    def _copy(self, out: np.ndarray, row: int, position_T: Ints) -> None:
        first, frames = int(position_T[0]), len(position_T)
        if first >= 0 and int(position_T[-1]) == first + frames - 1:
            self._store.copy_frames(row, first, out)
            return
        whole = self._store.empty(int(self._store.frames[row]))
        self._store.copy_frames(row, 0, whole)
        out[:] = whole[position_T]

    def finish(self, staged: Tensor, position_BT: Ints) -> Tensor:
        """Decode on the device."""
        return _values(self._store, staged.to(self._device, non_blocking=True), position_BT)


class DeviceFrames:
    """Holds the whole store in the device's memory; a batch is one gather."""

    def __init__(self, store: Store, device: torch.device) -> None:
        self._store, self._device = store, device
        total = store.manifest.frames
        self._codes = torch.empty((total, store.view.n_mels), dtype=_torch_dtype(store), device=device)
        start = 0
        for codes in store.all_codes():
            self._codes[start : start + len(codes)] = torch.from_numpy(codes).to(device)
            start += len(codes)

    def stage(self, row_B: Ints, position_BT: Ints) -> Tensor:
        """(B, T) places of the clips' frames on the axis of all frames."""
        return torch.from_numpy(self._store.first_frame[row_B][:, None] + np.maximum(position_BT, 0))

    def finish(self, staged: Tensor, position_BT: Ints) -> Tensor:
        """Gather and decode on the device."""
        place_BT = staged.to(self._device, non_blocking=True)
        codes = self._codes.index_select(0, place_BT.reshape(-1)).reshape(*place_BT.shape, -1)
        return _values(self._store, codes, position_BT)


class ArrayFrames:
    """One recording that lies in memory, as a store of a single row."""

    def __init__(self, values_TM: npt.NDArray[np.float32], low: float, device: torch.device) -> None:
        self._values, self._low, self._device = torch.from_numpy(values_TM), low, device

    def stage(self, row_B: Ints, position_BT: Ints) -> Tensor:
        """(B, T, M) values; all rows are the one recording."""
        return self._values[torch.from_numpy(np.maximum(position_BT, 0))]

    def finish(self, staged: Tensor, position_BT: Ints) -> Tensor:
        """Move to the device."""
        return _padded(staged.to(self._device), position_BT, self._low)


def open_frames(store: Store, device: torch.device, residence: Literal["auto", "device", "host"]) -> tuple[Frames, str]:
    """Choose a residence by free memory (or as told), and say which in one line."""
    size = store.manifest.frames * store.view.n_mels * np.dtype(store.codec.dtype).itemsize
    fits = device.type == "cuda" and size <= SHARE_OF_FREE * torch.cuda.mem_get_info(device)[0]
    chosen = residence if residence != "auto" else "device" if fits else "host"
    way = "memory of" if chosen == "device" else "mapped files to"
    line = f"reading {size / 1e6:,.0f} MB of frames from {way} {device}"
    return (DeviceFrames(store, device) if chosen == "device" else HostFrames(store, device)), line


def _values(store: Store, codes: Tensor, position_BT: Ints) -> Tensor:
    values = codes.to(torch.float32)
    if store.codec.dtype == "uint8":
        values = values * store.codec.step + store.codec.low
    return _padded(values, position_BT, store.codec.low)


def _padded(values: Tensor, position_BT: Ints, low: float) -> Tensor:
    if not (position_BT < 0).any():
        return values
    padding_BT = torch.from_numpy(position_BT < 0).to(values.device)
    return values.masked_fill(padding_BT[:, :, None], low)


def _torch_dtype(store: Store) -> torch.dtype:
    return torch.float16 if store.codec.dtype == "float16" else torch.uint8
