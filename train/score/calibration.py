"""Whether scores mean what they say: of the answers given with a score of 0.8, are 80 % right? N recording, K class.

Source: reliability diagrams and expected calibration error, Guo et al. 2017.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from train.score.metrics import Floats, Ints

BINS = 10


@dataclass(frozen=True)
class Bin:
    """Recordings whose best class has a score between `low` and `high`."""

    low: float
    high: float
    recordings: int
    mean_score: float
    accuracy: float


@dataclass(frozen=True)
class Calibration:
    """The bins that hold a recording, lowest score first."""

    bins: tuple[Bin, ...]

    @property
    def error(self) -> float:
        """Expected calibration error: mean distance of score and accuracy, weighted by recordings; 0 is perfect."""
        total = sum(each.recordings for each in self.bins)
        return sum(abs(each.mean_score - each.accuracy) * each.recordings for each in self.bins) / max(total, 1)


def calibration(primary_N: Ints, scores_NK: Floats) -> Calibration:
    """How often the best class is right, by its score."""
    best_N, right_N = scores_NK.max(axis=1), scores_NK.argmax(axis=1) == primary_N
    bin_N = np.clip((best_N * BINS).astype(int), 0, BINS - 1)
    found = []
    for number in np.unique(bin_N).tolist():
        inside_N = bin_N == number
        scores, right = float(best_N[inside_N].mean()), float(right_N[inside_N].mean())
        found.append(Bin(number / BINS, (number + 1) / BINS, int(inside_N.sum()), scores, right))
    return Calibration(tuple(found))
