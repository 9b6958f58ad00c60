"""Two stores as one: clips of recordings and of soundscapes in one batch. B batch, T frame, M mel bin."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from train.data.frames import Frames
from train.data.random import Ints
from train.data.upload import Uploaded


class ConcatFrames:
    """Gathers clips out of two stores, one gather each; rows of the second come after the `rows` of the first.

    Gives each clip the values that its own store gives, to the last bit.
    """

    def __init__(self, first: Frames, second: Frames, rows: int) -> None:
        self._stores, self._rows = ((first, 0), (second, rows)), rows

    def stage(self, row_B: Ints, position_BT: Ints) -> Uploaded:
        """Which clips are the second store's, and beside it what either store sends for its own."""
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
        if len(parts) == 1:
            return parts[0][1]
        like = parts[0][1]
        values = like.new_empty((len(position_BT), *like.shape[1:]))
        for place, part in parts:
            values.index_copy_(0, torch.from_numpy(place).to(values.device), part)
        return values
