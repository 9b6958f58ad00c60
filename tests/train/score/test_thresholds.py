"""Thresholds of the best F1, and what becomes of classes that teach little."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import sklearn.metrics

from birdcache.arrays import Bools, Floats32
from train.score.thresholds import fit_thresholds, quality_at, wished_threshold


def slow_best(truth: Bools, scores: Floats32) -> float:
    """The best F1 of any threshold."""
    return max(float(sklearn.metrics.f1_score(truth, scores >= each)) for each in scores)


@pytest.mark.parametrize("seed", range(8))
def test_no_threshold_has_a_better_f1(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.random(40) < 0.3
    truth[0] = True
    scores = np.round(rng.random(40) * 0.7 + truth * 0.2, 1 + seed % 3).astype(np.float32)  # with equal scores
    threshold = wished_threshold(truth, scores)
    assert sklearn.metrics.f1_score(truth, scores >= threshold) == pytest.approx(slow_best(truth, scores))
    assert quality_at(truth, scores, threshold)[0] == pytest.approx(slow_best(truth, scores))
    assert not np.isin(threshold, scores), "halfway between two scores, so that neither is cut by rounding"


def test_of_thresholds_alike_the_highest_is_taken() -> None:
    truth, scores = np.array([True, False, False, True]), np.array([0.9, 0.7, 0.5, 0.3], np.float32)
    # F1 is 2/3 from 0.9 on, and 2/3 from 0.3 on
    assert wished_threshold(truth, scores) == pytest.approx(0.8)


def test_a_threshold_lies_halfway_between_what_it_parts() -> None:
    truth, scores = np.array([True, True, False]), np.array([0.8, 0.6, 0.2], np.float32)
    assert wished_threshold(truth, scores) == pytest.approx(0.4)
    assert wished_threshold(np.array([True, True]), np.array([0.8, 0.6], np.float32)) == pytest.approx(0.3)


RANKED_TRUTH = np.array([True, True, False, True, False, False])
RANKED = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4], np.float32)


@pytest.mark.parametrize(
    ("wish", "threshold", "precision", "recall"),
    [
        ({"precision": 0.9}, 0.75, 1.0, 2 / 3),
        ({"precision": 0.75}, 0.55, 0.75, 1.0),  # 2 of 3 above 0.65 would be too few, 3 of 4 are enough again
        ({"precision": 0.0}, 0.2, 0.5, 1.0),
        ({"recall": 0.5}, 0.75, 1.0, 2 / 3),
        ({"recall": 1.0}, 0.55, 0.75, 1.0),
        ({"recall": 0.0}, 0.85, 1.0, 1 / 3),
    ],
)
def test_a_threshold_meets_the_wish(
    wish: dict[Literal["precision", "recall"], float], threshold: float, precision: float, recall: float
) -> None:
    found = wished_threshold(RANKED_TRUTH, RANKED, wish)
    assert found == pytest.approx(threshold)
    assert quality_at(RANKED_TRUTH, RANKED, found)[1:] == pytest.approx((precision, recall))


def test_where_no_threshold_has_the_wished_precision_the_most_precise_one_is_taken() -> None:
    truth, scores = np.array([False, True, False]), np.array([0.9, 0.8, 0.2], np.float32)
    assert wished_threshold(truth, scores, {"precision": 0.9}) == pytest.approx(0.5)


def test_nothing_called_has_no_precision() -> None:
    f1, precision, recall = quality_at(RANKED_TRUTH, RANKED, 0.95)
    assert (f1, recall) == (0, 0)
    assert np.isnan(precision)


@pytest.fixture
def scores() -> Floats32:
    return np.random.default_rng(5).random((50, 4)).astype(np.float32)


@pytest.fixture
def truth() -> Bools:
    """No positive, one, all, and a third."""
    rng = np.random.default_rng(6)
    truth = np.zeros((50, 4), bool)
    truth[7, 1] = truth[:, 2] = True
    truth[:, 3] = rng.random(50) < 0.3
    return truth


def test_classes_without_positives_or_negatives_have_the_common_threshold(truth: Bools, scores: Floats32) -> None:
    found = fit_thresholds(truth, scores, np.ones_like(truth), prior=10)
    common = wished_threshold(truth.ravel(), scores.ravel())
    assert found["threshold"][[0, 2]].tolist() == pytest.approx([common, common])
    assert found.loc[[0, 2], ["own_threshold", "f1", "precision", "recall"]].isna().all(axis=None)
    assert found["positives"].tolist() == [0, 1, 50, truth[:, 3].sum()]


def test_own_thresholds_are_drawn_to_the_common_one_the_more_the_fewer_positives(
    truth: Bools, scores: Floats32
) -> None:
    found = fit_thresholds(truth, scores, np.ones_like(truth), prior=10)
    common = wished_threshold(truth.ravel(), scores.ravel())
    for label in (1, 3):
        own, positives = wished_threshold(truth[:, label], scores[:, label]), truth[:, label].sum()
        assert found["own_threshold"][label] == pytest.approx(own)
        assert found["threshold"][label] == pytest.approx((positives * own + 10 * common) / (positives + 10))
        assert found["f1"][label] == pytest.approx(
            sklearn.metrics.f1_score(truth[:, label], scores[:, label] >= found["threshold"][label])
        )
    alone = fit_thresholds(truth, scores, np.ones_like(truth), prior=0).loc[[1, 3]]
    assert alone["threshold"].tolist() == pytest.approx(alone["own_threshold"].tolist())


def test_what_is_not_known_does_not_count(truth: Bools, scores: Floats32) -> None:
    known = np.ones_like(truth)
    known[10:30, 3] = False
    spoilt = scores.copy()
    spoilt[10:30, 3] = truth[10:30, 3]
    found, expected = (fit_thresholds(truth, each, known, prior=3) for each in (spoilt, scores))
    assert found["threshold"].equals(expected["threshold"])
    assert found["positives"][3] == truth[:, 3].sum() - truth[10:30, 3].sum()


def test_a_class_whose_negatives_are_not_known_has_the_common_threshold(truth: Bools, scores: Floats32) -> None:
    known = np.ones_like(truth)
    known[:, 3] = truth[:, 3]
    assert np.isnan(fit_thresholds(truth, scores, known, prior=3)["own_threshold"][3])


def test_without_any_positive_all_thresholds_are_a_half(scores: Floats32) -> None:
    found = fit_thresholds(np.zeros((50, 4), bool), scores, np.ones((50, 4), bool), prior=3)
    assert found["threshold"].tolist() == [0.5] * 4
    nothing = np.zeros((0, 4), bool)
    assert fit_thresholds(nothing, scores[:0], nothing, prior=3)["threshold"].tolist() == [0.5] * 4
