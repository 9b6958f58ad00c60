"""Calibration by hand, and by scikit-learn's logistic regression."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import sklearn.linear_model
from sklearn.calibration import calibration_curve

from birdcache.arrays import Bools, Floats32
from birdcache.errors import TrainError
from birdcache.params.sections import CalibrationKind, FittedOn
from birdcache.predict.calibrator import UNCALIBRATED, logits_of
from train.score.blend import Blend, HeldOut, log_loss
from train.score.calibration import (
    KINDS,
    Judged,
    calibration_tables,
    chosen,
    cross_calibrated,
    expected_error,
    fit_calibrator,
    judged_by,
    reliability,
)
from train.score.metrics import window_metrics


def one_hot(*primary: int) -> Bools:
    return np.asarray(np.array(primary)[:, None] == np.arange(2))


def test_bins_hold_the_recordings_by_the_score_of_their_best_class() -> None:
    scores = np.array([[0.95, 0.05], [0.05, 0.93], [0.62, 0.1], [0.1, 1.0]], np.float32)
    bins = reliability(one_hot(0, 0, 0, 1), scores)
    assert bins["recordings"].tolist() == [1, 3]
    assert bins["mean_score"].iloc[1] == pytest.approx((0.95 + 0.93 + 1) / 3)
    assert bins["accuracy"].iloc[1] == pytest.approx(2 / 3)
    assert expected_error(bins) == pytest.approx((1 * abs(0.62 - 1) + 3 * abs(0.96 - 2 / 3)) / 4)


def test_scores_that_mean_what_they_say_have_no_error() -> None:
    scores = np.tile(np.array([[0.75, 0.25]], np.float32), (4, 1))
    assert expected_error(reliability(one_hot(0, 0, 0, 1), scores)) == pytest.approx(0)


def test_a_window_is_right_if_its_best_class_sings_among_others_and_wrong_if_nothing_does() -> None:
    scores = np.array([[0.8, 0.7], [0.7, 0.8], [0.8, 0.1]], np.float32)
    truth = np.array([[True, True], [True, False], [False, False]])
    (found,) = reliability(truth, scores).itertuples(index=False, name=None)
    assert found == pytest.approx((3, 0.8, 1 / 3))


def test_scores_of_nothing_have_no_bins() -> None:
    bins = reliability(np.empty((0, 2), bool), np.empty((0, 2), np.float32))
    assert bins.empty
    assert expected_error(bins) == 0


def test_a_score_that_rounding_lifts_above_one_counts_as_one() -> None:
    above = np.nextafter(np.float32(1), np.float32(2))
    assert reliability(one_hot(0), np.array([[above, 0]], np.float32)).iloc[0].tolist() == [1, 1.0, 1.0]


def test_bins_of_any_scores_hold_all_recordings_and_their_means() -> None:
    rng = np.random.default_rng(1)
    scores, primary = rng.random((500, 3)).astype(np.float32), rng.integers(0, 3, 500)
    scores[:20] = np.linspace(0.05, 1, 20)[:, None]  # on borders of bins too
    bins = reliability(primary[:, None] == np.arange(3), scores)
    assert bins["recordings"].sum() == 500
    assert (bins["recordings"] * bins["mean_score"]).sum() == pytest.approx(scores.max(axis=1).sum())
    right = (scores.argmax(axis=1) == primary).sum()
    assert (bins["recordings"] * bins["accuracy"]).sum() == pytest.approx(right)
    accuracy, mean_score = calibration_curve(scores.argmax(axis=1) == primary, scores.max(axis=1), n_bins=10)
    np.testing.assert_allclose(bins[["accuracy", "mean_score"]], np.stack([accuracy, mean_score], axis=1))


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


@pytest.fixture
def judged(timid: HeldOut) -> dict[FittedOn, Judged]:
    """Recordings as above, and windows whose scores are right but for an offset of -2."""
    rng = np.random.default_rng(4)
    logits = rng.normal(-3, 2, (400, 4))
    truth = rng.random((400, 4)) < 1 / (1 + np.exp(-logits))
    scores = (1 / (1 + np.exp(2 - logits))).astype(np.float32)
    windows = HeldOut(scores[None], truth, np.ones_like(truth), np.arange(400) % 4)
    return judged_by(Blend("mean"), timid, windows)


def test_blended_windows_are_weighted_as_recordings_have_taught(timid: HeldOut) -> None:
    two = HeldOut(np.stack([1 - timid.scores[0], timid.scores[0]]), timid.truth, timid.known, timid.fold)
    members = np.random.default_rng(1).random((2, 5, 4)).astype(np.float32)
    truth = np.ones((5, 4), bool)
    windows = HeldOut(members, truth, truth, np.zeros(5, np.int64))
    best = judged_by(Blend("best", 1), two, windows)
    assert np.array_equal(best["windows"].scores, members[1])
    assert np.array_equal(best["recordings"].scores, timid.scores[0])
    assert list(judged_by(Blend("best", 1), two, HeldOut(members[:, :0], truth[:0], truth[:0], windows.fold[:0]))) == [
        "recordings"
    ]


def test_what_windows_have_taught_is_right_for_windows_and_what_recordings_have_is_not(
    judged: dict[FittedOn, Judged],
) -> None:
    scores, held = judged["windows"]
    own, other = (cross_calibrated(scores, held, "shared", taught) for taught in (None, judged["recordings"]))
    assert (logits_of(own) - logits_of(scores)).mean() == pytest.approx(2, abs=0.2)
    assert log_loss(own, held.truth, held.known) < log_loss(other, held.truth, held.known)
    taught_by, of = judged["recordings"]
    assert np.array_equal(other, fit_calibrator(taught_by, of.truth, of.known, "shared")(scores))


def windows_with(*heard: int) -> HeldOut:
    """A fold of windows for each number, in which as many of 200 windows hold a class."""
    truth = np.zeros((len(heard) * 200, 2), bool)
    for fold, count in enumerate(heard):
        truth[200 * fold : 200 * fold + count, fold % 2] = True
    of_fold = np.repeat(np.arange(len(heard)), 200)
    return HeldOut(np.zeros((1, *truth.shape), np.float32), truth, np.ones_like(truth), of_fold)


@pytest.mark.parametrize(
    ("heard", "expected"),
    [
        ((99, 1), "windows"),
        ((99, 0), "recordings"),
        ((98, 1), "recordings"),
        ((150, 0), "recordings"),
        ((), "recordings"),
    ],
)
def test_auto_fits_on_windows_in_which_enough_is_heard_at_sites_of_two_folds(
    heard: tuple[int, ...], expected: FittedOn
) -> None:
    assert chosen("auto", windows_with(*heard)) == expected
    assert chosen("recordings", windows_with(*heard)) == "recordings"


def test_windows_are_taken_if_asked_for_and_refused_if_nothing_is_heard_in_them() -> None:
    assert chosen("windows", windows_with(1)) == "windows"
    for none in (windows_with(), windows_with(0, 0)):
        with pytest.raises(TrainError, match=r"calibrate_on = 'windows': .* data.soundscape_labels, or set it to auto"):
            chosen("windows", none)


def test_the_table_compares_all_kinds_on_all_data(judged: dict[FittedOn, Judged]) -> None:
    table, bins = calibration_tables(judged, "shared", "windows")
    ways = [("none", "nothing")] + [(kind, on) for kind in ("shared", "class") for on in ("recordings", "windows")]
    assert list(table[["data", "calibration", "fitted_on"]].itertuples(index=False, name=None)) == [
        (data, *way) for data in ("recordings", "windows") for way in ways
    ]
    assert table.loc[table["used"] == "yes", "fitted_on"].tolist() == ["windows"] * 2
    table = table.set_index(["data", "calibration", "fitted_on"])
    for data, (scores, held) in judged.items():
        wrong = scores - held.truth
        cells = held.truth.reshape(-1, 1), scores.reshape(-1, 1)
        assert table["error_of_all"][data, "none", "nothing"] == expected_error(reliability(*cells))
        assert table["brier"][data, "none", "nothing"] == pytest.approx((wrong**2).mean(), rel=1e-4)
        for kind in ("shared", "class"):
            assert table["log_loss"][data, kind, data] < 0.9 * table["log_loss"][data, "none", "nothing"]
            assert table["brier"][data, kind, data] < table["brier"][data, "none", "nothing"]
            for on in judged:
                found = cross_calibrated(scores, held, kind, None if on == data else judged[on])
                expected = reliability(held.truth, found)
                of_way = bins[(bins["data"] == data) & (bins["calibration"] == kind) & (bins["fitted_on"] == on)]
                pd.testing.assert_frame_equal(of_way[list(expected)], expected)
                assert table["expected_error"][data, kind, on] == expected_error(expected)
