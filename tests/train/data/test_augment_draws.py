"""Random choices of augmentation: their laws, and that each depends on its own counters alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.stats

from birdcache.params.augment import AugmentParams, BackgroundParams, CutmixParams, EqParams, NoiseParams
from birdcache.params.recipe import Recipe, resolve_recipe
from birdcache.params.views import MelView
from train.data import augment_draws as draws
from train.data.augment_draws import BANK_SPANS, RULES, Masks
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
    assert (np.diff(mixtures.place) > 0).all()
    counts = np.bincount(mixtures.rule, minlength=3)
    assert all(is_share(count, share) for count, share in zip(counts, (0.5, 0.2, 0.1), strict=True))


@pytest.mark.parametrize("way", ["mixup", "sumix", "cutmix"])
@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_a_way_to_mix_is_taken_with_its_probability(recipe: Recipe, way: str, probability: float) -> None:
    mixtures = draws.draw_mixtures(1, 0, MANY, augment_of(recipe, **{way: {"probability": probability}}), FRAMES)
    assert is_share(len(mixtures.place), probability)


def test_mixup_weighs_the_clip_by_lambda_and_its_partner_by_the_rest(recipe: Recipe) -> None:
    params = augment_of(recipe, mixup={"probability": 0.5, "alpha": 0.4})
    mixtures = draws.draw_mixtures(1, 0, MANY, params, FRAMES)
    assert follows(mixtures.share, scipy.stats.beta(0.4, 0.4))
    np.testing.assert_allclose(mixtures.own, mixtures.share[:, None], rtol=1e-6)
    np.testing.assert_allclose(mixtures.own + mixtures.other, 1, rtol=1e-6)


def test_sumix_puts_the_partner_on_top_and_its_label_has_its_share_of_the_power(recipe: Recipe) -> None:
    params = augment_of(recipe, sumix={"probability": 0.5, "gain_db": 6.0})
    mixtures = draws.draw_mixtures(1, 0, MANY, params, FRAMES)
    assert (mixtures.own == 1).all()
    gain_db = 10 * np.log10(mixtures.other[:, 0].astype(np.float64))
    assert follows(gain_db, scipy.stats.uniform(-6, 12))
    np.testing.assert_allclose(mixtures.share, 1 / (1 + 10 ** (gain_db / 10)), rtol=1e-5)


@pytest.mark.parametrize("alpha", [1.0, 0.3])
def test_cutmix_replaces_a_span_and_its_label_has_the_true_share_of_frames(recipe: Recipe, alpha: float) -> None:
    params = augment_of(recipe, cutmix={"probability": 0.5, "alpha": alpha})
    mixtures = draws.draw_mixtures(1, 0, MANY, params, FRAMES)
    assert set(np.unique(mixtures.own)) == {0, 1}
    np.testing.assert_array_equal(mixtures.other, 1 - mixtures.own)
    changes = np.abs(np.diff(mixtures.other, axis=1, prepend=0, append=0)).sum(axis=1)
    assert (changes <= 2).all(), "one span"
    np.testing.assert_allclose(mixtures.share, mixtures.own.mean(axis=1), atol=1e-6)
    exact = scipy.stats.beta(alpha, alpha).cdf((np.arange(FRAMES) + 0.5) / FRAMES)
    expected = np.diff(np.concatenate([[0], exact, [1]])) * len(mixtures.place)
    found = np.bincount(np.rint(mixtures.share * FRAMES).astype(int), minlength=FRAMES + 1)
    assert scipy.stats.chisquare(found, expected).pvalue > 1e-3


def test_a_span_of_cutmix_lies_anywhere() -> None:
    halves = np.full(len(MANY), 0.5)
    cuts = draws.draw_cuts(1, 0, MANY, halves, CutmixParams(probability=1.0, alpha=1.0, labels="max"), FRAMES)
    start = cuts.argmax(axis=1)
    assert (cuts.sum(axis=1) == FRAMES // 2).all()
    assert scipy.stats.chisquare(np.bincount(start, minlength=FRAMES // 2 + 1)).pvalue > 1e-3


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
    tone_db = draws.draw_eq_db(1, 0, MANY, eq, MEL_BINS, Purpose.EQ)
    changed = tone_db[(tone_db != 0).any(axis=1)]
    assert is_share(len(changed), 0.4)
    for edge in (0, -1):  # beyond the outermost centres a band is alone
        assert follows(changed[:, edge], scipy.stats.uniform(-20, 20))


@pytest.mark.parametrize(("bands", "mel_bins"), [(2, 32), (4, 32), (5, 33), (16, 8)])
def test_an_equaliser_is_linear_between_the_centres_of_its_bands_and_constant_beyond(bands: int, mel_bins: int) -> None:
    band_db = np.random.default_rng(1).uniform(-20, 0, bands)
    curve = band_db @ draws.band_curves(bands, mel_bins)
    width = mel_bins / bands
    for m in range(mel_bins):
        place = (m + 0.5) / width - 0.5  # in bands, from the centre of the first one
        low = int(np.clip(np.floor(place), 0, bands - 2))
        share = np.clip(place - low, 0, 1)
        assert curve[m] == pytest.approx((1 - share) * band_db[low] + share * band_db[low + 1], abs=1e-9)


def test_clips_and_partners_have_gains_and_equalisers_of_their_own(recipe: Recipe) -> None:
    params = augment_of(recipe, gain_db=6.0, eq={"probability": 1.0})
    partnered = MANY[::2]
    tones = draws.draw_tones(1, 0, MANY, partnered, params, MEL_BINS)
    assert tones is not None
    assert tones.shape == (len(MANY) + len(partnered), MEL_BINS)
    correlation = np.corrcoef(tones[: len(MANY) : 2, 0], tones[len(MANY) :, 0])[0, 1]
    assert abs(correlation) < 5 / np.sqrt(len(partnered))


def test_gain_alone_is_one_number_for_each_sound_and_nothing_at_all_is_none(recipe: Recipe) -> None:
    gains = draws.draw_tones(1, 0, MANY, MANY[:5], augment_of(recipe, gain_db=6.0), MEL_BINS)
    assert gains is not None
    np.testing.assert_allclose(gains[: len(MANY), 0], draws.draw_gain_db(1, 0, MANY, 6.0, Purpose.GAIN), rtol=1e-6)
    assert gains.shape == (len(MANY) + 5, 1)
    assert draws.draw_tones(1, 0, MANY, MANY, augment_of(recipe), MEL_BINS) is None


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
    added = draws.draw_added(1, 0, MANY, Purpose.NOISE, sound)
    assert is_share(len(added.place), sound.probability)
    assert (np.diff(added.place) > 0).all()
    if sound.highest_snr_db > sound.lowest_snr_db:
        assert follows(
            added.snr_db, scipy.stats.uniform(sound.lowest_snr_db, sound.highest_snr_db - sound.lowest_snr_db)
        )
    else:
        assert (added.snr_db == sound.lowest_snr_db).all()


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


def test_a_place_is_inside_if_any_mask_covers_it() -> None:
    rng = np.random.default_rng(3)
    masks = Masks(rng.integers(0, 30, (50, 2)), rng.integers(0, 4, (50, 2)))
    covered = draws.inside(masks, 32)
    for b in range(50):
        expected = np.zeros(32, bool)
        for start, width in zip(masks.start[b], masks.width[b], strict=True):
            expected[start : start + width] = True
        assert np.array_equal(covered[b], expected)


@pytest.mark.parametrize(("probability", "count"), [(0.0, 3), (1.0, 0)])
def test_without_masks_nothing_is_masked(probability: float, count: int) -> None:
    masks = drawn_masks(probability, count=count)
    assert not draws.inside(masks, 32).any()


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


def test_what_the_recipe_does_not_want_is_not_drawn(recipe: Recipe, view: MelView) -> None:
    nothing = draws.draw_batch(0, MANY, recipe, view)
    assert (nothing.tone_db, nothing.shift, nothing.seen_mel, nothing.seen_time) == (None, None, None, None)
    assert not len(nothing.changed)
    assert nothing.size == len(MANY)


def test_something_is_mixed_into_clips_with_a_partner_a_background_or_noise(recipe: Recipe, view: MelView) -> None:
    drawn = draws.draw_batch(0, MANY, resolve_recipe(recipe, {"augment": EVERYTHING}), view)
    expected = set(drawn.partnered) | set(drawn.backgrounded) | set(drawn.noise.place)
    assert drawn.changed.tolist() == sorted(expected)
    assert is_share(len(drawn.changed), 1 - 0.1 * 0.5 * 0.5)
    assert len(drawn.noise_start) == len(drawn.noise.place)
    assert drawn.tone_db is not None
    assert len(drawn.tone_db) == len(MANY) + len(drawn.partnered)


def test_a_clip_is_drawn_alike_in_any_batch(recipe: Recipe, view: MelView) -> None:
    everything = resolve_recipe(recipe, {"augment": EVERYTHING})
    whole = draws.draw_batch(3, np.arange(40), everything, view)
    for index in (0, 7, 39):
        alone = draws.draw_batch(3, np.array([index]), everything, view)
        assert (index in whole.partnered, index in whole.backgrounded) == (
            len(alone.partnered),
            len(alone.backgrounded),
        )
        assert whole.tone_db is not None
        assert alone.tone_db is not None
        np.testing.assert_allclose(whole.tone_db[index], alone.tone_db[0], rtol=1e-6)
        if index in whole.partnered:
            p = whole.partnered.tolist().index(index)
            for name in ("own", "other", "share", "rule"):
                assert np.array_equal(getattr(whole.mixtures, name)[p], getattr(alone.mixtures, name)[0])
            np.testing.assert_allclose(whole.tone_db[40 + p], alone.tone_db[1], rtol=1e-6)
