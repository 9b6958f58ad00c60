"""Annotated times, and which of them are heard in a clip. E event, B clip, T frame, K class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Events:
    """Annotated times of recordings, in frames, in order of row and time."""

    row: Ints  # (E,) in the store
    first: Ints  # (E,) first frame
    end: Ints  # (E,) frame after the last
    label: Ints  # (E,) class

    def heard(self, row_B: Ints, position_BT: Ints, classes: int) -> tuple[Bools, Bools, Bools]:
        """What the annotations say of clips.

        Parameters
        ----------
        row_B : rows of the clips' recordings.
        position_BT : frames of the recordings that the clips show, -1 for padding.

        Returns
        -------
        annotated : (B,) whether somebody annotated the recording.
        present : (B, K) classes of which at least half a time lies in the clip, or which fill at least half of it.
        unsure : (B, K) classes of which less than that lies in the clip, and which are not present.
        """
        low_B, high_B = np.searchsorted(self.row, row_B, "left"), np.searchsorted(self.row, row_B, "right")
        count_B = high_B - low_B
        clip = np.repeat(np.arange(len(row_B)), count_B)
        event = np.arange(len(clip)) - np.repeat(np.cumsum(count_B) - count_B, count_B) + np.repeat(low_B, count_B)
        begin_B, end_B = _span(position_BT)
        overlap = np.minimum(self.end[event], end_B[clip]) - np.maximum(self.first[event], begin_B[clip])
        enough = 2 * overlap >= np.minimum(self.end[event] - self.first[event], end_B[clip] - begin_B[clip])
        present_BK, touched_BK = np.zeros((2, len(row_B), classes), bool)
        present_BK[clip[enough], self.label[event[enough]]] = True
        touched = overlap > 0
        touched_BK[clip[touched], self.label[event[touched]]] = True
        return count_B > 0, present_BK, touched_BK & ~present_BK


def _span(position_BT: Ints) -> tuple[Ints, Ints]:
    """First frame of each clip, and the one after its last; padding is left out."""
    is_there_BT = position_BT >= 0
    begin_B = np.where(is_there_BT, position_BT, np.iinfo(np.int64).max).min(axis=1)
    return begin_B, position_BT.max(axis=1) + 1
