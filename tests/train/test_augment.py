"""Augmentations of whole batches, each against a slow obvious loop over its examples."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import scipy.stats
import torch
from torch import Tensor

from params import MixupParams
from train import augment
from train.augment import Masks
from train.draws import Purpose

MANY = np.arange(4000)
B, T, M, K = 5, 7, 6, 4
SHARES = [0.5, 0.9, 0.01, 0.3, 0.999]

Float32s = npt.NDArray[np.float32]


@pytest.fixture
def first() -> Float32s:
    return np.random.default_rng(11).uniform(-100, 40, (B, T, M)).astype(np.float32)


@pytest.fixture
def second() -> Float32s:
    return np.random.default_rng(12).uniform(-100, 40, (B, T, M)).astype(np.float32)


def test_mel_power_is_mixed_as_sounds_mix(first: Float32s, second: Float32s) -> None:
    mixed_db = augment.mix_power(torch.tensor(first), torch.tensor(second), torch.tensor(SHARES)).numpy()
    for b, t, m in np.ndindex(B, T, M):
        power = SHARES[b] * 10 ** (float(first[b, t, m]) / 10) + (1 - SHARES[b]) * 10 ** (float(second[b, t, m]) / 10)
        assert mixed_db[b, t, m] == pytest.approx(10 * np.log10(power), abs=1e-4)


def test_a_clip_mixed_with_itself_is_itself(first: Float32s) -> None:
    clip = torch.tensor(first)
    assert torch.allclose(augment.mix_power(clip, clip, torch.tensor(SHARES)), clip, atol=1e-4)


def test_pcen_is_mixed_linearly(first: Float32s, second: Float32s) -> None:
    mixed = augment.mix_values(torch.tensor(first), torch.tensor(second), torch.tensor(SHARES)).numpy()
    for b, t, m in np.ndindex(B, T, M):
        expected = SHARES[b] * float(first[b, t, m]) + (1 - SHARES[b]) * float(second[b, t, m])
        assert mixed[b, t, m] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("mix", [augment.mix_power, augment.mix_values])
def test_a_share_of_exactly_one_or_zero_leaves_one_of_the_clips(
    mix: Callable[[Tensor, Tensor, Tensor], Tensor], first: Float32s, second: Float32s
) -> None:
    clips = torch.tensor(first), torch.tensor(second)
    assert torch.allclose(mix(*clips, torch.ones(B)), clips[0], rtol=0, atol=1e-5)
    assert torch.allclose(mix(*clips, torch.zeros(B)), clips[1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("rule", ["lambda", "max"])
def test_targets_are_mixed_like_the_sound_or_both_fully_present(rule: str) -> None:
    rng = np.random.default_rng(2)
    one, other = (rng.choice([0, 0.3, 1], (B, K)).astype(np.float32) for _ in range(2))
    mixed = augment.mix_targets(torch.tensor(one), torch.tensor(other), torch.tensor(SHARES), rule).numpy()
    for b, k in np.ndindex(B, K):
        weighted = SHARES[b] * one[b, k] + (1 - SHARES[b]) * other[b, k]
        expected = weighted if rule == "lambda" else max(one[b, k], other[b, k])
        assert mixed[b, k] == pytest.approx(expected, abs=1e-6)


def test_lambda_follows_the_beta_distribution_for_the_share_of_clips_that_are_mixed() -> None:
    share = augment.draw_lambda(1, 0, MANY, MixupParams(probability=0.5, alpha=0.4, labels="lambda"))
    mixed = share[share < 1]
    assert scipy.stats.binomtest(len(mixed), len(MANY), 0.5).pvalue > 1e-3
    assert scipy.stats.kstest(mixed, scipy.stats.beta(0.4, 0.4).cdf).pvalue > 1e-3


def test_no_clip_is_mixed_at_probability_zero_and_every_one_at_probability_one() -> None:
    never, always = (MixupParams(probability=probability, alpha=1.0, labels="max") for probability in (0.0, 1.0))
    assert (augment.draw_lambda(1, 0, MANY, never) == 1).all()
    assert (augment.draw_lambda(1, 0, MANY, always) < 1).all()


def test_gain_is_uniform_within_its_range() -> None:
    gain_db = augment.draw_gain_db(1, 0, MANY, 6.0, Purpose.GAIN)
    assert np.abs(gain_db).max() <= 6
    assert scipy.stats.kstest(gain_db, scipy.stats.uniform(-6, 12).cdf).pvalue > 1e-3


def test_shifts_take_every_frame_of_their_range_alike() -> None:
    shift = augment.draw_shift(1, 0, MANY, 3)
    assert set(shift.tolist()) == set(range(-3, 4))
    assert scipy.stats.chisquare(np.bincount(shift + 3)).pvalue > 1e-3
    assert (augment.draw_shift(1, 0, MANY, 0) == 0).all()


def test_each_clip_is_rolled_by_its_own_shift(first: Float32s) -> None:
    shift = [0, 1, -1, 6, -13]
    rolled = augment.roll_frames(torch.tensor(first), torch.tensor(shift)).numpy()
    for b in range(B):
        assert np.array_equal(rolled[b], np.roll(first[b], shift[b], axis=0))


def drawn_masks(probability: float, widest: int = 10, size: int = 32) -> Masks:
    return augment.draw_masks(1, 0, MANY, Purpose.MEL_MASK, 3, widest, size, probability)


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
    assert (drawn_masks(probability=0.0).width == 0).all()
    some, all_of_them = drawn_masks(probability=0.3).width > 0, drawn_masks(probability=1.0).width > 0
    assert some.sum() / all_of_them.sum() == pytest.approx(0.3, abs=0.02)


def test_every_example_has_masks_of_its_own() -> None:
    masks = drawn_masks(probability=1.0)
    assert len(np.unique(np.hstack([masks.start, masks.width]), axis=0)) > 0.98 * len(MANY)


def test_without_masks_nothing_is_masked() -> None:
    none = augment.draw_masks(1, 0, np.arange(B), Purpose.TIME_MASK, 0, 4, T, 1.0)
    assert not augment.mask_spans(T, torch.tensor(none.start), torch.tensor(none.width)).any()


def test_masked_bins_and_frames_get_the_fill_of_their_clip(first: Float32s) -> None:
    rng = np.random.default_rng(3)
    mel, time = (Masks(rng.integers(0, size - 2, (B, 2)), rng.integers(0, 3, (B, 2))) for size in (M, T))
    fill = np.arange(B, dtype=np.float32)
    mel_BM, time_BT = (
        augment.mask_spans(size, torch.tensor(masks.start), torch.tensor(masks.width))
        for size, masks in ((M, mel), (T, time))
    )
    masked = augment.apply_masks(torch.tensor(first), mel_BM, time_BT, torch.tensor(fill)).numpy()
    for b in range(B):
        expected = first[b].copy()
        for start, width in zip(mel.start[b], mel.width[b], strict=True):
            expected[:, start : start + width] = fill[b]
        for start, width in zip(time.start[b], time.width[b], strict=True):
            expected[start : start + width] = fill[b]
        assert np.array_equal(masked[b], expected)
