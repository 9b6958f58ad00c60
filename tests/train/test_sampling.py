"""Which recordings an epoch draws, and where in them its clips lie, against slow obvious references."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import scipy.stats

from params import SamplingParams
from train.draws import Ints, Purpose, uniform
from train.sampling import Sampler, clip_positions, clip_starts, covering_starts, effective_counts, recording_weights

LONG_TAIL = np.repeat([0, 1, 2, 3], [50, 20, 5, 1])


def sampling(weighted: bool, exponent: float = 0.5, clips: int | None = None) -> SamplingParams:
    return SamplingParams(clips_per_epoch=clips, weighted=weighted, exponent=exponent)


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.0])
def test_a_recording_weighs_its_class_share_to_the_minus_exponent(exponent: float) -> None:
    counts = Counter(LONG_TAIL.tolist())
    weights = [(counts[label] / len(LONG_TAIL)) ** -exponent for label in LONG_TAIL.tolist()]
    expected = [weight / sum(weights) for weight in weights]
    assert recording_weights(LONG_TAIL, exponent) == pytest.approx(expected, rel=1e-12)


def test_a_class_between_the_others_may_have_no_recording() -> None:
    weights = recording_weights(np.array([0, 0, 2]), 1.0)
    assert weights == pytest.approx([0.25, 0.25, 0.5])


def test_exponent_one_draws_all_classes_alike_and_zero_as_they_come() -> None:
    alike, as_they_come = (
        effective_counts(LONG_TAIL, recording_weights(LONG_TAIL, exponent), 76, 5) for exponent in (1.0, 0.0)
    )
    assert alike == pytest.approx([19, 19, 19, 19, 0])
    assert as_they_come == pytest.approx([50, 20, 5, 1, 0])


def test_a_weighted_epoch_draws_each_class_as_often_as_expected() -> None:
    sampler = Sampler(LONG_TAIL, sampling(weighted=True, clips=40_000), seed=1)
    drawn = np.bincount(LONG_TAIL[sampler.recordings(0)], minlength=4)
    expected = effective_counts(LONG_TAIL, sampler.probability_N, sampler.clips, 4)
    assert scipy.stats.chisquare(drawn, expected).pvalue > 1e-3


def test_a_weighted_epoch_draws_recordings_of_a_class_alike() -> None:
    sampler = Sampler(LONG_TAIL, sampling(weighted=True, clips=40_000), seed=1)
    drawn = np.bincount(sampler.recordings(3), minlength=len(LONG_TAIL))[:50]
    assert scipy.stats.chisquare(drawn).pvalue > 1e-3


def test_an_unweighted_epoch_draws_each_recording_once() -> None:
    drawn = Sampler(LONG_TAIL, sampling(weighted=False), seed=1).recordings(0)
    assert sorted(drawn) == list(range(len(LONG_TAIL)))
    assert not np.array_equal(drawn, np.arange(len(LONG_TAIL)))


@pytest.mark.parametrize("clips", [10, 76, 100, 230])
def test_unweighted_rounds_draw_each_recording_once_before_any_again(clips: int) -> None:
    drawn = Sampler(LONG_TAIL, sampling(weighted=False, clips=clips), seed=1).recordings(0)
    assert len(drawn) == clips
    for begin in range(0, clips, len(LONG_TAIL)):
        one_round = drawn[begin : begin + len(LONG_TAIL)].tolist()
        assert len(set(one_round)) == len(one_round)


def test_unweighted_rounds_and_epochs_have_orders_of_their_own() -> None:
    sampler = Sampler(LONG_TAIL, sampling(weighted=False, clips=2 * len(LONG_TAIL)), seed=1)
    first, second = np.split(sampler.recordings(0), 2)
    assert not np.array_equal(first, second)
    assert not np.array_equal(sampler.recordings(0), sampler.recordings(1))
    assert np.array_equal(sampler.recordings(1), sampler.recordings(1))


def test_partners_come_with_replacement_by_the_same_weights() -> None:
    sampler = Sampler(LONG_TAIL, sampling(weighted=True), seed=1)
    partners = sampler.draw(0, np.arange(40_000), Purpose.PARTNER)
    expected = effective_counts(LONG_TAIL, sampler.probability_N, 40_000, 4)
    assert scipy.stats.chisquare(np.bincount(LONG_TAIL[partners]), expected).pvalue > 1e-3


@pytest.mark.parametrize(
    ("frames", "loop", "allowed"),
    [
        (14, False, range(5)),
        (11, True, range(2)),
        (10, False, range(1)),
        (10, True, range(1)),
        (5, False, range(-5, 1)),
        (5, True, range(5)),
        (1, False, range(-9, 1)),
        (1, True, range(1)),
    ],
)
def test_clips_of_ten_frames_begin_everywhere_they_may_alike(frames: int, loop: bool, allowed: range) -> None:
    """They lie inside a longer recording; a shorter one lies inside them, or is repeated from any of its frames."""
    draws = uniform(1, 0, np.arange(20_000), Purpose.START)[:, 0]
    starts = clip_starts(np.full(len(draws), frames), 10, loop, draws)
    assert set(starts.tolist()) == set(allowed)
    expected = len(draws) / len(allowed)
    assert np.abs(np.bincount(starts - allowed[0]) - expected).max() < 5 * np.sqrt(expected)


def test_the_ends_of_a_draw_stay_inside_the_recording() -> None:
    ends = np.array([0.0, np.nextafter(1.0, 0.0)])
    assert clip_starts(np.full(2, 14), 10, False, ends).tolist() == [0, 4]
    assert clip_starts(np.full(2, 4), 10, False, ends).tolist() == [-6, 0]
    assert clip_starts(np.full(2, 4), 10, True, ends).tolist() == [0, 3]


@pytest.mark.parametrize("loop", [False, True])
def test_positions_equal_a_slow_reference(loop: bool) -> None:
    rng = np.random.default_rng(2)
    frames = rng.integers(1, 30, 200)
    starts = clip_starts(frames, 12, loop, rng.random(200))
    positions = clip_positions(starts, frames, 12, loop)
    for start, length, position in zip(starts, frames, positions, strict=True):
        assert position.tolist() == slow_positions(int(start), int(length), 12, loop)


def slow_positions(start: int, length: int, clip_frames: int, loop: bool) -> list[int]:
    recording = list(range(length))
    found = []
    for place in range(start, start + clip_frames):
        if loop:
            found.append(recording[place % length])
        else:
            found.append(recording[place] if 0 <= place < length else -1)
    return found


def test_a_padded_clip_holds_the_whole_short_recording_once() -> None:
    starts = np.arange(-6, 1)
    for position in clip_positions(starts, np.full(7, 4), 10, loop=False):
        assert [frame for frame in position.tolist() if frame >= 0] == [0, 1, 2, 3]


@pytest.mark.parametrize("frames", [1, 9, 10, 11, 19, 20, 21, 55])
def test_covering_clips_leave_no_frame_out_and_stay_inside(frames: int) -> None:
    starts = covering_starts(frames, 10)
    covered = {frame for start in starts.tolist() for frame in range(start, start + 10)}
    assert covered >= set(range(frames))
    assert len(starts) == max(1, -(-frames // 10))
    assert starts[0] == 0
    assert starts[-1] == max(0, frames - 10)
    assert is_rising(starts)


def is_rising(values: Ints) -> bool:
    return bool((np.diff(values) > 0).all())
