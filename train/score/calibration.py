"""Calibration, measured and fitted: 80 % of the answers given with a score of 0.8 should be right.

N recording or window, C known cell, K class. A file of its own, since no training depends on this.
"""

import itertools
from collections.abc import Mapping
from typing import Literal, NamedTuple, get_args

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.special import expit

from birdcache.arrays import Bools, Floats32, Floats64
from birdcache.errors import TrainError
from birdcache.params.sections import CalibrationKind, FittedOn
from birdcache.predict.calibrator import UNCALIBRATED, Calibrator, logits_of
from train.score.blend import Blend, HeldOut, likelihoods, log_loss

BORDERS = np.linspace(0, 1, 11)[1:-1]  # between bins of scores
FEWEST_POSITIVES = 100  # in windows, with which calibrate_on: auto fits on them (docs/inference.md has the measurement)
SHRINKAGE = 10.0  # recordings of a class with which its own slope and offset count as much as those of all classes
RIDGE = 0.01  # of the squared distance from a fit's start, so that a class whose scores part its recordings has a fit
BOUNDS = [(0.01, 100.0), (-50.0, 50.0)]  # of a slope, which must not turn the order around, and of an offset
KINDS: tuple[CalibrationKind, ...] = get_args(CalibrationKind)


def reliability(truth_NK: Bools, scores_NK: Floats32) -> pd.DataFrame:
    """The share of recordings, or windows, whose best class is right: a row for each bin of its score that holds some.

    Source: reliability diagrams, Guo et al. 2017.
    """
    best_N = scores_NK.max(axis=1).clip(0, 1).astype(np.float64)  # a blend may exceed 1 by a rounding
    is_right_N = np.take_along_axis(truth_NK, scores_NK.argmax(axis=1)[:, None], axis=1)[:, 0]
    binned = pd.DataFrame({"score": best_N, "right": is_right_N}).groupby(np.searchsorted(BORDERS, best_N))
    return binned.agg(recordings=("score", "size"), mean_score=("score", "mean"), accuracy=("right", "mean"))


def expected_error(bins: pd.DataFrame) -> float:
    """Expected calibration error: mean distance of score and accuracy, weighted by recordings; 0 is perfect."""
    weighted = (bins["mean_score"] - bins["accuracy"]).abs() * bins["recordings"]
    return float(weighted.sum() / max(bins["recordings"].sum(), 1))


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


class Judged(NamedTuple):
    """Blended scores of what the ensemble's models have not learnt, (N, K), and the truth about it."""

    scores: Floats32
    held: HeldOut


def cross_calibrated(
    scores_NK: Floats32, held: HeldOut, kind: CalibrationKind, taught: Judged | None = None
) -> Floats32:
    """Scores as other data have taught: (N, K); without any, each fold by the others, or a single one by itself."""
    if taught:
        return fit_calibrator(taught.scores, taught.held.truth, taught.held.known, kind)(scores_NK)
    result = np.empty_like(scores_NK)
    for fold in held.folds:
        rows = held.fold == fold
        others = ~rows if len(held.folds) > 1 else rows
        calibrator = fit_calibrator(scores_NK[others], held.truth[others], held.known[others], kind)
        result[rows] = calibrator(scores_NK[rows])
    return result


def judged_by(blend: Blend, recordings: HeldOut, windows: HeldOut) -> dict[FittedOn, Judged]:
    """Recordings, and labelled windows if there are any, whose members are weighted by what recordings have taught."""
    judged: dict[FittedOn, Judged] = {"recordings": Judged(recordings.blended(blend), recordings)}
    if len(windows.fold):
        judged["windows"] = Judged(blend(windows.scores, recordings.weights(blend)), windows)
    return judged


def chosen(wish: FittedOn | Literal["auto"], windows: HeldOut) -> FittedOn:
    """What to fit on: under `auto`, windows if `FEWEST_POSITIVES` are heard in them, and some in each of two folds.

    A TrainError if windows are asked for, and nothing is heard in any.
    """
    heard_F = [int(windows.truth[windows.fold == fold].sum()) for fold in windows.folds]
    if wish == "windows" and not sum(heard_F):
        raise TrainError(
            "params.yaml: ensemble.calibrate_on = 'windows': no folds.train holds out a labelled window of "
            "predict.window_s in which something is heard; name more in data.soundscape_labels, or set it to auto"
        )
    if wish != "auto":
        return wish
    return "windows" if sum(heard_F) >= FEWEST_POSITIVES and np.count_nonzero(heard_F) > 1 else "recordings"


def calibration_tables(
    judged: Mapping[FittedOn, Judged], kind: CalibrationKind, fitted_on: FittedOn
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What each kind of calibration, fitted on each of the data, does to all of them; `kind` is used. And its bins.

    The expected error is that of the best class; `error_of_all` is that of all classes, each a yes or no of its own.
    """
    rows, bins = [], []
    ways = [(way, on) for way in KINDS for on in ([fitted_on] if way == "none" else judged)]
    for data, (way, on) in itertools.product(judged, ways):
        truth_NK, known_NK = judged[data].held.truth, judged[data].held.known
        calibrated_NK = cross_calibrated(*judged[data], way, None if on == data else judged[on])
        wrong_C = 1 - likelihoods(calibrated_NK, truth_NK, known_NK)
        found = reliability(truth_NK, calibrated_NK)
        of_row = {"data": data, "calibration": way, "fitted_on": "nothing" if way == "none" else on}
        bins.append(found.assign(**of_row))
        rows.append(
            {
                **of_row,
                "used": "yes" if (way, on) == (kind, fitted_on) else "no",
                "expected_error": expected_error(found),
                "error_of_all": expected_error(
                    reliability(truth_NK[known_NK][:, None], calibrated_NK[known_NK][:, None])
                ),
                "log_loss": log_loss(calibrated_NK, truth_NK, known_NK),
                "brier": float((wrong_C**2).mean()),
            }
        )
    return pd.DataFrame(rows), pd.concat(bins)
