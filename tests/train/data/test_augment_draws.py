"""Random choices of augmentation: their laws, and that each depends on its own counters alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.stats
import torch

from birdcache.arrays import Ints
from birdcache.params.augment import (
    AugmentParams,
    BackgroundParams,
    CutmixParams,
    EqParams,
    MixstyleParams,
    NoiseParams,
    TempoParams,
)
from birdcache.params.recipe import Recipe, resolve_recipe
from birdcache.params.views import MelView
from train.augment import ops
from train.data import augment_draws as draws
from train.data.augment_draws import BANK_SPANS, RULES, Effects, Masks, Mixtures
from train.data.columns import mapped, part
from train.data.random import Purpose

MANY = np.arange(4000)
FRAMES, MEL_BINS = 40, 32

Floats = npt.NDArray[np.float64]


def augment_of(recipe: Recipe, **changes: Any) -> AugmentParams:
    return resolve_recipe(recipe, {"augment": changes}).augment


def follows(values: Floats, law: Any) -> bool:
    return bool(scipy.stats.kstest(values, law.cdf).pvalue > 1e-3)


def is_share(count: int, probability: float, of: int = len(MANY)) -> bool:
    return bool(scipy.stats.binomtest(count, of, probability).pvalue > 1e-3)


def test_each_clip_gets_at_most_one_partner_by_mixup_then_sumix_then_cutmix(recipe: Recipe) -> None:
    """The rules tell the ways apart."""
    changes = {
        "mixup": {"probability": 0.5, "labels": "lambda"},
        "sumix": {"probability": 0.2, "labels": "max"},
        "cutmix": {"probability": 0.1, "labels": "sum"},
    }
    mixtures = draws.draw_mixtures(1, 0, MANY, augment_of(recipe, **changes), FRAMES)
    counts = np.bincount(mixtures.rule[mixtures.partnered], minlength=3)
    assert all(is_share(count, share) for count, share in zip(counts, (0.5, 0.2, 0.1), strict=True))


@pytest.mark.parametrize("way", ["mixup", "sumix", "cutmix"])
@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_a_way_to_mix_is_taken_with_its_probability(recipe: Recipe, way: str, probability: float) -> None:
    mixtures = draws.draw_mixtures(1, 0, MANY, augment_of(recipe, **{way: {"probability": probability}}), FRAMES)
    assert is_share(mixtures.partnered.sum(), probability)


def test_mixup_weighs_the_clip_by_lambda_and_its_partner_by_the_rest(recipe: Recipe) -> None:
    params = augment_of(recipe, mixup={"probability": 0.5, "alpha": 0.4})
    mixtures = draws.draw_mixtures(1, 0, MANY, params, FRAMES)
    mixed = mixtures.partnered
    assert follows(mixtures.share[mixed], scipy.stats.beta(0.4, 0.4))
    np.testing.assert_allclose(mixtures.weights[:, 0], mixtures.share, rtol=1e-6)
    np.testing.assert_allclose(mixtures.weights.sum(axis=1), 1, rtol=1e-6)
    assert (mixtures.span[mixed] == [0, FRAMES]).all()
    assert (mixtures.span[~mixed] == 0).all()
    assert (mixtures.weights[~mixed] == [1, 0, 0]).all()


def test_a_third_clip_joins_a_share_of_the_mixtures_by_another_lambda(recipe: Recipe) -> None:
    changes = {"mixup": {"probability": 0.5, "alpha": 0.4, "third": 0.3}, "cutmix": {"probability": 0.3}}
    mixtures = draws.draw_mixtures(1, 0, MANY, augment_of(recipe, **changes), FRAMES)
    plain = draws.draw_mixtures(1, 0, MANY, augment_of(recipe, **changes | {"mixup": {"probability": 0.5}}), FRAMES)
    third, pair = mixtures.third, mixtures.pair_share
    assert is_share(third.sum(), 0.15)
    assert (mixtures.span[third] == [0, FRAMES]).all()
    assert follows(pair[third], scipy.stats.beta(0.4, 0.4))
    assert abs(np.corrcoef(pair[third], mixtures.share[third])[0, 1]) < 0.06
    assert (pair[~third] == 1).all()
    np.testing.assert_allclose(mixtures.weights[:, 2], 1 - pair, atol=1e-6)
    np.testing.assert_allclose(mixtures.weights[:, :2], pair[:, None] * plain.weights[:, :2], rtol=1e-6)


def test_sumix_puts_the_partner_on_top_and_its_label_has_its_share_of_the_power(recipe: Recipe) -> None:
    params = augment_of(recipe, sumix={"probability": 0.5, "gain_db": 6.0})
    mixtures = draws.draw_mixtures(1, 0, MANY, params, FRAMES)
    assert (mixtures.weights[:, 0] == 1).all()
    gain_db = 10 * np.log10(mixtures.weights[mixtures.partnered, 1].astype(np.float64))
    assert follows(gain_db, scipy.stats.uniform(-6, 12))
    np.testing.assert_allclose(mixtures.share[mixtures.partnered], 1 / (1 + 10 ** (gain_db / 10)), rtol=1e-5)


@pytest.mark.parametrize("alpha", [1.0, 0.3])
def test_cutmix_replaces_a_span_and_its_label_has_the_true_share_of_frames(recipe: Recipe, alpha: float) -> None:
    params = augment_of(recipe, cutmix={"probability": 0.5, "alpha": alpha})
    mixtures = draws.draw_mixtures(1, 0, MANY, params, FRAMES)
    share, span = mixtures.share[mixtures.partnered], mixtures.span[mixtures.partnered]
    assert (mixtures.weights[mixtures.partnered] == [0, 1, 0]).all()
    assert span.min() >= 0
    assert span.sum(axis=1).max() <= FRAMES
    np.testing.assert_allclose(share, 1 - span[:, 1] / FRAMES)
    exact = scipy.stats.beta(alpha, alpha).cdf((np.arange(FRAMES) + 0.5) / FRAMES)
    expected = np.diff(np.concatenate([[0], exact, [1]])) * len(share)
    found = np.bincount(np.rint(share * FRAMES).astype(int), minlength=FRAMES + 1)
    assert scipy.stats.chisquare(found, expected).pvalue > 1e-3


def test_a_span_of_cutmix_lies_anywhere() -> None:
    halves = np.full(len(MANY), 0.5)
    cuts = draws.draw_cuts(1, 0, MANY, halves, CutmixParams(probability=1.0, alpha=1.0, labels="max"), FRAMES)
    assert (cuts[:, 1] == FRAMES // 2).all()
    assert scipy.stats.chisquare(np.bincount(cuts[:, 0], minlength=FRAMES // 2 + 1)).pvalue > 1e-3


def test_each_way_to_mix_has_its_own_rule_for_labels(recipe: Recipe) -> None:
    for way, rule in (("mixup", "sum"), ("sumix", "lambda"), ("cutmix", "max")):
        params = augment_of(recipe, **{way: {"probability": 1.0, "labels": rule}})
        assert {RULES[number] for number in draws.draw_mixtures(1, 0, MANY, params, FRAMES).rule} == {rule}


def test_gain_is_uniform_within_its_range() -> None:
    gain_db = draws.draw_gain_db(1, 0, MANY, 6.0, Purpose.GAIN)
    assert np.abs(gain_db).max() <= 6
    assert follows(gain_db, scipy.stats.uniform(-6, 12))


def test_an_equaliser_makes_each_band_quieter_by_a_uniform_number_of_decibels() -> None:
    eq = EqParams(probability=0.4, bands=4, depth_db=20.0)
    tone_db = draws.draw_eq_db(1, 0, MANY, eq, Purpose.EQ)
    changed = tone_db[(tone_db != 0).any(axis=1)]
    assert is_share(len(changed), 0.4)
    for band_db in changed.T:
        assert follows(band_db, scipy.stats.uniform(-20, 20))


def test_an_equaliser_may_make_bands_louder_in_steps() -> None:
    eq = EqParams(probability=1.0, bands=3, depth_db=4.0, boost_db=6.0, smooth=False)
    for band_db in draws.draw_eq_db(1, 0, MANY, eq, Purpose.EQ).T:
        assert follows(band_db, scipy.stats.uniform(-4, 10))
    assert draws.band_curves(3, 7, smooth=False).tolist() == [
        [1, 1, 0, 0, 0, 0, 0], [0, 0, 1, 1, 1, 0, 0], [0, 0, 0, 0, 0, 1, 1]
    ]  # fmt: skip


def test_a_filter_has_a_drawn_number_of_bands_with_edges_anywhere() -> None:
    eq = EqParams(probability=0.5, bands=6, depth_db=6.0, boost_db=6.0, fewest_bands=3)
    numbers = draws.draw_eq_db(1, 0, MANY, eq, Purpose.EQ)
    points, edges = numbers[:, :7], numbers[:, 7:]
    assert is_share((points != 0).any(axis=1).sum(), 0.5)
    assert follows(points[points != 0], scipy.stats.uniform(-6, 12))
    bands = 1 + (edges < 1).sum(axis=1)
    assert scipy.stats.chisquare(np.bincount(bands)[3:]).pvalue > 1e-3
    assert bands.max() == 6
    assert (np.diff(edges) >= 0).all()
    assert follows(edges[edges < 1], scipy.stats.uniform(0, 1))


def test_a_style_is_mixed_by_a_symmetric_beta_and_backwards_is_a_share(recipe: Recipe) -> None:
    share = draws.draw_style(1, 0, MANY, MixstyleParams(probability=0.4, alpha=0.3))[:, 0].astype(float)
    assert is_share((share > 0).sum(), 0.4)
    assert follows(share[share > 0], scipy.stats.beta(0.3, 0.3))
    assert is_share(draws.draw_reverse(1, 0, MANY, 0.3).sum(), 0.3)


def test_a_low_pass_is_even_in_octaves_and_distance_and_tempo_in_their_numbers(recipe: Recipe) -> None:
    params = augment_of(recipe, lowpass={"probability": 0.4, "lowest_hz": 2000.0}, distance={"probability": 0.3})
    found = draws.draw_muffled(1, 0, MANY, params, 16_000.0).astype(float)
    assert found.shape == (len(MANY), 2, 2)
    for of_sound in found.transpose(1, 2, 0):
        for numbers, probability, most in zip(of_sound, (0.4, 0.3), (3, 20), strict=True):
            assert is_share((numbers > 0).sum(), probability)
            assert follows(numbers[numbers > 0], scipy.stats.uniform(0, most))
    assert abs(np.corrcoef(found[:, 0, 0], found[:, 1, 0])[0, 1]) < 5 / 60
    faster = draws.draw_tempo(1, 0, MANY, TempoParams(probability=0.6, most=0.2))[:, 0].astype(float)
    assert is_share((faster != 0).sum(), 0.6)
    assert follows(faster[faster != 0], scipy.stats.uniform(-0.2, 0.4))


@pytest.mark.parametrize(("bands", "mel_bins"), [(2, 32), (4, 32), (5, 33), (16, 8)])
def test_an_equaliser_is_linear_between_the_centres_of_its_bands_and_constant_beyond(bands: int, mel_bins: int) -> None:
    band_db = np.random.default_rng(1).uniform(-20, 0, bands)
    curve = ops.tones(torch.tensor([5.0, *band_db]), torch.tensor(draws.band_curves(bands, mel_bins)))
    width = mel_bins / bands
    for m in range(mel_bins):
        place = (m + 0.5) / width - 0.5  # in bands, from the centre of the first one
        low = int(np.clip(np.floor(place), 0, bands - 2))
        share = np.clip(place - low, 0, 1)
        assert curve[m] == pytest.approx(5 + (1 - share) * band_db[low] + share * band_db[low + 1], abs=1e-5)


def test_clips_and_partners_have_gains_and_equalisers_of_their_own(recipe: Recipe) -> None:
    params = augment_of(recipe, gain_db=6.0, eq={"probability": 1.0})
    tones = draws.draw_tones(1, 0, MANY, params)
    assert tones.shape == (len(MANY), 2, 1 + params.eq.bands)
    assert np.abs(np.corrcoef(tones.reshape(len(MANY), -1).T) - np.eye(2 + 2 * params.eq.bands)).max() < 5 / 60


def test_gain_alone_is_one_number_for_each_sound_and_nothing_at_all_is_none(recipe: Recipe) -> None:
    gains = draws.draw_tones(1, 0, MANY, augment_of(recipe, gain_db=6.0))
    for number, purpose in enumerate((Purpose.GAIN, Purpose.PARTNER_GAIN)):
        np.testing.assert_allclose(gains[:, number, 0], draws.draw_gain_db(1, 0, MANY, 6.0, purpose), rtol=1e-6)
    assert gains.shape == (len(MANY), 2, 1)
    assert draws.draw_tones(1, 0, MANY, augment_of(recipe)).shape == (len(MANY), 2, 0)


@pytest.mark.parametrize(
    "sound",
    [
        BackgroundParams(probability=0.3, lowest_snr_db=0.0, highest_snr_db=3.0, label="nocall"),
        NoiseParams(probability=0.7, lowest_snr_db=-5.0, highest_snr_db=20.0, colour="pink"),
        NoiseParams(probability=0.0, lowest_snr_db=5.0, highest_snr_db=5.0, colour="white"),
        NoiseParams(probability=1.0, lowest_snr_db=5.0, highest_snr_db=5.0, colour="white"),
    ],
    ids=["background", "noise", "never", "always the same"],
)
def test_a_sound_is_added_with_its_probability_at_a_uniform_ratio(sound: BackgroundParams | NoiseParams) -> None:
    snr_db = draws.draw_snr_db(1, 0, MANY, Purpose.NOISE, sound)
    drawn_db = snr_db[np.isfinite(snr_db)]
    assert is_share(len(drawn_db), sound.probability)
    if sound.highest_snr_db > sound.lowest_snr_db:
        law = scipy.stats.uniform(sound.lowest_snr_db, sound.highest_snr_db - sound.lowest_snr_db)
        assert follows(drawn_db, law)
    else:
        assert (drawn_db == sound.lowest_snr_db).all()


def test_noise_begins_anywhere_in_the_bank_where_a_clip_has_room() -> None:
    start = draws.draw_noise_start(1, 0, MANY)
    assert start.min() >= 0
    assert start.max() < BANK_SPANS
    assert follows(start / BANK_SPANS, scipy.stats.uniform(0, 1))


def test_shifts_take_every_frame_of_their_range_alike() -> None:
    shift = draws.draw_shift(1, 0, MANY, Purpose.SHIFT, 3)
    assert set(shift.tolist()) == set(range(-3, 4))
    assert scipy.stats.chisquare(np.bincount(shift + 3)).pvalue > 1e-3
    assert (draws.draw_shift(1, 0, MANY, Purpose.SHIFT, 0) == 0).all()


def drawn_masks(probability: float, widest: int = 10, size: int = 32, count: int = 3) -> Masks:
    return draws.draw_masks(1, 0, MANY, Purpose.MEL_MASK, count, widest, size, probability)


def test_masks_lie_inside_and_take_every_width_and_both_ends() -> None:
    masks = drawn_masks(probability=1.0)
    assert masks.width.shape == (len(MANY), 3)
    assert set(masks.width.ravel().tolist()) == set(range(11))
    assert masks.start.min() == 0
    assert (masks.start + masks.width).max() == 32
    assert scipy.stats.chisquare(np.bincount(masks.width.ravel())).pvalue > 1e-3


def test_a_mask_as_wide_as_the_clip_still_lies_inside() -> None:
    masks = drawn_masks(probability=1.0, widest=32)
    assert (masks.start + masks.width).max() == 32
    assert masks.width.max() == 32


def test_masks_are_drawn_with_their_probability() -> None:
    some, all_of_them = drawn_masks(probability=0.3).width > 0, drawn_masks(probability=1.0).width > 0
    assert some.sum() / all_of_them.sum() == pytest.approx(0.3, abs=0.02)


def test_every_example_has_masks_of_its_own() -> None:
    masks = drawn_masks(probability=1.0)
    assert len(np.unique(np.hstack([masks.start, masks.width]), axis=0)) > 0.98 * len(MANY)


def test_a_place_is_within_if_any_mask_covers_it() -> None:
    rng = np.random.default_rng(3)
    masks = Masks(rng.integers(0, 30, (50, 2)), rng.integers(0, 4, (50, 2)))
    covered = ops.within(torch.from_numpy(masks.start), torch.from_numpy(masks.width), 32).numpy()
    for b in range(50):
        expected = np.zeros(32, bool)
        for start, width in zip(masks.start[b], masks.width[b], strict=True):
            expected[start : start + width] = True
        assert np.array_equal(covered[b], expected)


@pytest.mark.parametrize(("probability", "count"), [(0.0, 3), (1.0, 0)])
def test_without_masks_there_are_none(probability: float, count: int) -> None:
    assert drawn_masks(probability, count=count).width.shape == (len(MANY), 0)


EVERYTHING: dict[str, Any] = {
    "gain_db": 6.0,
    "time_shift_s": 0.2,
    "mixup": {"probability": 0.3},
    "sumix": {"probability": 0.3},
    "cutmix": {"probability": 0.3},
    "eq": {"probability": 0.5},
    "background": {"probability": 0.5},
    "noise": {"probability": 0.5},
    "spec_augment": {"mel_masks": 2, "time_masks": 2, "probability": 0.7},
}


def drawn(recipe: Recipe, view: MelView, index: Ints, epoch: int = 0) -> tuple[Mixtures, Effects]:
    mixtures = draws.draw_mixtures(recipe.seed, epoch, index, recipe.augment, FRAMES)
    return mixtures, draws.draw_effects(epoch, index, recipe, view, mixtures)


def test_what_the_recipe_does_not_want_does_nothing(recipe: Recipe, view: MelView) -> None:
    mixtures, effects = drawn(recipe, view, MANY)
    assert not mixtures.partnered.any()
    assert (effects.weights == [1, 0, 0]).all()
    assert effects.tone_db.shape[2] == effects.mel_masks.width.shape[1] == effects.time_masks.width.shape[1] == 0
    for nothing in (effects.span, effects.added, effects.shift):
        assert not nothing.any()


def test_a_clip_is_drawn_alike_in_any_batch(recipe: Recipe, view: MelView) -> None:
    everything = resolve_recipe(recipe, {"augment": EVERYTHING})
    whole = drawn(everything, view, np.arange(40), 3)
    for index in (0, 7, 39):
        alone = drawn(everything, view, np.array([index]), 3)
        found = (part(each, slice(index, index + 1)) for each in whole)
        assert mapped(tuple(found), np.ndarray.tobytes) == mapped(alone, np.ndarray.tobytes)
