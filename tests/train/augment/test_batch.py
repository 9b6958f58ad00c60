"""The device's part of a batch: what it leaves alone, what it does without, and the same on any device."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from birdcache.params.recipe import Recipe, resolve_recipe
from birdcache.params.views import MelView, PcenView, View
from cache.mel import mel_edges_hz
from train.augment import ops
from train.augment.batch import Batch, BatchTransform, StepInputs
from train.augment.normalise import BinStatistics, Normaliser
from train.data.augment_draws import draw_effects, draw_mixtures
from train.data.batch_plan import CLIP, PARTNER
from train.data.columns import mapped

CLIPS, FRAMES, MEL_BINS, CLASSES = 64, 40, 32, 3
ALL_OF_THEM: dict[str, Any] = {
    "gain_db": 6.0,
    "time_shift_s": 0.2,
    "mixup": {"probability": 0.3, "third": 0.5},
    "sumix": {"probability": 0.2},
    "cutmix": {"probability": 0.2},
    "eq": {"probability": 0.5},
    "background": {"probability": 0.4},
    "noise": {"probability": 0.4},
    "spec_augment": {"mel_masks": 2, "time_masks": 2, "probability": 0.7},
    "mixstyle": {"probability": 0.5},
    "reverse": {"probability": 0.5},
    "lowpass": {"probability": 0.5},
    "distance": {"probability": 0.5},
    "tempo": {"probability": 0.5},
}

Values = npt.NDArray[np.float32]


def planned(recipe: Recipe, view: MelView) -> tuple[StepInputs, Values]:
    """Numbers of many clips with whatever the recipe draws, and random values for all that they may need, in dB."""
    rng = np.random.default_rng(1)
    mixtures = draw_mixtures(recipe.seed, 0, np.arange(CLIPS), recipe.augment, FRAMES)
    effects = draw_effects(0, np.arange(CLIPS), recipe, view, mixtures)
    sounds = np.zeros((CLIPS, 4, 3), np.int64)
    others = mixtures.partnered, effects.added[:, 0] > 0, mixtures.third
    sounds[:, :, 1] = np.stack([np.full(CLIPS, 1), *others], axis=1)
    labels = [rng.uniform(0, 1, shape).astype(np.float32) for shape in ((CLIPS, CLASSES), (CLIPS, CLASSES), CLIPS)]
    arrays: tuple[Any, ...] = (sounds, effects, *labels)
    values = rng.uniform(-100, 40, (4, CLIPS, FRAMES, MEL_BINS)).astype(np.float32)
    return StepInputs((), *mapped(arrays, torch.from_numpy)), values


Ready = tuple[BatchTransform, Tensor, StepInputs]


def ready(
    recipe: Recipe, view: View, values: Values, inputs: StepInputs, full: bool = False, device: str = "cpu"
) -> Ready:
    """A transform and what it gets: of `values`, (4, B, T, M), those that it wants."""
    statistics = BinStatistics(*torch.zeros(2, MEL_BINS, device=device))
    transform = BatchTransform(view, recipe, Normaliser(view, recipe, statistics), torch.device(device))
    transform.full |= full
    wanted = inputs.sounds[:, :, 1].T.numpy() > 0
    if transform.full:
        wanted |= wanted.any(axis=1, keepdims=True)
    return transform, torch.tensor(values[wanted], device=device), mapped(inputs, lambda each: each.to(device))


def finished(recipe: Recipe, view: View, values: Values, inputs: StepInputs, full: bool = False) -> Batch:
    transform, wanted, numbers = ready(recipe, view, values, inputs, full)
    return transform(wanted, numbers)


def is_changed(inputs: StepInputs) -> Any:
    return (inputs.sounds[:, 1:, 1] > 0).any(dim=1).numpy() | (inputs.effects.added[:, 1] > 0).numpy()


def clips_of(batch: Batch) -> Values:
    """(B, T, M) out of the images."""
    return np.asarray(batch.clips[:, 0].cpu().numpy().transpose(0, 2, 1))


def test_clips_that_nothing_is_mixed_into_are_left_alone_to_the_last_bit(recipe: Recipe, view: MelView) -> None:
    some = {"mixup": {"probability": 0.3}, "noise": {"probability": 0.2}, "background": {"probability": 0.2}}
    changed = resolve_recipe(recipe, {"augment": some})
    inputs, values = planned(changed, view)
    found, touched = clips_of(finished(changed, view, values, inputs)), is_changed(inputs)
    assert 0 < touched.sum() < CLIPS
    assert np.array_equal(found[~touched], values[CLIP, ~touched])
    for place in np.flatnonzero(touched):
        assert not np.array_equal(found[place], values[CLIP, place])


def test_a_recipe_without_augmentation_changes_neither_clips_nor_labels(recipe: Recipe, view: MelView) -> None:
    inputs, values = planned(recipe, view)
    batch = finished(recipe, view, values, inputs)
    assert np.array_equal(clips_of(batch), values[CLIP])
    for name in ("targets", "weights", "importance"):
        assert torch.equal(getattr(batch, name), getattr(inputs, name))


def test_a_clip_is_played_backwards_or_left_as_it_is(recipe: Recipe, view: MelView) -> None:
    some = resolve_recipe(recipe, {"augment": {"reverse": {"probability": 0.5}}})
    inputs, values = planned(some, view)
    found, is_reversed = clips_of(finished(some, view, values, inputs)), inputs.effects.reverse[:, 0].numpy()
    assert 0 < is_reversed.sum() < CLIPS
    assert np.array_equal(found[~is_reversed], values[CLIP, ~is_reversed])
    assert np.array_equal(found[is_reversed], values[CLIP, is_reversed, ::-1])


def test_a_clip_is_muffled_by_its_own_draws_or_left_as_it_is(recipe: Recipe, view: MelView) -> None:
    some = resolve_recipe(recipe, {"augment": {"lowpass": {"probability": 0.5}, "distance": {"probability": 0.5}}})
    inputs, values = planned(some, view)
    found, numbers = clips_of(finished(some, view, values, inputs)), inputs.effects.muffled[:, 0].numpy()
    octave_M = np.log2(mel_edges_hz(view.model_copy(update={"n_mels": MEL_BINS}))[1:-1] / view.fmax_hz)
    lowpass_db = -12 * np.maximum(octave_M + numbers[:, :1], 0)
    expected = values[CLIP] + (lowpass_db - numbers[:, 1:] * 4**octave_M)[:, None]
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert np.array_equal(found[~numbers.any(axis=1)], values[CLIP, ~numbers.any(axis=1)])


def test_a_tempo_changes_the_drawn_clips_alone(recipe: Recipe, view: MelView) -> None:
    some = resolve_recipe(recipe, {"augment": {"tempo": {"probability": 0.5}}})
    inputs, values = planned(some, view)
    found, faster = clips_of(finished(some, view, values, inputs)), inputs.effects.tempo[:, 0].numpy()
    assert np.array_equal(found[faster == 0], values[CLIP, faster == 0])
    assert (np.abs(found - values[CLIP])[faster != 0].max(axis=(1, 2)) > 1).all()


def test_a_style_is_mixed_into_the_drawn_clips_and_into_bins_in_decibels_alone(
    recipe: Recipe, view: MelView, pcen_view: PcenView
) -> None:
    some = resolve_recipe(recipe, {"augment": {"mixstyle": {"probability": 0.5}}})
    inputs, values = planned(some, view)
    found, share = clips_of(finished(some, view, values, inputs)), inputs.effects.style[:, 0].numpy()
    np.testing.assert_allclose(found[share == 0], values[CLIP, share == 0], atol=1e-3)
    changed_db = np.abs(found - values[CLIP])[share > 0.1].max(axis=(1, 2))
    assert len(changed_db) > CLIPS / 4
    assert (changed_db > 1).all()
    values[:] = np.abs(values)
    of_pcen = finished(some, pcen_view.model_copy(update={"n_mels": MEL_BINS}), values, inputs)
    assert np.array_equal(clips_of(of_pcen), values[CLIP])


def test_a_clip_mixed_with_itself_is_itself(recipe: Recipe, view: MelView) -> None:
    always = resolve_recipe(recipe, {"augment": {"mixup": {"probability": 0.5}, "cutmix": {"probability": 0.5}}})
    inputs, values = planned(always, view)
    assert (inputs.sounds[:, PARTNER, 1] > 0).all()
    values[PARTNER] = values[CLIP]
    np.testing.assert_allclose(clips_of(finished(always, view, values, inputs)), values[CLIP], atol=1e-4)


@pytest.mark.parametrize("noise", [0.0, 0.4])
def test_full_shapes_change_no_clip_beyond_rounding(recipe: Recipe, view: MelView, noise: float) -> None:
    for changes in (ALL_OF_THEM, ALL_OF_THEM | {"background": {"probability": 0.0}}):
        everything = resolve_recipe(recipe, {"augment": changes | {"noise": {"probability": noise}}})
        inputs, values = planned(everything, view)
        few, every = (clips_of(finished(everything, view, values, inputs, full)) for full in (False, True))
        np.testing.assert_allclose(every, few, atol=1e-4)


def test_masked_places_hold_the_mean_of_what_the_model_would_have_seen(recipe: Recipe, view: MelView) -> None:
    masked = resolve_recipe(recipe, {"augment": {"spec_augment": ALL_OF_THEM["spec_augment"]}})
    inputs, values = planned(masked, view)
    found = clips_of(finished(masked, view, values, inputs))
    masks = inputs.effects.mel_masks, inputs.effects.time_masks
    seen_mel, seen_time = (
        ~ops.within(*each, size).numpy() for each, size in zip(masks, (MEL_BINS, FRAMES), strict=True)
    )
    values = values[CLIP]
    for b in range(CLIPS):
        hidden = ~(seen_time[b][:, None] & seen_mel[b])
        np.testing.assert_allclose(found[b][hidden], values[b].mean(dtype=np.float64), rtol=1e-5)
        np.testing.assert_allclose(found[b][~hidden], values[b][~hidden], atol=1e-4)


@pytest.mark.parametrize("normalise", ["clip", "none"])
def test_silence_stays_finite_under_everything(recipe: Recipe, view: MelView, normalise: str) -> None:
    everything = resolve_recipe(recipe, {"augment": ALL_OF_THEM, "normalise": normalise, "dynamic_range_db": 80.0})
    inputs, values = planned(everything, view)
    for full in (False, True):
        assert torch.isfinite(finished(everything, view, np.full_like(values, -100), inputs, full).clips).all()


@pytest.mark.gpu
@pytest.mark.parametrize("pcen", [False, True])
def test_a_gpu_finishes_the_same_batch_without_making_the_host_wait(
    recipe: Recipe, view: MelView, params: Any, pcen: bool
) -> None:
    presented = (
        {"channels": ["pcen"], "pcen": params.spectrograms["pcen"].pcen.model_dump()}
        if pcen
        else {"dynamic_range_db": 60.0}
    )
    everything = resolve_recipe(recipe, {"augment": ALL_OF_THEM, "normalise": "clip", **presented})
    inputs, values = planned(everything, view)
    transform, wanted, numbers = ready(everything, view, values, inputs, device="cuda")
    transform(wanted.clone(), numbers)  # loads kernels
    try:
        torch.cuda.set_sync_debug_mode("error")
        batch = transform(wanted, numbers)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    expected = finished(everything, view, values, inputs)
    np.testing.assert_allclose(clips_of(batch), clips_of(expected), atol=1e-3)
    assert torch.equal(batch.targets.cpu(), expected.targets)
