"""Calibrated scores: of all that are about 0.8, some 80 % should be right. W window, K class."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from birdcache.arrays import Floats32, Floats64

LEAST, MOST = 1e-6, 1 - 1e-6  # scores beyond are taken for these, whose logits are finite


@dataclass(frozen=True)
class Calibrator:
    """A score p of a class becomes sigmoid(slope * logit(p) + offset); without any, scores stay.

    A slope above 0 keeps the order of a class's scores. Source: Platt 1999; with one slope for all classes, temperature
    scaling with a bias, Guo et al. 2017.
    """

    slopes: Sequence[float] = ()  # (K,), or none
    offsets: Sequence[float] = ()  # likewise

    def __call__(self, scores_WK: Floats32) -> Floats32:
        """Calibrated scores, (W, K)."""
        if not len(self.slopes):
            return scores_WK
        logits = logits_of(scores_WK) * np.array(self.slopes) + np.array(self.offsets)
        return np.asarray(np.exp(-np.logaddexp(0, -logits)), np.float32)  # no overflow, as of 1 / (1 + exp(-logits))


UNCALIBRATED = Calibrator()


def logits_of(scores: Floats32) -> Floats64:
    """The logits of scores, all finite."""
    clipped = np.clip(scores.astype(np.float64), LEAST, MOST)
    return np.asarray(np.log(clipped / (1 - clipped)))
