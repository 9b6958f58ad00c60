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
from train.data.frames import NOTHING, Frames, Uploaded, open_frames


class MultiViewFrames(Frames):
    """Gathers the same clips of several stores; the mel bins of one view lie after those of the other.

    Parameters
    ----------
    frames : of each store.
    rows : of each store, the row in which it holds what the first store holds in row 0, 1, ..., -1 = nowhere.
    """

    def __init__(self, frames: Sequence[Frames], rows: Sequence[Ints]) -> None:
        self._frames, self._rows = frames, rows
        self.quantizer, self.uploader = frames[0].quantizer, frames[0].uploader

    def stage(self, row_B: Ints, position_BT: Ints) -> Uploaded:
        """Bring each store's clips towards the device; a TrainError if a store does not hold one of the recordings."""
        rows = [rows[row_B] for rows in self._rows]
        if any((each < 0).any() for each in rows):
            raise TrainError("a recording is not in the stores of all views of its member; run `dvc repro`")
        pairs = zip(self._frames, rows, strict=True)
        return Uploaded(torch.empty(0), None, tuple(frames.stage(each, position_BT) for frames, each in pairs))

    def codes(self, staged: Uploaded) -> tuple[Tensor, ...]:
        """The codes of each store."""
        return tuple(frames.codes(each)[0] for frames, each in zip(self._frames, staged.beside, strict=True))

    def decode(self, codes: tuple[Tensor, ...]) -> Tensor:
        """The values of one view beside those of the other."""
        return torch.cat([frames.decode((each,)) for frames, each in zip(self._frames, codes, strict=True)], dim=2)


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

    A TrainError if a recording has another number of frames there: then its frames mean other times.
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


class ConcatFrames(Frames):
    """Gathers clips out of two stores, one gather each; rows of the second come after the `rows` of the first.

    Gives each clip the values that its own store gives, to the last bit.
    """

    def __init__(self, first: Frames, second: Frames, rows: int) -> None:
        self._stores, self._rows = (first, second), rows
        self.quantizer, self.uploader = first.quantizer, first.uploader

    def stage(self, row_B: Ints, position_BT: Ints) -> Uploaded:
        """Send each store's clips towards the device, and their places in the batch."""
        places = [np.flatnonzero(chosen_B) for chosen_B in (row_B < self._rows, row_B >= self._rows)]
        sent = (
            frames.stage(row_B[place] - offset, position_BT[place]) if len(place) else NOTHING
            for frames, place, offset in zip(self._stores, places, (0, self._rows), strict=True)
        )
        return self.uploader.send(torch.from_numpy(np.concatenate(places)))._replace(beside=tuple(sent))

    def codes(self, staged: Uploaded) -> tuple[Tensor, ...]:
        """Put the clips of both stores in the order of the batch."""
        pairs = zip(self._stores, staged.beside, strict=True)
        parts = [frames.codes(each) for frames, each in pairs if each is not NOTHING]
        place = self.uploader.receive(staged)
        if len(parts) == 1:  # all clips of one store are in order already
            return parts[0]
        both = (torch.cat(of_view) for of_view in zip(*parts, strict=True))
        return tuple(torch.empty_like(each).index_copy_(0, place, each) for each in both)

    def decode(self, codes: tuple[Tensor, ...]) -> Tensor:
        """The values, as of the first store: both are of one view."""
        return self._stores[0].decode(codes)
