"""Metrics of resamples against the metrics of the recordings that each resample holds, written out."""

from __future__ import annotations

import numpy as np
import pytest

from birdcache.arrays import Bools, Floats32, Ints
from train.score.bootstrap import (
    Resampled,
    draw_resamples,
    draw_whole,
    interval,
    resampled_metrics,
    resampled_windows,
)
from train.score.metrics import class_metrics, recording_metrics, window_metrics

N, K, RESAMPLES = 60, 6, 25


def cases(ties: bool) -> tuple[Ints, Bools, Floats32]:
    """Recordings of every class but the last, some with secondary labels; scores with ties, ones and zeros, or not."""
    rng = np.random.default_rng(1)
    primary = rng.integers(0, K - 1, N)
    secondary = rng.random((N, K)) < 0.05
    secondary[np.arange(N), primary] = False
    scores = rng.random((N, K)).astype(np.float32)
    scores[np.arange(N), primary] += 0.3
    shown = np.clip(np.round(scores, 1), 0, 1) if ties else scores / 2
    return primary, secondary, shown.astype(np.float32)


def resampled(ties: bool) -> tuple[Resampled, list[Ints]]:
    primary, secondary, scores = cases(ties)
    counts_BN = draw_resamples(N, RESAMPLES)
    held = [np.repeat(np.arange(N), counts_N.astype(int)) for counts_N in counts_BN]
    return resampled_metrics(primary, secondary, scores, counts_BN), held


@pytest.mark.parametrize("ties", [False, True])
def test_each_resample_has_the_metrics_of_the_recordings_that_it_holds(ties: bool) -> None:
    primary, secondary, scores = cases(ties)
    found, held = resampled(ties)
    for number, rows in enumerate(held):
        expected = recording_metrics(primary[rows], secondary[rows], scores[rows])
        for name, values_B in found.of_all.items():
            assert values_B[number] == pytest.approx(expected[name], abs=1e-6), name
        truth_NK = primary[rows, None] == np.arange(K)
        _, precision_K, _ = class_metrics(truth_NK, scores[rows], ~secondary[rows])
        np.testing.assert_allclose(found.average_precision[number], precision_K, atol=1e-6)


def test_a_resample_holds_as_many_recordings_as_there_are_and_is_the_same_each_time() -> None:
    counts_BN = draw_resamples(N, RESAMPLES)
    assert (counts_BN.sum(axis=1) == N).all()
    assert np.array_equal(counts_BN, draw_resamples(N, RESAMPLES))
    assert (counts_BN[0] != counts_BN[1]).any()


def test_an_interval_holds_95_percent_of_what_is_known() -> None:
    low, high = interval(np.array([*range(1001), np.nan]))
    assert (low, high) == (25, 975)
    assert np.isnan(interval(np.array([np.nan, np.nan]))).all()


def test_the_interval_of_some_classes_is_that_of_their_mean() -> None:
    found, _ = resampled(ties=False)
    chosen = np.array([True, True, False, False, False, False])
    assert found.of_classes(chosen) == interval(found.average_precision[:, :2].mean(axis=1))
    nobody = np.zeros(K, bool)
    nobody[K - 1] = True  # the class without a recording
    assert np.isnan(found.of_classes(nobody)).all()
    assert np.isnan(found.of_classes(np.zeros(K, bool))).all()


def test_each_resample_of_windows_holds_whole_soundscapes_and_has_their_metrics() -> None:
    rng = np.random.default_rng(3)
    soundscapes = np.repeat([0, 1, 2, 3], [20, 10, 15, 15])
    truth, scores = rng.random((N, K)) < 0.2, rng.random((N, K)).astype(np.float32)
    truth[:, K - 1] = False
    counts_BN = draw_whole(soundscapes, RESAMPLES)
    found = resampled_windows(truth, scores, counts_BN)
    assert set(found.of_all) == {"macro_roc_auc", "cmap"}
    for number, counts_N in enumerate(counts_BN.astype(int)):
        assert all(len(set(counts_N[soundscapes == each])) == 1 for each in range(4))
        assert sum(counts_N[soundscapes == each][0] for each in range(4)) == 4
        rows = np.repeat(np.arange(N), counts_N)
        expected = window_metrics(truth[rows], scores[rows])
        for name, values_B in found.of_all.items():
            assert values_B[number] == pytest.approx(expected[name], abs=1e-6), name


def test_more_recordings_are_surer() -> None:
    rng = np.random.default_rng(2)
    widths = []
    for count in (50, 5000):
        primary = rng.integers(0, 2, count)
        scores = rng.random((count, 2)).astype(np.float32)
        found = resampled_metrics(primary, np.zeros((count, 2), bool), scores, draw_resamples(count, 50))
        low, high = found.intervals()["macro_roc_auc"]
        assert low < 0.5 < high
        widths.append(high - low)
    assert widths[0] > 4 * widths[1]
