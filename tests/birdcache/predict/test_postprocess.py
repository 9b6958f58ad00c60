"""Windows out of clips, and what is done to them, against sums written out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from birdcache.predict.calibrator import Calibrator
from birdcache.predict.postprocess import (
    Cutting,
    PostProcessing,
    by_soundscape,
    nearest_clips,
    padded,
    smoothed,
    times_file_maximum,
    window_scores,
    windows_in,
)
from train.score.metrics import class_metrics


def column(*values: float) -> np.ndarray:
    return np.array(values, np.float32)[:, None]


@pytest.mark.parametrize(
    ("cutting", "duration_s", "expected"),
    [
        (Cutting(5.0, 5.0), 15.0, [2.5, 7.5, 12.5]),
        (Cutting(5.0, 2.5), 15.0, [2.5, 5.0, 7.5, 10.0, 12.5]),
        (Cutting(5.0, 2.0), 10.0, [2.5, 4.5, 6.5, 7.5]),
        (Cutting(5.0, 3.0), 15.0, [2.5, 5.5, 8.5, 11.5, 12.5]),
        (Cutting(5.0, 2.5), 1.0, [2.5]),
        (Cutting(0.3, 0.1), 0.9, [0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75]),
    ],
)
def test_clips_stand_every_hop_from_the_first_window_to_the_last(
    cutting: Cutting, duration_s: float, expected: list[float]
) -> None:
    assert cutting.middles_s(duration_s) == pytest.approx(expected)


def test_every_window_has_a_clip_of_its_own_or_is_overlapped() -> None:
    for hop_s in (5.0, 4.9, 3.3, 2.5, 0.7):
        middle_s = Cutting(5.0, hop_s).middles_s(60.0)
        found = window_scores(middle_s, np.ones((len(middle_s), 1), np.float32), 12, 5.0)
        assert found == pytest.approx(np.ones((12, 1)))


def test_clips_are_as_they_are_and_moved() -> None:
    assert Cutting(5.0, 2.5).moves_s == (0.0,)
    assert Cutting(5.0, 2.5, (1.0, -1.0)).moves_s == (0.0, 1.0, -1.0)


def test_one_clip_a_window_is_its_score() -> None:
    scores = np.random.default_rng(1).random((12, 3)).astype(np.float32)
    assert np.array_equal(window_scores(Cutting(5.0, 5.0).middles_s(60), scores, 12, 5.0), scores)


def test_overlap_is_weighed_by_hand() -> None:
    """Clips of five seconds around 2.5, 5, 7.5, 10 and 12.5 s: half of the second lies in each of two windows."""
    middle_s = Cutting(5.0, 2.5).middles_s(15.0)
    found = window_scores(middle_s, column(1, 2, 4, 8, 16), 3, 5.0)[:, 0]
    expected = [(1 + 2 / 2) / 1.5, (2 / 2 + 4 + 8 / 2) / 2, (8 / 2 + 16) / 1.5]
    assert found == pytest.approx(expected)


def slow_window_scores(middle_s: np.ndarray, scores: np.ndarray, windows: int, window_s: float) -> np.ndarray:
    result = np.zeros((windows, *scores.shape[1:]))
    for window in range(windows):
        weights = [
            max(
                0.0, min(middle + window_s / 2, (window + 1) * window_s) - max(middle - window_s / 2, window * window_s)
            )
            for middle in middle_s
        ]
        result[window] = sum(weight * score for weight, score in zip(weights, scores, strict=True)) / sum(weights)
    return result


@pytest.mark.parametrize("hop_s", [5.0, 4.0, 2.5, 1.7, 0.5])
def test_any_hop_agrees_with_overlaps_one_by_one(hop_s: float) -> None:
    middle_s = Cutting(5.0, hop_s).middles_s(27.0)
    scores = np.random.default_rng(2).random((len(middle_s), 2, 3)).astype(np.float32)
    windows = windows_in(27.0, 5.0)
    assert window_scores(middle_s, scores, windows, 5.0) == pytest.approx(
        slow_window_scores(middle_s, scores, windows, 5.0), abs=1e-6
    )


@pytest.mark.parametrize(
    ("hop_s", "expected"), [(2.5, [0, 2, 4]), (5.0, [0, 1, 2]), (2.0, [0, 2, 5]), (3.0, [0, 2, 4])]
)
def test_the_nearest_clip_speaks_for_its_window_alone(hop_s: float, expected: list[int]) -> None:
    middle_s = Cutting(5.0, hop_s).middles_s(15.0)
    scores = np.arange(len(middle_s), dtype=np.float32)[:, None]
    slow = [int(np.abs(middle_s - middle).argmin()) for middle in (2.5, 7.5, 12.5)]
    assert nearest_clips(middle_s, scores, 3, 5.0)[:, 0].tolist() == expected == slow


def test_smoothing_by_hand() -> None:
    found = smoothed(column(1, 0, 0, 2), 0.1)[:, 0]
    assert found == pytest.approx([0.8 / 0.9, 0.1, 0.2, 1.6 / 0.9])


def test_smoothing_leaves_what_is_constant_alone_and_what_is_off() -> None:
    constant = np.full((6, 2), 0.3, np.float32)
    for share in (0.0, 0.1, 0.25, 0.5):
        assert smoothed(constant, share) == pytest.approx(constant)
        assert smoothed(constant[:1], share) == pytest.approx(constant[:1])
        assert smoothed(constant[:0], share).shape == (0, 2)
    scores = np.random.default_rng(3).random((5, 2)).astype(np.float32)
    before = scores.copy()
    assert np.array_equal(smoothed(scores, 0.0), before)
    smoothed(scores, 0.3)
    assert np.array_equal(scores, before), "its argument stays as it was"


def test_smoothing_by_a_half_hears_only_the_neighbours() -> None:
    assert smoothed(column(1, 5, 3), 0.5)[:, 0].tolist() == [5, 2, 5]


def test_taps_are_a_convolution_whose_rest_at_the_ends_is_scaled_to_one() -> None:
    scores, taps = np.random.default_rng(5).random((9, 2)).astype(np.float32), [0.05, 0.25, 0.4, 0.2, 0.1]
    found = smoothed(scores, taps)
    weights = np.convolve(np.ones(9), taps[::-1], mode="same")  # which turns its kernel round
    for label in range(2):
        sums = np.convolve(scores[:, label], taps[::-1], mode="same")
        np.testing.assert_allclose(found[:, label], sums / weights, rtol=1e-5)
    assert np.array_equal(smoothed(scores, [0.2, 0.6, 0.2]), smoothed(scores, 0.2))
    for short in (0, 1, 2):
        assert smoothed(np.full((short, 2), 0.3, np.float32), taps) == pytest.approx(np.full((short, 2), 0.3))


def test_each_class_may_have_taps_of_its_own() -> None:
    scores = np.random.default_rng(5).random((9, 3)).astype(np.float32)
    kernels: list[float | list[float]] = [0.1, [0.05, 0.25, 0.4, 0.2, 0.1], 0.0]
    taps = padded(kernels)
    assert taps == [[0, 0.1, 0.8, 0.1, 0], [0.05, 0.25, 0.4, 0.2, 0.1], [0, 0, 1, 0, 0]]
    for windows in (9, 2, 1, 0):
        found = smoothed(scores[:windows], taps)
        for label, kernel in enumerate(kernels):
            alone = smoothed(scores[:windows, label : label + 1], kernel)
            np.testing.assert_allclose(found[:, label : label + 1], alone, rtol=1e-6)


def test_the_level_of_a_file_may_be_the_mean_of_its_highest_windows() -> None:
    scores = np.array([[0.5, 0.1], [1.0, 0.4], [0.6, 0.3]], np.float32)
    assert times_file_maximum(scores, 1.0, 2) == pytest.approx(scores * [0.8, 0.35])
    assert times_file_maximum(scores, 0.5, 9) == pytest.approx(scores * np.sqrt(scores.mean(axis=0)))
    assert PostProcessing(0.0, 1.0, top_k=2)(scores) == pytest.approx(scores * [0.8, 0.35])


def test_the_file_maximum_by_hand() -> None:
    scores = np.array([[0.5, 0.1], [1.0, 0.4]], np.float32)
    assert times_file_maximum(scores, 1.0) == pytest.approx(np.array([[0.5, 0.04], [1.0, 0.16]]))
    assert times_file_maximum(scores, 0.5) == pytest.approx(scores * np.sqrt([1.0, 0.4]))
    assert np.array_equal(times_file_maximum(scores, 0.0), scores)
    assert times_file_maximum(scores[:0], 1.0).shape == (0, 2)


def test_soundscapes_do_not_hear_each_other() -> None:
    scores = np.random.default_rng(4).random((7, 3)).astype(np.float32)
    post = PostProcessing(0.2, 1.0)
    found = by_soundscape(post, scores, [4, 1, 2])
    expected = [times_file_maximum(smoothed(part, 0.2), 1.0) for part in (scores[:4], scores[4:5], scores[5:])]
    assert np.array_equal(found, np.concatenate(expected))
    assert by_soundscape(post, scores[:0], []).shape == (0, 3)


def test_smoothing_comes_before_the_maximum() -> None:
    scores = column(0.0, 1.0, 0.0)
    smooth = np.array([0.1 / 0.9, 0.8, 0.1 / 0.9])
    assert PostProcessing(0.1, 1.0)(scores)[:, 0] == pytest.approx(smooth * 0.8)


def test_a_loudest_window_is_detected_with_the_maximum_as_without() -> None:
    thresholds = np.array([0.3, 0.7], np.float32)
    post = PostProcessing(0.0, 1.5)
    scores = np.array([[0.31, 0.69]], np.float32)
    assert (post(scores) >= post.thresholds(thresholds)).tolist() == [[True, False]]
    assert np.array_equal(PostProcessing(0.2, 0.0).thresholds(thresholds), thresholds)


def test_within_a_soundscape_the_maximum_changes_no_order() -> None:
    rng = np.random.default_rng(5)
    scores, truth = rng.random((20, 2)).astype(np.float32), rng.random((20, 2)) > 0.5
    known = np.ones_like(truth)
    plain, multiplied = (class_metrics(truth, each, known)[0] for each in (scores, times_file_maximum(scores, 2.0)))
    assert multiplied == pytest.approx(plain)


def test_scores_are_calibrated_class_by_class_before_they_are_smoothed() -> None:
    scores = np.array([[0.5, 0.5], [0.8, 0.8], [0.5, 0.5]], np.float32)
    found = PostProcessing(0.1, 0.0, Calibrator([2.0, 1.0], [0.0, np.log(4)]))(scores)
    calibrated = np.array([[0.5, 0.8], [16 / 17, 16 / 17], [0.5, 0.8]], np.float32)  # odds squared; odds times 4
    assert found == pytest.approx(smoothed(calibrated, 0.1), abs=1e-6)


def test_scores_of_zero_and_one_stay_finite_and_in_their_order() -> None:
    found = Calibrator([3.0], [-1.0])(column(0.0, 1e-9, 0.5, 1.0))
    assert np.isfinite(found).all()
    assert (np.diff(found[:, 0]) >= 0).all()
    assert found[0, 0] < 1e-6 < 1 - 1e-6 < found[-1, 0]
