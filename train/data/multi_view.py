"""Frames of several views side by side: one recording's rows in several stores, brought to the device together.

B batch, T frame, M mel bin.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from birdcache.errors import TrainError
from birdcache.params.load import MachineParams
from cache.store import Store
from train.data.frames import Frames, open_frames
from train.data.random import Ints
from train.data.upload import Uploaded


class MultiViewFrames:
    """Gathers the same clips of several stores; the mel bins of one view lie after those of the other.

    Parameters
    ----------
    frames : of each store.
    rows : of each store, the row in which it holds what the first store holds in row 0, 1, ..., -1 = nowhere.
    """

    def __init__(self, frames: Sequence[Frames], rows: Sequence[Ints]) -> None:
        self._frames, self._rows = frames, rows

    def stage(self, row_B: Ints, position_BT: Ints) -> Uploaded:
        """Bring each store's clips towards the device.

        Raises
        ------
        TrainError
            If a store does not hold one of the recordings.
        """
        rows = [rows[row_B] for rows in self._rows]
        if any((each < 0).any() for each in rows):
            raise TrainError("a recording is not in the stores of all views of its member; run `dvc repro`")
        pairs = zip(self._frames, rows, strict=True)
        return Uploaded(torch.empty(0), None, tuple(frames.stage(each, position_BT) for frames, each in pairs))

    def finish(self, staged: Uploaded, position_BT: Ints) -> Tensor:
        """Values of the batch on the device: (B, T, M) float32, with M the mel bins of all views together."""
        pairs = zip(self._frames, staged.beside, strict=True)
        return torch.cat([frames.finish(each, position_BT) for frames, each in pairs], dim=2)


def open_multi_view(stores: Sequence[Store], device: torch.device, machine: MachineParams) -> tuple[Frames, str]:
    """Open the stores of a member's views, each in its own placement; also say in a line for each which, and why.

    They share `machine.stream_gb`. A single store is opened as it is.
    """
    if len(stores) == 1:
        return open_frames(stores[0], device, machine)
    share = machine.model_copy(update={"stream_gb": machine.stream_gb / len(stores)})
    frames, lines = zip(*(open_frames(store, device, share) for store in stores), strict=True)
    return MultiViewFrames(frames, [rows_beside(stores[0], store) for store in stores]), "\n".join(lines)


def rows_beside(first: Store, other: Store) -> Ints:
    """(N,) row of each of the first store's recordings in another one, -1 where it is missing.

    Raises
    ------
    TrainError
        If a recording has another number of frames there: then its frames mean other times.
    """
    row_N = other.rows_of(first.audio_sha256)
    differ = np.flatnonzero((row_N >= 0) & (other.frames[row_N] != first.frames))
    if len(differ):
        row = int(differ[0])
        raise TrainError(
            f"{other.path}: {len(differ)} recordings have other numbers of frames than in {first.path}, such as "
            f"{other.frames[row_N[row]]} instead of {first.frames[row]}; run `dvc repro`"
        )
    return row_N


def held_by_all(stores: Sequence[Store], row_B: Ints) -> npt.NDArray[np.bool_]:
    """Whether all stores hold what the first one holds in the given rows: (B,)."""
    held_B = np.ones(len(row_B), bool)
    for store in stores[1:]:
        held_B &= rows_beside(stores[0], store)[row_B] >= 0
    return held_B
