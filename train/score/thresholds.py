"""The score from which on a class counts as detected, for each class. N recording, K class."""

import numpy as np
import pandas as pd

from birdcache.arrays import Bools, Floats32
from birdcache.params.sections import ThresholdWish

UNTAUGHT = 0.5  # where not one recording is a positive


def fit_thresholds(
    truth_NK: Bools, scores_NK: Floats32, known_NK: Bools, prior: float, wish: ThresholdWish = "f1"
) -> pd.DataFrame:
    """The threshold of each class that meets the wish, drawn towards that of all classes where positives are few.

    Returns
    -------
    A row for each class: recordings that are `positives`; `threshold`, (n own + prior common) / (n + prior) with n
    positives; `own_threshold` that it alone asks for, and `f1`, `precision` and `recall` of the threshold. A class
    without positives or without negatives has that of all classes, and NaN for the others.
    """
    classes = truth_NK.shape[1]
    positives = (truth_NK & known_NK).sum(axis=0)
    common = wished_threshold(truth_NK[known_NK], scores_NK[known_NK], wish) if positives.any() else UNTAUGHT
    used, own, quality_3K = np.full(classes, common), np.full(classes, np.nan), np.full((3, classes), np.nan)
    for label in np.flatnonzero((positives > 0) & (positives < known_NK.sum(axis=0))):
        rows = known_NK[:, label]
        truth_N, scores_N = truth_NK[rows, label], scores_NK[rows, label]
        own[label] = wished_threshold(truth_N, scores_N, wish)
        used[label] = (positives[label] * own[label] + prior * common) / (positives[label] + prior)
        quality_3K[:, label] = quality_at(truth_N, scores_N, used[label])
    names = ("threshold", "own_threshold", "f1", "precision", "recall")
    found = pd.DataFrame(dict(zip(names, (used, own, *quality_3K), strict=True)), dtype=np.float32)
    return found.assign(positives=positives)[["positives", *names]]


def wished_threshold(truth_N: Bools, scores_N: Floats32, wish: ThresholdWish = "f1") -> float:
    """The threshold that meets the wish, among those halfway between neighbouring scores.

    These are: of the best F1 the highest; of those with at least a wished precision the one with the highest recall, or
    the one with the highest precision if none has it; the highest with at least a wished recall.

    Parameters
    ----------
    truth_N : with at least one positive.
    """
    negated, first = np.unique(-scores_N.astype(np.float64), return_inverse=True)  # from the highest score on
    scores = -negated
    hits = np.cumsum(np.bincount(first, truth_N))
    called = np.cumsum(np.bincount(first))
    precision, positives = hits / called, truth_N.sum()
    if wish == "f1":
        best = int(np.argmax(2 * hits / (called + positives)))
    elif "recall" in wish:
        best = int(np.argmax(hits >= wish["recall"] * positives))
    else:
        best = int(np.flatnonzero(precision >= min(wish["precision"], precision.max()))[-1])
    below = scores[best + 1] if best + 1 < len(scores) else 0.0
    return float((scores[best] + below) / 2)


def quality_at(truth_N: Bools, scores_N: Floats32, threshold: float) -> tuple[float, float, float]:
    """F1, precision and recall of what scores at least the threshold; the precision of nothing is NaN."""
    called_N = scores_N >= threshold
    hits, called, positives = int((truth_N & called_N).sum()), int(called_N.sum()), int(truth_N.sum())
    return 2 * hits / (positives + called), hits / called if called else float("nan"), hits / positives
