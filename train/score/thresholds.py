"""Above which score a class counts as detected, learnt from out-of-fold predictions. N recording, K class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from cache.tables import Col
from train.score.metrics import Bools, Floats

UNTAUGHT = 0.5  # where not one recording is a positive


@dataclass(frozen=True)
class Thresholds:
    """A threshold for each class, and what it comes from; all arrays are (K,).

    Attributes
    ----------
    used : `own` drawn towards the global one: (n own + prior global) / (n + prior) with n positives.
    own : The threshold of the best F1 of the class alone; NaN without a positive or without a negative.
    f1 : F1 of the used threshold; NaN like `own`.
    positives : Recordings of the class.
    """

    used: Floats
    own: Floats
    f1: Floats
    positives: Floats

    def table(self, labels: list[str]) -> pd.DataFrame:
        """reports/thresholds.csv."""
        columns = {"threshold": self.used, "own_threshold": self.own, "f1": self.f1}
        return pd.DataFrame({Col.LABEL: labels, "positives": self.positives.astype(int), **columns})


def fit_thresholds(truth_NK: Bools, scores_NK: Floats, known_NK: Bools, prior: float) -> Thresholds:
    """The threshold of the best F1 for each class, drawn towards that of all classes together where positives are few.

    A class without positives or without negatives has the threshold of all classes.
    """
    common = best_threshold(truth_NK[known_NK], scores_NK[known_NK]) if (truth_NK & known_NK).any() else UNTAUGHT
    classes = truth_NK.shape[1]
    positives = (truth_NK & known_NK).sum(axis=0)
    used, own, f1 = np.full(classes, common), np.full(classes, np.nan), np.full(classes, np.nan)
    for label in np.flatnonzero((positives > 0) & (positives < known_NK.sum(axis=0))):
        rows = known_NK[:, label]
        truth_N, scores_N = truth_NK[rows, label], scores_NK[rows, label]
        own[label] = best_threshold(truth_N, scores_N)
        used[label] = (positives[label] * own[label] + prior * common) / (positives[label] + prior)
        f1[label] = f1_at(truth_N, scores_N, used[label])
    return Thresholds(*(np.asarray(column, np.float32) for column in (used, own, f1, positives)))


def best_threshold(truth_N: Bools, scores_N: Floats) -> float:
    """The threshold of the best F1 among those halfway between neighbouring scores; of several, the highest.

    Parameters
    ----------
    truth_N : with at least one positive.
    """
    negated, first = np.unique(-scores_N.astype(np.float64), return_inverse=True)  # from the highest score on
    scores = -negated
    hits = np.cumsum(np.bincount(first, truth_N))
    called = np.cumsum(np.bincount(first))
    best = int(np.argmax(2 * hits / (called + truth_N.sum())))
    below = scores[best + 1] if best + 1 < len(scores) else 0.0
    return float((scores[best] + below) / 2)


def f1_at(truth_N: Bools, scores_N: Floats, threshold: float) -> float:
    """F1 of what scores at least the threshold."""
    called_N = scores_N >= threshold
    return float(2 * (truth_N & called_N).sum() / (truth_N.sum() + called_N.sum()))
