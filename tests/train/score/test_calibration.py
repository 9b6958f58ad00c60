"""Calibration by hand, and by scikit-learn's logistic regression."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.linear_model

from birdcache.arrays import Bools, Floats32
from birdcache.params.sections import CalibrationKind
from birdcache.predict.calibrator import UNCALIBRATED, logits_of
from train.score.blend import HeldOut
from train.score.calibration import KINDS, calibration, calibration_tables, cross_calibrated, fit_calibrator
from train.score.metrics import window_metrics


def test_bins_hold_the_recordings_by_the_score_of_their_best_class() -> None:
    scores = np.array([[0.95, 0.05], [0.05, 0.93], [0.62, 0.1], [0.1, 1.0]], np.float32)
    found = calibration(np.array([0, 0, 0, 1]), scores)
    assert [each.recordings for each in found.bins] == [1, 3]
    assert found.bins[1].mean_score == pytest.approx((0.95 + 0.93 + 1) / 3)
    assert found.bins[1].accuracy == pytest.approx(2 / 3)
    assert found.error == pytest.approx((1 * abs(0.62 - 1) + 3 * abs(0.96 - 2 / 3)) / 4)


def test_scores_that_mean_what_they_say_have_no_error() -> None:
    scores = np.tile(np.array([[0.75, 0.25]], np.float32), (4, 1))
    assert calibration(np.array([0, 0, 0, 1]), scores).error == pytest.approx(0)


def test_scores_of_nothing_have_no_bins() -> None:
    found = calibration(np.array([], np.int64), np.empty((0, 2), np.float32))
    assert found.bins == ()
    assert found.error == 0


def test_a_score_that_rounding_lifts_above_one_counts_as_one() -> None:
    above = np.nextafter(np.float32(1), np.float32(2))
    assert calibration(np.array([0]), np.array([[above, 0]], np.float32)).bins == ((1, 1.0, 1.0),)


def test_bins_of_any_scores_hold_all_recordings_and_their_means() -> None:
    rng = np.random.default_rng(1)
    scores, primary = rng.random((500, 3)).astype(np.float32), rng.integers(0, 3, 500)
    scores[:20] = np.linspace(0.05, 1, 20)[:, None]  # on borders of bins too
    bins = calibration(primary, scores).bins
    assert sum(each.recordings for each in bins) == 500
    assert sum(each.recordings * each.mean_score for each in bins) == pytest.approx(scores.max(axis=1).sum())
    right = (scores.argmax(axis=1) == primary).sum()
    assert sum(each.recordings * each.accuracy for each in bins) == pytest.approx(right)


@pytest.fixture
def timid() -> HeldOut:
    """Scores of one member whose logits are a third of what they should be, and too low: (1, 600, 4)."""
    rng = np.random.default_rng(3)
    logits = rng.normal(-1, 2.5, (600, 4))
    truth = rng.random((600, 4)) < 1 / (1 + np.exp(-logits))
    scores = (1 / (1 + np.exp(-(logits / 3 - 1)))).astype(np.float32)
    return HeldOut(scores[None], truth, np.ones_like(truth), np.arange(600) % 3)


def test_the_shared_fit_is_that_of_logistic_regression(timid: HeldOut) -> None:
    found = fit_calibrator(timid.scores[0], timid.truth, timid.known, "shared")
    oracle = sklearn.linear_model.LogisticRegression(C=1e9, tol=1e-8)
    oracle.fit(logits_of(timid.scores[0]).reshape(-1, 1), timid.truth.ravel())
    assert list(found.slopes) == pytest.approx([oracle.coef_[0, 0]] * 4, rel=1e-3)
    assert list(found.offsets) == pytest.approx([oracle.intercept_[0]] * 4, rel=1e-3)
    assert found.slopes[0] == pytest.approx(3, abs=0.4)
    assert found.offsets[0] == pytest.approx(3, abs=0.4)


def test_calibrated_scores_are_right_as_often_as_they_say(timid: HeldOut) -> None:
    before, after = timid.scores[0], cross_calibrated(timid.scores[0], timid, "shared")
    for low in np.arange(0, 1, 0.2):
        inside = (after >= low) & (after < low + 0.2)
        assert timid.truth[inside].mean() == pytest.approx(after[inside].mean(), abs=0.08)
    assert abs(timid.truth[before > 0.4].mean() - before[before > 0.4].mean()) > 0.3


@pytest.mark.parametrize("kind", KINDS)
def test_calibration_keeps_the_order_of_each_class(timid: HeldOut, kind: CalibrationKind) -> None:
    found = fit_calibrator(timid.scores[0], timid.truth, timid.known, kind)
    before, after = (window_metrics(timid.truth, each) for each in (timid.scores[0], found(timid.scores[0])))
    assert after["macro_roc_auc"] == pytest.approx(before["macro_roc_auc"], abs=1e-6)


def test_slopes_never_turn_the_order_around(timid: HeldOut) -> None:
    assert min(fit_calibrator(1 - timid.scores[0], timid.truth, timid.known, "shared").slopes) == pytest.approx(0.01)


def slopes(truth: Bools, scores: Floats32, positives: int) -> tuple[float, float]:
    """The slope of class 0 fitted with so many of its positives, and the common one."""
    known = np.ones_like(truth)
    known[np.flatnonzero(truth[:, 0])[positives:], 0] = False
    shared, own = fit_calibrator(scores, truth, known, "shared"), fit_calibrator(scores, truth, known, "class")
    return own.slopes[0], shared.slopes[0]


def test_classes_with_few_positives_are_drawn_to_what_all_have_in_common(timid: HeldOut) -> None:
    scores = timid.scores[0].copy()
    scores[:, 0] = 1 / (1 + np.exp(-logits_of(scores[:, 0]) / 2))  # this class needs a slope of 6, the others 3
    few, many = (slopes(timid.truth, scores, positives) for positives in (3, 200))
    assert many[0] - many[1] > 2.5
    assert 0 < few[0] - few[1] < 1


def test_a_class_without_positives_has_what_all_have_in_common(timid: HeldOut) -> None:
    truth = timid.truth.copy()
    truth[:, 2] = False
    shared = fit_calibrator(timid.scores[0], truth, timid.known, "shared")
    own = fit_calibrator(timid.scores[0], truth, timid.known, "class")
    assert (own.slopes[2], own.offsets[2]) == (shared.slopes[2], shared.offsets[2])


def test_nothing_to_learn_from_leaves_scores_as_they_are(timid: HeldOut) -> None:
    nothing = np.zeros_like(timid.truth)
    assert fit_calibrator(timid.scores[0], nothing, timid.known, "class") == UNCALIBRATED
    assert fit_calibrator(timid.scores[0], timid.truth, timid.known, "none") == UNCALIBRATED
    assert UNCALIBRATED(timid.scores) is timid.scores


def test_a_fold_is_calibrated_by_the_others(timid: HeldOut) -> None:
    spoilt = HeldOut(timid.scores, timid.truth.copy(), timid.known, timid.fold)
    spoilt.truth[timid.fold == 1] ^= True
    found, expected = (cross_calibrated(timid.scores[0], each, "class") for each in (spoilt, timid))
    assert np.array_equal(found[timid.fold == 1], expected[timid.fold == 1])
    assert not np.array_equal(found[timid.fold == 0], expected[timid.fold == 0])


def test_the_table_compares_all_kinds(timid: HeldOut) -> None:
    table, bins = calibration_tables(timid.scores[0], timid, "shared")
    table = table.set_index("calibration")
    assert table["used"].to_dict() == {"none": "no", "shared": "yes", "class": "no"}
    wrong = timid.scores[0] - timid.truth
    assert table["brier"]["none"] == pytest.approx((wrong**2).mean(), rel=1e-4)
    assert table["log_loss"]["shared"] < 0.8 * table["log_loss"]["none"]
    assert table["brier"]["shared"] < table["brier"]["none"]
    for kind in KINDS:
        of_kind = bins[bins["calibration"] == kind]
        expected = calibration(timid.truth.argmax(axis=1), cross_calibrated(timid.scores[0], timid, kind))
        assert [tuple(row) for row in of_kind.iloc[:, 1:].to_numpy()] == [tuple(each) for each in expected.bins]
        assert table["expected_error"][kind] == expected.error
