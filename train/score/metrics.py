"""Metrics of scores against truth. N recording or window, K class.

`known` marks the cells that count: `Examples.unjudged` are neither positives nor negatives of their classes.
"""

import numpy as np

from birdcache.arrays import Bools, Floats32, Floats64, Ints

CMAP_PADDING = 5  # BirdCLEF 2023: five all-positive rows soften the score of rare classes


def class_metrics(truth_NK: Bools, scores_NK: Floats32, known_NK: Bools) -> tuple[Floats64, ...]:
    """ROC-AUC, average precision, and that after `CMAP_PADDING` positives with a score of 1, of each class: 3 x (K,).

    NaN where a class has no positive or no negative: with padding it would be 1, whatever the scores.

    A ValueError if a score is no number.
    """
    if np.isnan(scores_NK).any():
        raise ValueError("scores that are no numbers cannot be ranked")
    positive_KN, known_K = np.ascontiguousarray((truth_NK & known_NK).T), known_NK.sum(axis=0)
    ordered_KN = np.sort(np.where(known_NK, scores_NK, np.float32(-np.inf)).T)  # unknown cells come first
    positives_K, values_3K = positive_KN.sum(axis=1), np.full((3, len(known_K)), np.nan)
    for label in np.flatnonzero((positives_K > 0) & (positives_K < known_K)):
        positives_P = np.sort(scores_NK[:, label][positive_KN[label]])
        values_3K[:, label] = _ranking(positives_P, ordered_KN[label, -known_K[label] :])
    return tuple(values_3K)


def _ranking(positives_P: Floats32, rows_N: Floats32) -> tuple[float, float, float]:
    """The three of one class; scores of its positives, and of all its known rows, ascend."""
    positives, rows = len(positives_P), len(rows_N)
    own_P, all_P = positives_P.searchsorted(positives_P), rows_N.searchsorted(positives_P)
    ties_P = rows_N.searchsorted(positives_P, "right") - all_P - positives_P.searchsorted(positives_P, "right") + own_P
    wins = (all_P - own_P + ties_P / 2).sum()  # of pairs with a negative
    found_P, called_P, added_P = positives - own_P, rows - all_P, CMAP_PADDING * (positives_P <= 1)
    found, called = (len(each) - int(each.searchsorted(1)) + CMAP_PADDING for each in (positives_P, rows_N))
    padded = ((found_P + added_P) / (called_P + added_P)).sum() + CMAP_PADDING * found / called
    return wins / positives / (rows - positives), (found_P / called_P).mean(), padded / (positives + CMAP_PADDING)


def recording_metrics(primary_N: Ints, unjudged_NK: Bools, scores_NK: Floats32) -> dict[str, float]:
    """Metrics of scores per recording.

    Parameters
    ----------
    primary_N : (N,) class of the primary label.
    unjudged_NK : (N, K) cells that are left out of the ranking metrics, as of `Examples.unjudged`.
    scores_NK : (N, K).

    Returns
    -------
    accuracy, macro ROC-AUC over the classes that have positives and how many these are, padded cmAP, macro F1 of the
    best-scored class over the classes that have positives. Of one class all are NaN: none of them could fail. Accuracy
    and F1 are of recordings whose primary label is judged.
    """
    truth_NK, best_N = primary_N[:, None] == np.arange(scores_NK.shape[1]), scores_NK.argmax(axis=1)
    judged_N = ~unjudged_NK[np.arange(len(primary_N)), primary_N]
    primary_N, best_N = primary_N[judged_N], best_N[judged_N]
    chosen = primary_N, best_N, primary_N[best_N == primary_N]
    true_K, called_K, right_K = (np.bincount(each, minlength=scores_NK.shape[1]) for each in chosen)
    f1 = np.mean((2 * right_K / np.maximum(true_K + called_K, 1))[true_K > 0])
    can_fail = scores_NK.shape[1] > 1
    return {
        "accuracy": float((best_N == primary_N).mean()) if can_fail else float("nan"),
        **window_metrics(truth_NK, scores_NK, ~unjudged_NK),
        "macro_f1": float(f1) if can_fail else float("nan"),
    }


def window_metrics(truth_NK: Bools, scores_NK: Floats32, known_NK: Bools | None = None) -> dict[str, float]:
    """Metrics of scores per window of a soundscape, where several species may sing or none; all count by default."""
    auc_K, _, padded_K = class_metrics(truth_NK, scores_NK, np.ones_like(truth_NK) if known_NK is None else known_NK)
    scored_K = np.isfinite(auc_K)
    means = [float(each[scored_K].mean()) if scored_K.any() else float("nan") for each in (auc_K, padded_K)]
    return {"macro_roc_auc": means[0], "classes_scored": int(scored_K.sum()), "cmap": means[1]}
