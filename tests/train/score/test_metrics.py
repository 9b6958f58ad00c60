"""Metrics against scikit-learn, and against BirdCLEF's own formula written out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import sklearn.metrics

from train.score.bootstrap import draw_resamples, resampled_metrics
from train.score.metrics import (
    CMAP_PADDING,
    class_metrics,
    recording_metrics,
    window_metrics,
)

N, K = 120, 6
Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


@pytest.fixture
def primary() -> Ints:
    """Every class but the last."""
    return np.random.default_rng(1).integers(0, K - 1, N)


@pytest.fixture
def scores(primary: Ints) -> Floats:
    """Better than chance, not perfect."""
    rng = np.random.default_rng(2)
    noise = rng.random((N, K)).astype(np.float32)
    return noise + 0.5 * one_hot(primary)


@pytest.fixture
def nothing() -> Bools:
    return np.zeros((N, K), bool)


def cmap(truth: Bools, scores: Floats) -> float:
    return window_metrics(truth, scores)["cmap"]


def one_hot(primary: Ints) -> Bools:
    return np.asarray(np.arange(K) == primary[:, None])


def test_macro_roc_auc_equals_sklearn_over_the_classes_that_have_positives(
    primary: Ints, scores: Floats, nothing: Bools
) -> None:
    metrics = recording_metrics(primary, nothing, scores)
    present = one_hot(primary)[:, : K - 1]
    expected = sklearn.metrics.roc_auc_score(present, scores[:, : K - 1], average="macro")
    assert metrics["macro_roc_auc"] == pytest.approx(expected)
    assert metrics["classes_scored"] == K - 1


def test_accuracy_and_macro_f1_equal_sklearn(primary: Ints, scores: Floats, nothing: Bools) -> None:
    metrics = recording_metrics(primary, nothing, scores)
    best = scores.argmax(axis=1)
    f1 = sklearn.metrics.f1_score(primary, best, average=None, labels=np.arange(K - 1), zero_division=0)
    assert metrics["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(primary, best))
    assert metrics["macro_f1"] == pytest.approx(f1.mean())


def test_cmap_equals_the_formula_of_birdclef_2023(primary: Ints, scores: Floats) -> None:
    truth, guess = one_hot(primary)[:, : K - 1], scores[:, : K - 1]
    assert cmap(truth, guess) == pytest.approx(birdclef_2023(truth, guess))


def birdclef_2023(truth: Bools, scores: Floats, padding_factor: int = 5) -> float:
    """The competition's `padded_cmap`: both tables get five rows of ones, then sklearn's macro average precision."""
    columns = [f"species{number}" for number in range(truth.shape[1])]
    solution, submission = pd.DataFrame(truth.astype(int), columns=columns), pd.DataFrame(scores, columns=columns)
    new_rows = pd.DataFrame([[1] * len(columns)] * padding_factor, columns=columns)
    padded_solution = pd.concat([solution, new_rows]).reset_index(drop=True)
    padded_submission = pd.concat([submission, new_rows]).reset_index(drop=True)
    return float(
        sklearn.metrics.average_precision_score(padded_solution.values, padded_submission.values, average="macro")
    )


def test_cmap_leaves_out_classes_without_a_positive(primary: Ints, scores: Floats) -> None:
    truth = one_hot(primary)
    assert cmap(truth, scores) == cmap(truth[:, : K - 1], scores[:, : K - 1])


@pytest.mark.parametrize("steps", [3, 50, 1e7], ids=["few levels", "ties", "no tie"])
@pytest.mark.parametrize("share", [0.02, 0.4], ids=["rare", "common"])
def test_rankings_equal_those_of_sklearn_with_ties_masks_and_classes_that_cannot_be_scored(
    steps: float, share: float
) -> None:
    rng = np.random.default_rng(7)
    truth, known = rng.random((900, 40)) < share, rng.random((900, 40)) < 0.9
    truth[:, 0], truth[:, 1], known[:, 2] = False, True, False
    shown = (np.round((rng.random(truth.shape) ** 3 + 0.3 * truth) * steps) / steps).astype(np.float32)  # some above 1
    auc, precision, _ = class_metrics(truth, shown, known)
    padded = []
    for label, rows in enumerate(known.T):
        positives, scores = truth[rows, label], shown[rows, label]
        if not 0 < positives.sum() < len(positives):
            assert np.isnan([auc[label], precision[label]]).all()
            continue
        assert auc[label] == pytest.approx(sklearn.metrics.roc_auc_score(positives, scores), abs=1e-9)
        assert precision[label] == pytest.approx(sklearn.metrics.average_precision_score(positives, scores), abs=1e-9)
        softened = np.append(positives, [True] * CMAP_PADDING), np.append(scores, [1.0] * CMAP_PADDING)
        padded.append(sklearn.metrics.average_precision_score(*softened))
    found = window_metrics(truth, shown, known)
    assert found["cmap"] == pytest.approx(np.mean(padded), abs=1e-9)
    assert found["macro_roc_auc"] == pytest.approx(np.nanmean(auc), abs=1e-12)
    assert found["classes_scored"] == len(padded) <= 37


def test_scores_that_are_no_numbers_are_not_ranked(primary: Ints, scores: Floats, nothing: Bools) -> None:
    scores[3, 2] = np.nan
    with pytest.raises(ValueError, match="no numbers"):
        recording_metrics(primary, nothing, scores)


def test_a_class_that_is_always_there_has_no_roc_auc(scores: Floats) -> None:
    truth = np.ones((N, K), bool)
    assert np.isnan(class_metrics(truth, scores, truth)[0]).all()


def test_perfect_scores_are_perfect(primary: Ints, nothing: Bools) -> None:
    metrics = recording_metrics(primary, nothing, one_hot(primary).astype(np.float32))
    assert metrics == {"accuracy": 1, "macro_roc_auc": 1, "classes_scored": K - 1, "cmap": 1, "macro_f1": 1}


def test_random_scores_have_a_roc_auc_of_one_half() -> None:
    rng = np.random.default_rng(3)
    primary, guess = rng.integers(0, K, 6000), rng.random((6000, K)).astype(np.float32)
    metrics = recording_metrics(primary, np.zeros((6000, K), bool), guess)
    assert metrics["macro_roc_auc"] == pytest.approx(0.5, abs=0.01)
    assert metrics["accuracy"] == pytest.approx(1 / K, abs=0.02)


def test_the_score_of_a_secondary_label_neither_helps_nor_hurts(primary: Ints, scores: Floats) -> None:
    rng = np.random.default_rng(4)
    secondary = (rng.random((N, K)) < 0.2) & ~one_hot(primary)
    results = []
    for shown in (0.0, 1e-3, 0.9):
        changed = np.where(secondary, np.float32(shown), scores)
        metrics = recording_metrics(primary, secondary, changed)
        results.append((metrics["macro_roc_auc"], metrics["cmap"]))
    assert results[0] == results[1] == results[2]


def test_cells_of_secondary_labels_are_left_out_row_by_row(primary: Ints, scores: Floats) -> None:
    secondary = (np.random.default_rng(4).random((N, K)) < 0.2) & ~one_hot(primary)
    values, _, _ = class_metrics(one_hot(primary), scores, ~secondary)
    for label in range(K - 1):
        rows = np.flatnonzero(~secondary[:, label])
        expected = sklearn.metrics.roc_auc_score(primary[rows] == label, scores[rows, label])
        assert values[label] == pytest.approx(expected)


def test_accuracy_and_f1_are_of_recordings_whose_label_is_judged(primary: Ints, scores: Floats) -> None:
    unjudged = np.zeros((N, K), bool)
    unjudged[:, [0, 3]] = True
    judged = ~np.isin(primary, [0, 3])
    found = recording_metrics(primary, unjudged, scores)
    own = recording_metrics(primary[judged], np.zeros_like(unjudged[judged]), scores[judged])
    assert (found["accuracy"], found["macro_f1"]) == (own["accuracy"], own["macro_f1"])
    assert found["classes_scored"] == K - 3, "0, 3 and the one that nobody has"


def test_windows_with_several_species_or_none_are_scored_per_class(scores: Floats) -> None:
    truth = np.random.default_rng(5).random((N, K)) < 0.3
    truth[:40] = False
    metrics = window_metrics(truth, scores)
    assert metrics["macro_roc_auc"] == pytest.approx(sklearn.metrics.roc_auc_score(truth, scores, average="macro"))
    assert metrics["cmap"] == pytest.approx(birdclef_2023(truth, scores))
    assert metrics["classes_scored"] == K


def test_windows_where_nothing_sings_have_no_score() -> None:
    metrics = window_metrics(np.zeros((4, K), bool), np.ones((4, K), np.float32))
    assert np.isnan(metrics["macro_roc_auc"])
    assert np.isnan(metrics["cmap"])
    assert metrics["classes_scored"] == 0


def test_of_one_class_no_metric_is_told_since_none_could_fail() -> None:
    alone = np.zeros(5, np.int64), np.zeros((5, 1), bool), np.linspace(0, 1, 5, dtype=np.float32)[:, None]
    metrics = recording_metrics(*alone)
    assert metrics.pop("classes_scored") == 0
    assert all(np.isnan(value) for value in metrics.values())
    drawn = resampled_metrics(*alone, draw_resamples(5, 20))
    assert all(np.isnan(value_B).all() for value_B in drawn.of_all.values())


def test_a_class_that_all_rows_have_is_left_out_of_cmap(primary: Ints, scores: Floats) -> None:
    truth = one_hot(primary)
    everywhere = np.hstack([truth, np.ones((N, 1), bool)]), np.hstack([scores, scores[:, :1]])
    assert cmap(*everywhere) == cmap(truth, scores)
