"""Frames out of several stores: views side by side in one clip, or recordings and soundscapes in one batch.

B batch, T frame, M mel bin.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from birdcache.arrays import Bools, Ints
from birdcache.errors import TrainError
from birdcache.params.sections import MachineParams
from cache.store import Store
from train.data.frames import Frames, Uploaded, open_frames


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
    """Open the stores of a member's views, each in its own placement; also a line on each placement and its reason.

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
            f"{other.path}: {len(differ)} recordings have a different number of frames than in {first.path}, such as "
            f"{other.frames[row_N[row]]} instead of {first.frames[row]}; run `dvc repro`"
        )
    return row_N


def held_by_all(stores: Sequence[Store], row_B: Ints) -> Bools:
    """True for those of the given rows of the first store whose recordings are in all stores: (B,)."""
    held_B = np.ones(len(row_B), bool)
    for store in stores[1:]:
        held_B &= rows_beside(stores[0], store)[row_B] >= 0
    return held_B


class ConcatFrames:
    """Gathers clips out of two stores, one gather each; rows of the second come after the `rows` of the first.

    Gives each clip the values that its own store gives, to the last bit.
    """

    def __init__(self, first: Frames, second: Frames, rows: int) -> None:
        self._stores, self._rows = ((first, 0), (second, rows)), rows

    def stage(self, row_B: Ints, position_BT: Ints) -> Uploaded:
        """Send each store's clips towards the device, with the mask of those that are the second store's."""
        in_second_B = row_B >= self._rows
        sent = [
            frames.stage(row_B[chosen_B] - offset, position_BT[chosen_B])
            for (frames, offset), chosen_B in zip(self._stores, (~in_second_B, in_second_B), strict=True)
            if chosen_B.any()
        ]
        return Uploaded(torch.from_numpy(in_second_B), None, tuple(sent))

    def finish(self, staged: Uploaded, position_BT: Ints) -> Tensor:
        """Put the clips of both stores in the order of the batch: (B, T, M)."""
        in_second_B, sent = staged.tensor.numpy(), iter(staged.beside)
        parts = [
            (np.flatnonzero(chosen_B), frames.finish(next(sent), position_BT[chosen_B]))
            for (frames, _), chosen_B in zip(self._stores, (~in_second_B, in_second_B), strict=True)
            if chosen_B.any()
        ]
        if len(parts) == 1:  # all clips of one store are in order already
            return parts[0][1]
        like = parts[0][1]
        values = like.new_empty((len(position_BT), *like.shape[1:]))
        for place, part in parts:
            values.index_copy_(0, torch.from_numpy(place).to(values.device), part)
        return values
