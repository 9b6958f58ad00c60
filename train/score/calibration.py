"""Calibration: 80 % of the answers given with a score of 0.8 should be right. N recording, K class.

A file of its own, since training depends on the metrics and only the report on this.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from sklearn.calibration import calibration_curve

from birdcache.arrays import Floats32, Ints

BINS = 10


class Bin(NamedTuple):
    """Recordings whose best class has a similar score."""

    recordings: int
    mean_score: float
    accuracy: float


@dataclass(frozen=True)
class Calibration:
    """The bins that hold a recording, lowest score first. Source: reliability diagrams, Guo et al. 2017."""

    bins: tuple[Bin, ...]

    @property
    def error(self) -> float:
        """Expected calibration error: mean distance of score and accuracy, weighted by recordings; 0 is perfect."""
        total = sum(each.recordings for each in self.bins)
        return sum(abs(each.mean_score - each.accuracy) * each.recordings for each in self.bins) / max(total, 1)


def calibration(primary_N: Ints, scores_NK: Floats32) -> Calibration:
    """The share of recordings whose best class is right, by its score."""
    if not len(primary_N):
        return Calibration(())
    best_N = scores_NK.max(axis=1).clip(0, 1)  # a blend may exceed 1 by a rounding
    accuracy, mean_score = calibration_curve(scores_NK.argmax(axis=1) == primary_N, best_N, n_bins=BINS)
    # scikit-learn keeps the sizes of its bins to itself
    sizes = np.bincount(np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], best_N))
    return Calibration(tuple(map(Bin, sizes[sizes > 0].tolist(), mean_score.tolist(), accuracy.tolist())))
