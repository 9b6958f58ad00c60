"""What the model sees of a clip: dynamic range, PCEN, and normalisation, against float64."""

from __future__ import annotations

from typing import Any

import librosa
import numpy as np
import numpy.typing as npt
import pytest
import torch

from birdcache.params.recipe import Recipe, resolve_recipe
from birdcache.params.views import MelView, PcenView
from train.augment.normalise import BinStatistics, Normaliser, as_images, pcen_, slope

FRAMES, MEL_BINS = 40, 32
UNUSED = BinStatistics(torch.zeros(1, MEL_BINS), torch.ones(1, MEL_BINS))

Floats = npt.NDArray[np.float64]


def random_clips() -> torch.Tensor:
    return torch.tensor(np.random.default_rng(4).uniform(-100, 40, (6, FRAMES, MEL_BINS)), dtype=torch.float32)


def normalised(
    clips: torch.Tensor, recipe: Recipe, view: MelView, statistics: BinStatistics = UNUSED, **changes: Any
) -> npt.NDArray[np.float32]:
    """What is shown of one channel: (B, T, M)."""
    shown = Normaliser(view, resolve_recipe(recipe, changes), statistics)(clips.clone())
    assert shown.shape[1] == 1
    return np.asarray(shown[:, 0].numpy())


def test_normalised_clips_have_mean_zero_and_deviation_one(recipe: Recipe, view: MelView) -> None:
    clips = normalised(random_clips(), recipe, view, normalise="clip", dynamic_range_db=50.0).astype(np.float64)
    assert clips.mean(axis=(1, 2)) == pytest.approx(np.zeros(6), abs=1e-5)
    assert clips.std(axis=(1, 2), ddof=1) == pytest.approx(np.ones(6), abs=1e-5)


def test_each_clip_is_normalised_by_its_own_mean_and_deviation(recipe: Recipe, view: MelView) -> None:
    shown = normalised(random_clips() * torch.arange(1, 7)[:, None, None] / 6, recipe, view, normalise="clip")
    for clip, number, found in zip(random_clips().double().numpy(), range(1, 7), shown, strict=True):
        expected = clip * number / 6
        expected = (expected - expected.mean()) / expected.std(ddof=1)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_each_mel_bin_is_normalised_by_what_it_is_like_in_the_training_fold(recipe: Recipe, view: MelView) -> None:
    rng = np.random.default_rng(5)
    mean, deviation = rng.uniform(-80, 0, MEL_BINS), rng.uniform(1, 20, MEL_BINS)
    statistics = BinStatistics(torch.tensor(mean).float()[None], torch.tensor(deviation).float()[None])
    shown = normalised(random_clips(), recipe, view, statistics, normalise="bins")
    np.testing.assert_allclose(shown, (random_clips().double().numpy() - mean) / deviation, rtol=1e-4, atol=1e-5)


def test_a_mel_bin_that_never_changes_stays_at_0(recipe: Recipe, view: MelView) -> None:
    statistics = BinStatistics(torch.full((1, MEL_BINS), -100.0), torch.zeros(1, MEL_BINS))
    assert (
        normalised(torch.full((2, FRAMES, MEL_BINS), -100.0), recipe, view, statistics, normalise="bins") == 0
    ).all()


def test_a_louder_clip_is_the_same_clip_once_normalised(recipe: Recipe, view: MelView) -> None:
    louder, clips = (
        normalised(each, recipe, view, normalise="clip", dynamic_range_db=50.0)
        for each in (random_clips() + 6, random_clips())
    )
    np.testing.assert_allclose(louder, clips, atol=1e-5)


@pytest.mark.parametrize("level_db", [-100.0, -96.783, 0.0, 31.7])
@pytest.mark.parametrize("frames", [1, FRAMES, 2500])
def test_an_even_clip_is_0_once_normalised(recipe: Recipe, view: MelView, level_db: float, frames: int) -> None:
    even = torch.full((2, frames, MEL_BINS), level_db)
    assert (normalised(even, recipe, view, normalise="clip") == 0).all()


def test_what_lies_below_the_dynamic_range_is_raised_to_its_floor(recipe: Recipe, view: MelView) -> None:
    limited = normalised(random_clips(), recipe, view, dynamic_range_db=30.0)
    for before, after in zip(random_clips().numpy(), limited, strict=True):
        assert np.array_equal(after, np.maximum(before, before.max() - np.float32(30)))


def test_pcen_is_applied_if_the_recipe_says_so(recipe: Recipe, view: MelView, pcen_view: PcenView) -> None:
    shown = normalised(random_clips(), recipe, view, channels=["pcen"], pcen=pcen_view.pcen.model_dump())
    expected = pcen_(random_clips(), pcen_view.pcen, view.sample_rate_hz / view.hop)
    assert np.array_equal(shown, expected.numpy())


def test_without_range_and_normalisation_clips_stay_as_they_are(recipe: Recipe, view: MelView) -> None:
    assert np.array_equal(normalised(random_clips(), recipe, view), random_clips().numpy())


def test_images_have_mel_bins_as_rows_and_frames_as_columns() -> None:
    shown = torch.stack([random_clips(), -random_clips()], dim=1)
    images = as_images(shown)
    assert images.shape == (6, 2, MEL_BINS, FRAMES)
    assert images[2, 0, 5, 7] == random_clips()[2, 7, 5] == -images[2, 1, 5, 7]


@pytest.mark.parametrize("frames", [1, 3, 9, FRAMES])
def test_the_slope_is_that_of_librosa(frames: int) -> None:
    level = random_clips()[:, :frames]
    for clip, found in zip(level.double().numpy(), slope(level).numpy(), strict=True):
        np.testing.assert_allclose(found, librosa.feature.delta(clip, width=9, axis=0, mode="nearest"), atol=1e-4)


@pytest.mark.parametrize("order", [["level", "pcen", "slope"], ["slope", "level"], ["pcen", "level"], ["slope"]])
def test_channels_are_what_they_are_alone_in_the_order_of_the_recipe(
    recipe: Recipe, view: MelView, pcen_view: PcenView, order: list[str]
) -> None:
    changes: dict[str, Any] = {
        "pcen": pcen_view.pcen.model_dump(),
        "dynamic_range_db": 40.0,
        "normalise": "clip",
    }
    together = Normaliser(view, resolve_recipe(recipe, {**changes, "channels": order}), UNUSED)(random_clips())
    assert together.shape == (6, len(order), FRAMES, MEL_BINS)
    for number, name in enumerate(order):
        alone = normalised(random_clips(), recipe, view, channels=[name], **changes)
        assert np.array_equal(together[:, number].numpy(), alone)


def test_each_channel_has_statistics_of_its_own(recipe: Recipe, view: MelView) -> None:
    mean, deviation = torch.tensor([[3.0] * MEL_BINS, [-1.0] * MEL_BINS]), torch.tensor([[2.0] * MEL_BINS] * 2)
    changed = resolve_recipe(recipe, {"channels": ["level", "slope"], "normalise": "bins"})
    shown = Normaliser(view, changed, BinStatistics(mean, deviation))(random_clips())
    np.testing.assert_allclose(shown[:, 0], (random_clips() - 3) / 2, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(shown[:, 1], (slope(random_clips()) + 1) / 2, rtol=1e-4, atol=1e-4)
