"""Metrics of scores against truth. N recording or window, K class.

`known` marks the cells that count: a secondary label is neither a positive nor a negative of its class.
"""

from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from birdcache.arrays import Bools, Floats32, Floats64, Ints

CMAP_PADDING = 5  # BirdCLEF 2023: five all-positive rows soften the score of rare classes


def class_roc_auc(truth_NK: Bools, scores_NK: Floats32, known_NK: Bools) -> Floats64:
    """ROC-AUC of each class: (K,), NaN where a class has no positive or no negative."""
    return _per_class(truth_NK, scores_NK, known_NK, roc_auc_score)


def class_average_precision(truth_NK: Bools, scores_NK: Floats32, known_NK: Bools) -> Floats64:
    """Average precision of each class: (K,), NaN where a class has no positive or no negative."""
    return _per_class(truth_NK, scores_NK, known_NK, average_precision_score)


def _per_class(truth_NK: Bools, scores_NK: Floats32, known_NK: Bools, metric: Any) -> Floats64:
    values = np.full(truth_NK.shape[1], np.nan)
    for label in range(truth_NK.shape[1]):
        rows = known_NK[:, label]
        truth = truth_NK[rows, label]
        if truth.any() and not truth.all():
            values[label] = metric(truth, scores_NK[rows, label])
    return values


def padded_cmap(truth_NK: Bools, scores_NK: Floats32, known_NK: Bools, padding: int = CMAP_PADDING) -> float:
    """Mean average precision over the classes that can be scored, after `padding` rows that are positive everywhere.

    These have a positive and a negative; without a negative it is 1, whatever the scores.

    Source: BirdCLEF 2023's metric.
    """
    present = (truth_NK & known_NK).any(axis=0) & (~truth_NK & known_NK).any(axis=0)
    if not present.any():
        return float("nan")
    pad_true = np.ones((padding, truth_NK.shape[1]), bool)
    truth, known = np.vstack([truth_NK, pad_true]), np.vstack([known_NK, pad_true])
    scores_padded = np.vstack([scores_NK, pad_true.astype(np.float32)])
    return float(
        np.mean(
            [
                average_precision_score(truth[known[:, label], label], scores_padded[known[:, label], label])
                for label in np.flatnonzero(present)
            ]
        )
    )


def recording_metrics(primary_N: Ints, secondary_NK: Bools, scores_NK: Floats32) -> dict[str, float]:
    """Metrics of scores per recording.

    Parameters
    ----------
    primary_N : (N,) class of the primary label.
    secondary_NK : (N, K) secondary labels; these cells are left out of the ranking metrics.
    scores_NK : (N, K).

    Returns
    -------
    accuracy, macro ROC-AUC over the classes that have positives and how many these are, padded cmAP, macro F1 of the
    best-scored class over the classes that have positives. Of one class all are NaN: none of them could fail.
    """
    truth_NK = np.zeros(scores_NK.shape, bool)
    truth_NK[np.arange(len(primary_N)), primary_N] = True
    auc_K = class_roc_auc(truth_NK, scores_NK, ~secondary_NK)
    best_N = scores_NK.argmax(axis=1)
    f1 = f1_score(primary_N, best_N, labels=np.unique(primary_N), average="macro", zero_division=0)
    can_fail = scores_NK.shape[1] > 1
    return {
        "accuracy": float((best_N == primary_N).mean()) if can_fail else float("nan"),
        "macro_roc_auc": _mean(auc_K),
        "classes_scored": int(np.isfinite(auc_K).sum()),
        "cmap": padded_cmap(truth_NK, scores_NK, ~secondary_NK),
        "macro_f1": float(f1) if can_fail else float("nan"),
    }


def window_metrics(truth_NK: Bools, scores_NK: Floats32) -> dict[str, float]:
    """Metrics of scores per window of a soundscape, where several species may sing or none."""
    known_NK = np.ones_like(truth_NK)
    auc_K = class_roc_auc(truth_NK, scores_NK, known_NK)
    return {
        "macro_roc_auc": _mean(auc_K),
        "classes_scored": int(np.isfinite(auc_K).sum()),
        "cmap": padded_cmap(truth_NK, scores_NK, known_NK),
    }


def _mean(values: Floats64) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float("nan")
