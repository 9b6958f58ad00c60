"""Calibration by hand."""

from __future__ import annotations

import numpy as np
import pytest

from train.score.calibration import calibration


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
