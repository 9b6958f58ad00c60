"""Frames of a batch that lie together in a store, so that each stretch is copied at once.

B batch, T frame, S stretch of a clip without a jump, R run: the part of a stretch that lies in one chunk.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from birdcache.arrays import Ints
from cache.shard import CHUNK_FRAMES
from cache.store import Store


@dataclass(frozen=True)
class Slices:
    """`count` rows of a part's `chunk`, from its `row` on, belong at `place` of the B * T frames of a batch."""

    part: Ints
    chunk: Ints
    row: Ints
    count: Ints
    place: Ints

    def __iter__(self) -> Iterator[tuple[int, int, int, int, int]]:
        """Each run as (part, chunk, row, count, place)."""
        columns = (self.part, self.chunk, self.row, self.count, self.place)
        return zip(*(column.tolist() for column in columns), strict=True)


def find_slices(store: Store, row_B: Ints, position_BT: Ints) -> Slices:
    """The runs of a batch, in the order of its frames; padding belongs to none.

    Parameters
    ----------
    row_B : (B,) recordings of the store.
    position_BT : (B, T) frames of the recordings, -1 = padding.
    """
    place_S, count_S = _stretches(position_BT)
    row_S = row_B[place_S // position_BT.shape[1]]
    begin_S = store.start[row_S] + position_BT.reshape(-1)[place_S]  # frames of the part
    end_S = begin_S + count_S
    first_chunk_S = begin_S // CHUNK_FRAMES
    chunks_S = (end_S - 1) // CHUNK_FRAMES - first_chunk_S + 1
    stretch_R = np.repeat(np.arange(len(place_S)), chunks_S)
    before_S = np.cumsum(chunks_S) - chunks_S
    chunk_R = first_chunk_S[stretch_R] + np.arange(len(stretch_R)) - before_S[stretch_R]
    begin_R = np.maximum(begin_S[stretch_R], chunk_R * CHUNK_FRAMES)
    end_R = np.minimum(end_S[stretch_R], (chunk_R + 1) * CHUNK_FRAMES)
    place_R = place_S[stretch_R] + begin_R - begin_S[stretch_R]
    return Slices(store.part[row_S][stretch_R], chunk_R, begin_R - chunk_R * CHUNK_FRAMES, end_R - begin_R, place_R)


def _stretches(position_BT: Ints) -> tuple[Ints, Ints]:
    """Where in the B * T frames positions that follow each other begin, and how many they are, without padding."""
    begins_BT = np.zeros(position_BT.shape, bool)
    begins_BT[:, 0] = True
    first_B, last_B = position_BT[:, 0], position_BT[:, -1]
    has_jumps_B = (first_B < 0) | (last_B - first_B != position_BT.shape[1] - 1)  # few: looped or padded clips
    jumps = position_BT[has_jumps_B]
    begins_BT[has_jumps_B, 1:] = (np.diff(jumps) != 1) | (jumps[:, 1:] == 0)  # padding, -1, may come before 0
    place_S = np.flatnonzero(begins_BT)
    count_S = np.diff(place_S, append=begins_BT.size)
    is_sound_S = position_BT.reshape(-1)[place_S] >= 0
    return place_S[is_sound_S], count_S[is_sound_S]
