"""Augmentations of whole batches, each against a slow obvious loop over its examples in float64."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from birdcache.params.views import MelView
from cache.mel import mel_edges_hz
from train.augment import ops

B, T, M = 5, 7, 6
PLACE = [3, 0, 4]  # which of the clips get a partner, a background or noise

Floats = npt.NDArray[np.float64]
Float32s = npt.NDArray[np.float32]


@pytest.fixture
def clips() -> Float32s:
    return np.random.default_rng(11).uniform(-100, 40, (B, T, M)).astype(np.float32)


@pytest.fixture
def others() -> Float32s:
    return np.random.default_rng(12).uniform(-100, 40, (len(PLACE), T, M)).astype(np.float32)


def power_of(values_db: npt.ArrayLike) -> Floats:
    return np.asarray(10 ** (np.asarray(values_db, np.float64) / 10))


def test_power_of_decibels_is_the_textbook_one_and_turns_back(clips: Float32s) -> None:
    power = ops.to_power_(torch.tensor(clips))
    np.testing.assert_allclose(power.numpy(), power_of(clips), rtol=1e-5)
    np.testing.assert_allclose(ops.to_db_(power).numpy(), clips, atol=1e-4)


def test_no_power_at_all_is_the_front_ends_floor() -> None:
    decibel = ops.to_db_(torch.tensor([0.0, 1e-38, 1e-10, 1.0, 100.0]))
    np.testing.assert_allclose(decibel.numpy(), [-100, -100, -100, 0, 20], atol=1e-4)


@pytest.mark.parametrize("columns", [1, M])
def test_each_clip_gets_its_own_tone(clips: Float32s, columns: int) -> None:
    tone_db = np.random.default_rng(2).uniform(-20, 6, (B, columns)).astype(np.float32)
    changed = ops.change_tone_(torch.tensor(clips), torch.tensor(tone_db)).numpy()
    for b, t, m in np.ndindex(B, T, M):
        assert changed[b, t, m] == pytest.approx(clips[b, t, m] + tone_db[b, m % columns], abs=1e-4)


def test_a_low_pass_falls_by_octaves_and_distance_by_the_square_of_frequency() -> None:
    octave_M = np.array([-3.0, -1.5, -1.0, -0.2])
    for octaves, far_db in [(0.0, 0.0), (1.25, 0.0), (0.0, 8.0), (2.0, 20.0)]:
        found = ops.muffling(torch.tensor([octaves, far_db]), torch.tensor(octave_M), 12.0).numpy()
        cutoff = [-12 * max(octave + octaves, 0) for octave in octave_M]
        np.testing.assert_allclose(found, cutoff - far_db * (2.0**octave_M) ** 2, atol=1e-5)
    assert not ops.muffling(torch.zeros(2), torch.tensor(octave_M), 12.0).any()


def test_mel_bins_lie_as_many_octaves_below_the_top_as_their_middles(view: MelView) -> None:
    middles_hz = mel_edges_hz(view)[1:-1]
    np.testing.assert_allclose(view.fmax_hz * 2.0 ** ops.octaves(view), middles_hz)


def test_another_tempo_reads_between_frames_and_begins_again_where_a_clip_ends(clips: Float32s) -> None:
    faster = np.array([0.0, 0.5, -0.25, 0.1, -0.5], np.float32)
    found = ops.change_tempo(torch.tensor(clips), torch.tensor(faster)[:, None]).numpy()
    for b, t in np.ndindex(B, T):
        place = t * (1 + float(faster[b]))
        low, share = int(place), place % 1
        expected = (1 - share) * clips[b, low % T] + share * clips[b, (low + 1) % T]
        np.testing.assert_allclose(found[b, t], expected, atol=1e-3)
    assert np.array_equal(found[0], clips[0])


@pytest.mark.parametrize("smooth", [True, False])
@pytest.mark.parametrize("edges", [[0.3, 0.55, 0.9], [0.41, 1.0, 1.0], [1.0, 1.0, 1.0]])
def test_a_filter_goes_through_its_points_or_in_steps_from_edge_to_edge(smooth: bool, edges: list[float]) -> None:
    mel_bins, inner = 16, [edge for edge in edges if edge < 1]
    points = np.random.default_rng(5).uniform(-6, 6, len(edges) + 2)
    found = ops.filters(torch.tensor([[*points, *edges]]), mel_bins, smooth)[0].numpy()
    middle = (np.arange(mel_bins) + 0.5) / mel_bins
    steps = [points[sum(edge <= place for edge in inner)] for place in middle]
    expected = np.interp(middle, [0, *inner, 1], points[: len(inner) + 2]) if smooth else steps
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_style_is_the_mean_and_deviation_of_each_mel_bin_mixed_with_the_last_clips(clips: Float32s) -> None:
    share = np.array([0.0, 1.0, 0.3, 0.5, 0.9], np.float32)
    mixed = ops.mix_styles(torch.tensor(clips), torch.tensor(share[:, None])).numpy()
    for b, m in np.ndindex(B, M):
        own, other = clips[b, :, m].astype(np.float64), clips[b - 1, :, m].astype(np.float64)
        mean = (1 - share[b]) * own.mean() + share[b] * other.mean()
        deviation = (1 - share[b]) * own.std() + share[b] * other.std()
        np.testing.assert_allclose(mixed[b, :, m], (own - own.mean()) / own.std() * deviation + mean, atol=1e-3)


def test_a_silent_bin_takes_the_mean_of_a_style_and_stays_even(clips: Float32s) -> None:
    clips[1] = -100
    mixed = ops.mix_styles(torch.tensor(clips), torch.full((B, 1), 0.5)).numpy()
    np.testing.assert_allclose(mixed[1], np.broadcast_to(clips[0].mean(axis=0) / 2 - 50, (T, M)), atol=1e-3)


@pytest.mark.parametrize("columns", [1, T])
def test_clips_are_mixed_with_their_partners_by_weights_of_each_frame(
    clips: Float32s, others: Float32s, columns: int
) -> None:
    rng = np.random.default_rng(3)
    own = rng.uniform(0, 1, (B, columns)).astype(np.float32)
    other = rng.uniform(0, 4, (len(PLACE), columns)).astype(np.float32)
    tensors = (torch.tensor(each) for each in (clips, others, PLACE, own, other))
    mixed = ops.mix_(*tensors).numpy()
    for b, t, m in np.ndindex(B, T, M):
        expected = float(own[b, t % columns]) * float(clips[b, t, m])
        if b in PLACE:
            p = PLACE.index(b)
            expected += float(other[p, t % columns]) * float(others[p, t, m])
        assert mixed[b, t, m] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("snr_db", [[0.0, 3.0, -10.0], [40.0, 20.0, 0.1]])
def test_a_sound_is_added_at_the_wanted_ratio_of_mean_powers(
    clips: Float32s, others: Float32s, snr_db: list[float]
) -> None:
    power, added = power_of(clips), power_of(others)
    given = torch.tensor(power).float(), torch.tensor(added).float()
    result = ops.add_in_ratio_(*given, torch.tensor(PLACE), 10 ** (-torch.tensor(snr_db) / 10)).numpy()
    for b in range(B):
        expected = power[b]
        if b in PLACE:
            q = PLACE.index(b)
            gain = power[b].mean() / added[q].mean() * 10 ** (-snr_db[q] / 10)
            expected = power[b] + gain * added[q]
            laid_under = result[b].astype(np.float64) - power[b]
            assert 10 * np.log10(power[b].mean() / laid_under.mean()) == pytest.approx(snr_db[q], abs=0.01)
        np.testing.assert_allclose(result[b], expected, rtol=1e-4)


@pytest.mark.parametrize(("clip_db", "added_db"), [(-100.0, 20.0), (20.0, -100.0), (-100.0, -100.0), (-130.0, 40.0)])
def test_silence_under_a_sound_or_a_sound_under_silence_stays_finite(clip_db: float, added_db: float) -> None:
    power, added = (
        torch.tensor(power_of(np.full((1, T, M), level)), dtype=torch.float32) for level in (clip_db, added_db)
    )
    louder = ops.add_in_ratio_(power, added, torch.tensor([0]), torch.tensor([1.0]))
    decibel = ops.to_db_(louder).numpy()
    np.testing.assert_allclose(decibel, max(clip_db + 10 * np.log10(2), -100), atol=1e-3)


def test_spans_of_the_bank_begin_where_they_were_drawn() -> None:
    bank = np.random.default_rng(4).uniform(0, 1, (40, M)).astype(np.float32)
    start = [33, 0, 12, 12]
    spans = ops.take_spans(torch.tensor(bank), torch.tensor(start), torch.empty(len(start), T, M)).numpy()
    for q, begin in enumerate(start):
        assert np.array_equal(spans[q], bank[begin : begin + T])


def test_each_clip_is_rolled_by_its_own_shift(clips: Float32s) -> None:
    shift = [0, 1, -1, 6, -13]
    rolled = ops.roll_frames(torch.tensor(clips), torch.tensor(shift), torch.empty(B, T, M)).numpy()
    for b in range(B):
        assert np.array_equal(rolled[b], np.roll(clips[b], shift[b], axis=0))


@pytest.mark.parametrize(("with_mel", "with_time"), [(True, True), (True, False), (False, True), (False, False)])
def test_masked_bins_and_frames_become_0_and_nothing_else(clips: Float32s, with_mel: bool, with_time: bool) -> None:
    rng = np.random.default_rng(3)
    seen_mel, seen_time = rng.random((B, M)) < 0.6, rng.random((B, T)) < 0.6
    seen = (torch.tensor(each) if wanted else None for each, wanted in ((seen_mel, with_mel), (seen_time, with_time)))
    shown = np.stack([clips, -clips], axis=1)
    blanked = ops.blank_(torch.tensor(shown), *seen).numpy()
    for b, c, t, m in np.ndindex(B, 2, T, M):
        hidden = (with_mel and not seen_mel[b, m]) or (with_time and not seen_time[b, t])
        assert blanked[b, c, t, m] == (0 if hidden else shown[b, c, t, m])


def test_floats_reach_the_device_as_float32_and_other_types_as_they_are() -> None:
    cpu = torch.device("cpu")
    types = [ops.to_device(np.zeros(2, kind), cpu).dtype for kind in (np.float64, np.float32, np.int64, np.bool_)]
    assert types == [torch.float32, torch.float32, torch.int64, torch.bool]
