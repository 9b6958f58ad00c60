"""Calibration, measured and fitted: 80 % of the answers given with a score of 0.8 should be right.

N recording or window, C known cell, K class. A file of its own, since no training depends on this.
"""

from dataclasses import dataclass
from typing import NamedTuple, get_args

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.calibration import calibration_curve

from birdcache.arrays import Bools, Floats32, Floats64, Ints
from birdcache.params.sections import CalibrationKind
from birdcache.predict.calibrator import UNCALIBRATED, Calibrator, logits_of
from train.score.blend import HeldOut, likelihoods, log_loss

BINS = 10
SHRINKAGE = 10.0  # recordings of a class with which its own slope and offset count as much as those of all classes
RIDGE = 0.01  # of the squared distance from a fit's start, so that a class whose scores part its recordings has a fit
BOUNDS = [(0.01, 100.0), (-50.0, 50.0)]  # of a slope, which must not turn the order around, and of an offset
KINDS: tuple[CalibrationKind, ...] = get_args(CalibrationKind)


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


def fit_calibrator(scores_NK: Floats32, truth_NK: Bools, known_NK: Bools, kind: CalibrationKind) -> Calibrator:
    """The calibrator with the least log loss: one slope and offset for all classes, or one of each for each class.

    Those of a class with n positives are (n own + prior common) / (n + prior), where prior is `SHRINKAGE`; a class
    without positives or without negatives has the common ones.
    """
    logits_NK, classes = logits_of(scores_NK), truth_NK.shape[1]
    if kind == "none" or not (truth_NK & known_NK).any():
        return UNCALIBRATED
    common = _fitted(logits_NK[known_NK], truth_NK[known_NK], np.array([1.0, 0.0]))
    own_K2 = np.tile(common, (classes, 1))
    positives_K = (truth_NK & known_NK).sum(axis=0)
    if kind == "class":
        for label in np.flatnonzero((positives_K > 0) & (positives_K < known_NK.sum(axis=0))):
            rows = known_NK[:, label]
            own = _fitted(logits_NK[rows, label], truth_NK[rows, label], common)
            own_K2[label] += (own - common) * positives_K[label] / (positives_K[label] + SHRINKAGE)
    slopes_K, offsets_K = own_K2.T.tolist()
    return Calibrator(slopes_K, offsets_K)


def _fitted(logit_C: Floats64, truth_C: Bools, start: Floats64) -> Floats64:
    """Slope and offset with the least log loss, from a start on."""

    def loss_and_slope(values: Floats64) -> tuple[float, Floats64]:
        calibrated_C = values[0] * logit_C + values[1]
        losses_C = np.logaddexp(0, calibrated_C) - truth_C * calibrated_C
        error_C, away = expit(calibrated_C) - truth_C, values - start
        gradient = np.array([error_C @ logit_C, error_C.sum()])
        return float(losses_C.sum() + RIDGE * (away @ away)), gradient + 2 * RIDGE * away

    found = minimize(loss_and_slope, start, jac=True, method="L-BFGS-B", bounds=BOUNDS)
    return np.asarray(found.x, np.float64)


def cross_calibrated(scores_NK: Floats32, held: HeldOut, kind: CalibrationKind) -> Floats32:
    """Out-of-fold scores, those of a fold by what the other folds have taught: (N, K); of a single fold, by itself."""
    result = np.empty_like(scores_NK)
    for fold in held.folds:
        rows = held.fold == fold
        taught = ~rows if len(held.folds) > 1 else rows
        calibrator = fit_calibrator(scores_NK[taught], held.truth[taught], held.known[taught], kind)
        result[rows] = calibrator(scores_NK[rows])
    return result


def calibration_tables(scores_NK: Floats32, held: HeldOut, used: CalibrationKind) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What each kind of calibration does to blended out-of-fold scores, each fold by the others; and its bins."""
    primary_N, rows, bins = held.truth.argmax(axis=1), [], []
    for kind in KINDS:
        calibrated_NK = cross_calibrated(scores_NK, held, kind)
        wrong_C = 1 - likelihoods(calibrated_NK, held.truth, held.known)
        found = calibration(primary_N, calibrated_NK)
        bins += [(kind, *each) for each in found.bins]
        rows.append(
            {
                "calibration": kind,
                "used": "yes" if kind == used else "no",
                "expected_error": found.error,
                "log_loss": log_loss(calibrated_NK, held.truth, held.known),
                "brier": float((wrong_C**2).mean()),
            }
        )
    return pd.DataFrame(rows), pd.DataFrame(bins, columns=["calibration", *Bin._fields])
