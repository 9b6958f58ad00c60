"""Confidence intervals of metrics by the bootstrap: the same metrics over recordings drawn with replacement.

B resample, N recording, K class, G group of equal scores. A resample is how often it holds each recording.
Source: Efron 1979, percentile intervals.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from birdcache.arrays import Bools, Floats32, Floats64, Ints
from train.score.metrics import CMAP_PADDING

Between = tuple[float, float]

SEED = 1
TAIL = 2.5  # percent on each side of an interval


@dataclass(frozen=True)
class Resampled:
    """Metrics of scores, once for each resample; NaN where a resample does not determine them."""

    average_precision: Floats64  # (B, K)
    of_all: dict[str, Floats64]  # metric, named as in `train.score.metrics` -> (B,)

    def intervals(self) -> dict[str, Between]:
        """95 % interval of each metric."""
        return {name: interval(values_B) for name, values_B in self.of_all.items()}

    def of_classes(self, chosen_K: Bools) -> Between:
        """95 % interval of the mean average precision of some classes."""
        return interval(mean_of_known(self.average_precision[:, chosen_K]))


def draw_resamples(recordings: int, resamples: int) -> Floats64:
    """Counts of each recording in each resample: (B, N); the same for the same numbers."""
    drawn = np.random.default_rng(SEED).multinomial(recordings, np.full(recordings, 1 / recordings), size=resamples)
    return np.asarray(drawn, np.float64)


def draw_whole(groups_N: Ints, resamples: int) -> Floats64:
    """Counts of each row in each resample when whole groups are drawn, such as a soundscape's windows: (B, N)."""
    groups, number_N = np.unique(groups_N, return_inverse=True)
    return draw_resamples(len(groups), resamples)[:, number_N]


def resampled_metrics(primary_N: Ints, unjudged_NK: Bools, scores_NK: Floats32, counts_BN: Floats64) -> Resampled:
    """As `train.score.metrics.recording_metrics`, for each resample; secondary labels count neither way."""
    truth_NK = primary_N[:, None] == np.arange(scores_NK.shape[1])
    ranking = _ranking(truth_NK, ~unjudged_NK, scores_NK, counts_BN)
    called_NK = scores_NK.argmax(axis=1)[:, None] == np.arange(scores_NK.shape[1])
    right_BK, called_BK, true_BK = (counts_BN @ each for each in (truth_NK & called_NK, called_NK, truth_NK))
    f1_BK = np.where(true_BK > 0, 2 * right_BK / np.maximum(called_BK + true_BK, 1), np.nan)
    accuracy_B = right_BK.sum(axis=1) / counts_BN.sum(axis=1)
    can_fail = 1.0 if scores_NK.shape[1] > 1 else np.nan
    best = {"accuracy": accuracy_B * can_fail, "macro_f1": mean_of_known(f1_BK) * can_fail}
    return Resampled(ranking.average_precision, ranking.of_all | best)


def resampled_windows(truth_NK: Bools, scores_NK: Floats32, counts_BN: Floats64) -> Resampled:
    """As `train.score.metrics.window_metrics`, for each resample."""
    return _ranking(truth_NK, np.ones_like(truth_NK), scores_NK, counts_BN)


def _ranking(truth_NK: Bools, known_NK: Bools, scores_NK: Floats32, counts_BN: Floats64) -> Resampled:
    """Metrics of each class's ranking of the rows that are known of it."""
    counts_NB = np.ascontiguousarray(counts_BN.T, np.float32)  # exact up to 2**24
    auc_BK, precision_BK, padded_BK = (np.full((len(counts_BN), scores_NK.shape[1]), np.nan) for _ in range(3))
    for label, known_N in enumerate(known_NK.T):
        ranked = Ranked.of(np.flatnonzero(known_N), truth_NK[:, label], scores_NK[:, label], counts_NB)
        auc_BK[:, label] = ranked.roc_auc()
        precision_BK[:, label] = ranked.average_precision()
        can_fail_B = ranked.negatives.sum(axis=0) > 0
        padded_BK[:, label] = np.where(can_fail_B, ranked.average_precision(CMAP_PADDING), np.nan)
    return Resampled(precision_BK, {"macro_roc_auc": mean_of_known(auc_BK), "cmap": mean_of_known(padded_BK)})


@dataclass(frozen=True)
class Ranked:
    """One class from the highest score down: groups of equal scores with a positive, and the rows between them.

    So there are few groups, however many recordings there are.
    """

    positives: Floats64  # (G, B)
    negatives: Floats64  # (G, B)
    at_one: bool  # whether the first group has a score of 1, as the rows have that pad cmAP

    @classmethod
    def of(cls, known: Ints, truth_N: Bools, scores_N: Floats32, counts_NB: Floats32) -> Ranked:
        """Sort and group the rows that are known."""
        ranked = known[np.argsort(-scores_N[known], kind="stable")]
        truth, scores = truth_N[ranked], scores_N[ranked]
        group = np.cumsum(np.diff(scores, prepend=np.inf) != 0) - 1
        is_scored = np.zeros(len(ranked), bool)
        is_scored[group[truth]] = True
        is_scored = is_scored[group]
        begins = np.flatnonzero(np.diff(np.where(is_scored, group, -1), prepend=-2))
        ends, positive = np.append(begins, len(ranked)), np.flatnonzero(truth)
        all_GB = _sums(counts_NB, ranked, ends)
        positives_GB = _sums(counts_NB, ranked[positive], np.searchsorted(positive, ends))
        return cls(positives_GB, all_GB - positives_GB, bool(len(begins) and is_scored[0] and scores[0] >= 1))

    def roc_auc(self) -> Floats64:
        """(B,), NaN without a positive or a negative."""
        below_GB = self.negatives.sum(axis=0) - np.cumsum(self.negatives, axis=0)
        won_B = (self.positives * (below_GB + self.negatives / 2)).sum(axis=0)
        pairs_B = self.positives.sum(axis=0) * self.negatives.sum(axis=0)
        return np.where(pairs_B > 0, won_B / np.maximum(pairs_B, 1), np.nan)

    def average_precision(self, padding: int = 0) -> Floats64:
        """(B,), NaN without a positive, or without a negative unless so many positives with a score of 1 are added."""
        positives_GB, negatives_GB = self.positives, self.negatives
        known_B = positives_GB.any(axis=0) & (negatives_GB.any(axis=0) | (padding > 0))
        if padding and not self.at_one:
            positives_GB, negatives_GB = (np.pad(each, ((1, 0), (0, 0))) for each in (positives_GB, negatives_GB))
        positives_GB = positives_GB + padding * (np.arange(len(positives_GB)) == 0)[:, None]
        found_GB, so_far_GB = np.cumsum(positives_GB, axis=0), np.cumsum(positives_GB + negatives_GB, axis=0)
        sums_B = (positives_GB * found_GB / np.maximum(so_far_GB, 1)).sum(axis=0)
        return np.where(known_B, sums_B / np.maximum(positives_GB.sum(axis=0), 1), np.nan)


def _sums(counts_NB: Floats32, row: Ints, ends: Ints) -> Floats64:
    """Sums of the counts of spans of rows, from each of `ends` to the next: (G, B)."""
    spans = csr_array((np.ones(len(row), np.float32), row, ends), shape=(len(ends) - 1, len(counts_NB)))
    return np.asarray(spans @ counts_NB, np.float64)


def mean_of_known(values_BK: Floats64) -> Floats64:
    """Mean over the classes that a resample can tell of, NaN where it can tell of none: (B,)."""
    known_B = np.isfinite(values_BK).sum(axis=1)
    return np.where(known_B > 0, np.nansum(values_BK, axis=1) / np.maximum(known_B, 1), np.nan)


def interval(values_B: Floats64) -> Between:
    """95 % interval, over the resamples that can tell; NaN where none can."""
    known_B = values_B[np.isfinite(values_B)]
    if not len(known_B):
        return float("nan"), float("nan")
    low, high = np.percentile(known_B, [TAIL, 100 - TAIL])
    return float(low), float(high)
