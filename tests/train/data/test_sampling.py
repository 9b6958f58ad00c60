"""Which recordings an epoch draws, and where in them its clips lie, against slow obvious references."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import scipy.stats

from birdcache.arrays import Ints
from birdcache.params.recipe import SamplingParams
from train.data.random import Purpose, uniform
from train.data.sampling import (
    Sampler,
    clip_positions,
    clip_starts,
    covering_starts,
    effective_counts,
    recording_weights,
)

LONG_TAIL = np.repeat([0, 1, 2, 3], [50, 20, 5, 1])
PARTS = np.random.default_rng(3).integers(0, 7, len(LONG_TAIL))


def sampler(weighted: bool, clips: int | None = None, **changes: Any) -> Sampler:
    """A sampler of the long tail, whose recordings lie in seven parts, by the shipped knobs with changes."""
    plain = {"exponent": 0.5, "floor": 0, "order": "full", "parts_at_once": 2}
    params = SamplingParams.model_validate({"clips_per_epoch": clips, "weighted": weighted, **plain, **changes})
    return Sampler(LONG_TAIL, PARTS, params, seed=1)


def drawn_by(chosen: Sampler, epoch: int = 0) -> Ints:
    return chosen.epoch(epoch).recordings


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
    chosen = sampler(weighted=True, clips=40_000)
    drawn = np.bincount(LONG_TAIL[drawn_by(chosen)], minlength=4)
    expected = effective_counts(LONG_TAIL, chosen.probability_N, chosen.clips, 4)
    assert scipy.stats.chisquare(drawn, expected).pvalue > 1e-3


def test_a_weighted_epoch_draws_recordings_of_a_class_alike() -> None:
    drawn = np.bincount(drawn_by(sampler(weighted=True, clips=40_000), 3), minlength=len(LONG_TAIL))[:50]
    assert scipy.stats.chisquare(drawn).pvalue > 1e-3


def test_an_unweighted_epoch_draws_each_recording_once() -> None:
    drawn = drawn_by(sampler(weighted=False))
    assert sorted(drawn) == list(range(len(LONG_TAIL)))
    assert not np.array_equal(drawn, np.arange(len(LONG_TAIL)))


@pytest.mark.parametrize("clips", [10, 76, 100, 230])
def test_unweighted_rounds_draw_each_recording_once_before_any_again(clips: int) -> None:
    drawn = drawn_by(sampler(weighted=False, clips=clips))
    assert len(drawn) == clips
    for begin in range(0, clips, len(LONG_TAIL)):
        one_round = drawn[begin : begin + len(LONG_TAIL)].tolist()
        assert len(set(one_round)) == len(one_round)


def test_unweighted_rounds_and_epochs_have_orders_of_their_own() -> None:
    chosen = sampler(weighted=False, clips=2 * len(LONG_TAIL))
    first, second = np.split(drawn_by(chosen), 2)
    assert not np.array_equal(first, second)
    assert not np.array_equal(drawn_by(chosen), drawn_by(chosen, 1))
    assert np.array_equal(drawn_by(chosen, 1), drawn_by(chosen, 1))


def test_partners_come_with_replacement_by_the_same_weights() -> None:
    chosen = sampler(weighted=True, clips=40_000)
    partners = chosen.partners(0, chosen.epoch(0), np.arange(40_000))
    expected = effective_counts(LONG_TAIL, chosen.probability_N, 40_000, 4)
    assert scipy.stats.chisquare(np.bincount(LONG_TAIL[partners]), expected).pvalue > 1e-3


def test_classes_below_the_floor_count_as_if_they_had_so_many_recordings() -> None:
    """50, 20, 5 and 1 recordings with a floor of 20: an unweighted epoch draws 50, 20, 20 and 20 clips."""
    chosen = sampler(weighted=False, floor=20)
    drawn = drawn_by(chosen)
    assert np.bincount(LONG_TAIL[drawn]).tolist() == [50, 20, 20, 20]
    copies = np.bincount(drawn)
    assert set(copies[:70]) == {1}
    assert set(copies[70:75]) == {4}
    assert copies[75] == 20
    assert chosen.clips == len(drawn) == 110


def test_what_a_floor_leaves_over_goes_to_other_recordings_in_each_round() -> None:
    """5 recordings at a floor of 7: each comes once or twice, and over the epochs all come equally often."""
    chosen = sampler(weighted=False, floor=7)
    copies = np.array([np.bincount(drawn_by(chosen, epoch), minlength=76)[70:75] for epoch in range(600)])
    assert (copies.sum(axis=1) == 7).all()
    assert set(copies.flatten()) == {1, 2}
    assert scipy.stats.chisquare(copies.sum(axis=0)).pvalue > 1e-3
    rounds = drawn_by(sampler(weighted=False, floor=7, clips=2 * chosen.clips)).reshape(2, -1)
    assert (np.bincount(LONG_TAIL[rounds[1]]) == np.bincount(LONG_TAIL[rounds[0]])).all()


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_weights_with_a_floor_are_those_of_a_data_set_with_so_many_copies(exponent: float) -> None:
    """A floor of 10 over 5 and 1 recordings is the same as 2 and 10 copies of each of them."""
    copied = np.repeat([0, 1, 2, 3], [50, 20, 10, 10])
    weights = recording_weights(copied, exponent)
    expected = [*weights[:70], *np.add.reduceat(weights[70:80], range(0, 10, 2)), weights[80:].sum()]
    assert recording_weights(LONG_TAIL, exponent, floor=10) == pytest.approx(expected, rel=1e-12)


HALF = np.where(np.arange(76) % 2, 0.5, 1.0)  # every other recording is of a source that weighs half


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_the_weight_of_a_source_is_a_factor_of_a_recordings_probability(exponent: float) -> None:
    plain, halved = recording_weights(LONG_TAIL, exponent, 10), recording_weights(LONG_TAIL, exponent, 10, HALF)
    assert halved.sum() == pytest.approx(1)
    ratio = halved / plain
    assert ratio[1::2] == pytest.approx(ratio[0] / 2)
    assert ratio[::2] == pytest.approx(ratio[0])


@pytest.mark.parametrize("weight", [0.1, 0.5, 1.7, 3.0])
@pytest.mark.parametrize("floor", [0, 20])
def test_an_unweighted_round_draws_a_source_as_often_as_it_weighs(weight: float, floor: int) -> None:
    """Each recording is there the whole number below or above its expected copies, and in the mean exactly so often."""
    weight_N = np.where(np.arange(76) % 2, weight, 1.0)
    params = sampler(False, floor=floor)._params
    chosen = Sampler(LONG_TAIL, PARTS, params, 1, weight_N)
    expected = weight_N * np.repeat(np.maximum([50, 20, 5, 1], floor) / np.array([50, 20, 5, 1]), [50, 20, 5, 1])
    assert chosen.clips == round(expected.sum())
    copies = np.array([np.bincount(drawn_by(chosen, epoch), minlength=76) for epoch in range(1000)])
    assert (copies.sum(axis=1) == chosen.clips).all()
    scaled = expected * chosen.clips / expected.sum()
    assert (np.abs(copies - scaled) < 1).all()
    assert copies.mean(axis=0) == pytest.approx(scaled, abs=0.06)


def test_a_weighted_epoch_draws_by_the_weight_of_sources_too() -> None:
    chosen = Sampler(LONG_TAIL, PARTS, sampler(True, clips=40_000)._params, 1, HALF)
    drawn = np.bincount(drawn_by(chosen), minlength=76)
    assert scipy.stats.chisquare(drawn, chosen.probability_N * 40_000).pvalue > 1e-3


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("at_once", [1, 2, 3, 50])
def test_order_by_parts_draws_the_same_clips_a_few_parts_at_a_time(weighted: bool, at_once: int) -> None:
    full, chosen = sampler(weighted), sampler(weighted, order="parts", parts_at_once=at_once)
    drawn = chosen.epoch(2)
    assert sorted(drawn.recordings) == sorted(drawn_by(full, 2))
    spans = sorted(set(zip(drawn.begin.tolist(), drawn.end.tolist(), strict=True)))
    assert [end for _, end in spans[:-1]] == [begin for begin, _ in spans[1:]]
    groups = [set(PARTS[drawn.recordings[begin:end]].tolist()) for begin, end in spans]
    assert all(len(group) <= at_once for group in groups)
    assert len(set.union(*groups)) == sum(map(len, groups))  # no part in two spans
    for begin, end in spans:
        assert set(zip(drawn.begin[begin:end], drawn.end[begin:end], strict=True)) == {(begin, end)}


def test_order_by_parts_is_another_one_in_each_epoch() -> None:
    chosen = sampler(weighted=False, order="parts")
    first, again, other = (chosen.epoch(epoch).recordings for epoch in (0, 0, 1))
    assert np.array_equal(first, again)
    assert PARTS[first].tolist() != PARTS[other].tolist()
    shuffled = sampler(weighted=False, order="parts", parts_at_once=99)
    assert not np.array_equal(drawn_by(shuffled), drawn_by(shuffled, 1))
    assert not np.array_equal(drawn_by(shuffled), np.arange(len(LONG_TAIL)))


def test_partners_in_order_by_parts_come_alike_out_of_the_span_of_their_clip() -> None:
    chosen = sampler(weighted=True, order="parts", clips=40_000)
    drawn, index = chosen.epoch(0), np.arange(40_000)
    partners = chosen.partners(0, drawn, index)
    for begin, end in set(zip(drawn.begin.tolist(), drawn.end.tolist(), strict=True)):
        here = np.bincount(drawn.recordings[begin:end], minlength=len(LONG_TAIL))
        found = np.bincount(partners[begin:end], minlength=len(LONG_TAIL))
        assert not found[here == 0].any()
        assert scipy.stats.chisquare(found[here > 0], here[here > 0]).pvalue > 1e-3


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
