"""Metrics at the end of an epoch: 5,600 recordings of 206 classes, ours beside scikit-learn class by class.

`metrics_ms`: macro ROC-AUC, cmAP, accuracy and macro F1.
`metrics_ratio`: time of the same two rankings by scikit-learn / ours.
`difference`: largest difference between a class's figures and scikit-learn's.
`bootstrap_s`: the same metrics of 200 resamples.
"""

from __future__ import annotations

import time

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from benchmarks.timing import best, interleaved, parse_arguments, ratio, report
from birdcache.arrays import Bools, Floats32, Floats64, Ints
from train.score.bootstrap import draw_resamples, resampled_metrics
from train.score.metrics import class_metrics, recording_metrics

RECORDINGS, CLASSES, RESAMPLES = 5600, 206, 200


def main() -> None:
    """Measure, print a table, write JSON if asked."""
    arguments = parse_arguments(__doc__ or "")
    primary, secondary, scores = predictions()
    truth = primary[:, None] == np.arange(CLASSES)
    seconds = interleaved(
        {
            "ours": lambda: recording_metrics(primary, secondary, scores),
            "sklearn": lambda: by_sklearn(truth, scores, ~secondary),
        },
        arguments.rounds,
    )
    ours = np.stack(class_metrics(truth, scores, ~secondary)[:2])
    counts = draw_resamples(RECORDINGS, RESAMPLES)
    begin = time.perf_counter()
    resampled_metrics(primary, secondary, scores, counts)
    numbers = {
        "metrics_ms": 1000 * best(seconds["ours"]),
        "metrics_ratio": ratio(seconds["sklearn"], seconds["ours"]),
        "difference": f"{np.nanmax(np.abs(ours - by_sklearn(truth, scores, ~secondary))):.1e}",
        "bootstrap_s": time.perf_counter() - begin,
    }
    report(numbers, arguments.json)


def predictions() -> tuple[Ints, Bools, Floats32]:
    """Primary labels with BirdCLEF's long tail, secondary ones, and scores like those of a model."""
    rng = np.random.default_rng(1)
    weights = np.arange(1, CLASSES + 1) ** -1.1
    primary = rng.choice(CLASSES, RECORDINGS, p=weights / weights.sum())
    secondary, is_primary = rng.random((RECORDINGS, CLASSES)) < 0.01, primary[:, None] == np.arange(CLASSES)
    scores = rng.random((RECORDINGS, CLASSES)) ** 4 + 0.3 * is_primary
    return primary, secondary & ~is_primary, scores.clip(0, 1).astype(np.float32)


def by_sklearn(truth: Bools, scores: Floats32, known: Bools) -> Floats64:
    """ROC-AUC and average precision of each class: (2, K)."""
    values = np.full((2, CLASSES), np.nan)
    for label, rows in enumerate(known.T):
        if 0 < truth[rows, label].sum() < rows.sum():
            both = truth[rows, label], scores[rows, label]
            values[:, label] = roc_auc_score(*both), average_precision_score(*both)
    return values


if __name__ == "__main__":
    main()
