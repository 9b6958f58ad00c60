"""Clips of soundscapes that a teacher has labelled, for a student to train on. N pseudo-labelled clip, K class."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from train.data.random import Floats, Ints, Purpose, uniform


@dataclass(frozen=True)
class PseudoClips:
    """Where the clips lie in the store of soundscapes, their labels, and how a training draws and mixes them."""

    row: Ints  # (N,) in the store
    frames: Ints  # (N,) of their soundscapes
    start: Ints  # (N,) first frame of each
    scores: npt.NDArray[np.float32]  # (N, K) their targets
    confidence: Floats  # (N,) how often each is drawn, relative to the others
    probability: float  # share of the training clips that one is mixed into
    share: float  # of the training clip in the mixture, in power

    def offset(self, rows: int) -> PseudoClips:
        """The same clips where the rows of their store come after so many rows of another one."""
        return replace(self, row=self.row + rows)

    def drawn(self, seed: int, epoch: int, index_P: Ints) -> Ints:
        """Numbers of the clips that come to training clips number `index_P` of an epoch, drawn by confidence: (P,)."""
        position_P = uniform(seed, epoch, index_P, Purpose.STUDENT_CLIP)[:, 0] * self._cumulative[-1]
        found: Ints = np.searchsorted(self._cumulative, position_P, side="right")
        return np.minimum(found, len(self._cumulative) - 1)

    @cached_property
    def _cumulative(self) -> Floats:
        return np.cumsum(self.confidence)
