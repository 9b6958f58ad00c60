"""The device's part of a batch: what it leaves alone, what it does without, and the same on any device."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from birdcache.params.recipe import Recipe, resolve_recipe
from birdcache.params.views import MelView
from train.augment.batch import Batch, BatchTransform
from train.augment.normalise import BinStatistics, Normaliser
from train.data.augment_draws import draw_batch
from train.data.batch_plan import BatchPlan

CLIPS, FRAMES, MEL_BINS, CLASSES = 64, 40, 32, 3
ALL_OF_THEM: dict[str, Any] = {
    "gain_db": 6.0,
    "time_shift_s": 0.2,
    "mixup": {"probability": 0.3},
    "sumix": {"probability": 0.2},
    "cutmix": {"probability": 0.2},
    "eq": {"probability": 0.5},
    "background": {"probability": 0.4},
    "noise": {"probability": 0.4},
    "spec_augment": {"mel_masks": 2, "time_masks": 2, "probability": 0.7},
}

Values = npt.NDArray[np.float32]


def planned(recipe: Recipe, view: MelView) -> tuple[BatchPlan, Values]:
    """A plan of many clips with whatever partners and backgrounds the recipe draws, and random values for it in dB."""
    rng = np.random.default_rng(1)
    draws = draw_batch(0, np.arange(CLIPS), recipe, view)
    labelled = CLIPS + len(draws.partnered)
    rows = labelled + len(draws.backgrounded)
    labels = [rng.uniform(0, 1, shape).astype(np.float32) for shape in ((labelled, CLASSES), labelled)]
    plan = BatchPlan(
        np.zeros(rows, np.int64), np.zeros((rows, FRAMES), np.int64), labels[0], labels[0], labels[1], draws
    )
    return plan, rng.uniform(-100, 40, (rows, FRAMES, MEL_BINS)).astype(np.float32)


def finished(recipe: Recipe, view: MelView, values: Tensor, plan: BatchPlan) -> Batch:
    statistics = BinStatistics(*torch.zeros(2, MEL_BINS, device=values.device))
    return BatchTransform(view, recipe, Normaliser(view, recipe, statistics), values.device)(values, plan)


def clips_of(batch: Batch) -> Values:
    """(B, T, M) out of the images."""
    return np.asarray(batch.clips[:, 0].cpu().numpy().transpose(0, 2, 1))


def test_clips_that_nothing_is_mixed_into_are_left_alone_to_the_last_bit(recipe: Recipe, view: MelView) -> None:
    some = {"mixup": {"probability": 0.3}, "noise": {"probability": 0.2}, "background": {"probability": 0.2}}
    changed = resolve_recipe(recipe, {"augment": some})
    plan, values = planned(changed, view)
    found = clips_of(finished(changed, view, torch.tensor(values), plan))
    untouched = np.setdiff1d(np.arange(CLIPS), plan.draws.changed)
    assert 0 < len(untouched) < CLIPS
    assert np.array_equal(found[untouched], values[untouched])
    for place in plan.draws.changed:
        assert not np.array_equal(found[place], values[place])


def test_a_recipe_without_augmentation_changes_neither_clips_nor_labels(recipe: Recipe, view: MelView) -> None:
    plan, values = planned(recipe, view)
    batch = finished(recipe, view, torch.tensor(values), plan)
    assert np.array_equal(clips_of(batch), values)
    for name in ("targets", "weights", "importance"):
        assert np.array_equal(getattr(batch, name).numpy(), getattr(plan, name))


def test_a_clip_mixed_with_itself_is_itself(recipe: Recipe, view: MelView) -> None:
    always = resolve_recipe(recipe, {"augment": {"mixup": {"probability": 0.5}, "cutmix": {"probability": 0.5}}})
    plan, values = planned(always, view)
    assert len(plan.draws.partnered) == CLIPS
    values[CLIPS:] = values[:CLIPS]
    found = clips_of(finished(always, view, torch.tensor(values), plan))
    np.testing.assert_allclose(found, values[:CLIPS], atol=1e-4)


def test_masked_places_hold_the_mean_of_what_the_model_would_have_seen(recipe: Recipe, view: MelView) -> None:
    masked = resolve_recipe(recipe, {"augment": {"spec_augment": ALL_OF_THEM["spec_augment"]}})
    plan, values = planned(masked, view)
    found = clips_of(finished(masked, view, torch.tensor(values), plan))
    seen_mel, seen_time = plan.draws.seen_mel, plan.draws.seen_time
    assert seen_mel is not None
    assert seen_time is not None
    for b in range(CLIPS):
        hidden = ~(seen_time[b][:, None] & seen_mel[b])
        np.testing.assert_allclose(found[b][hidden], values[b].mean(dtype=np.float64), rtol=1e-5)
        np.testing.assert_allclose(found[b][~hidden], values[b][~hidden], atol=1e-4)


@pytest.mark.parametrize("normalise", ["clip", "none"])
def test_silence_stays_finite_under_everything(recipe: Recipe, view: MelView, normalise: str) -> None:
    everything = resolve_recipe(recipe, {"augment": ALL_OF_THEM, "normalise": normalise, "dynamic_range_db": 80.0})
    plan, values = planned(everything, view)
    assert torch.isfinite(finished(everything, view, torch.full(values.shape, -100.0), plan).clips).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("pcen", [False, True])
def test_a_gpu_finishes_the_same_batch_without_making_the_host_wait(
    recipe: Recipe, view: MelView, params: Any, pcen: bool
) -> None:
    presented = (
        {"channels": ["pcen"], "pcen": params.views["pcen"].pcen.model_dump()} if pcen else {"dynamic_range_db": 60.0}
    )
    everything = resolve_recipe(recipe, {"augment": ALL_OF_THEM, "normalise": "clip", **presented})
    plan, values = planned(everything, view)
    on_gpu = torch.tensor(values, device="cuda")
    finished(everything, view, on_gpu.clone(), plan)  # loads kernels
    try:
        torch.cuda.set_sync_debug_mode("error")
        batch = finished(everything, view, on_gpu, plan)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    expected = finished(everything, view, torch.tensor(values), plan)
    np.testing.assert_allclose(clips_of(batch), clips_of(expected), atol=1e-3)
    assert torch.equal(batch.targets.cpu(), expected.targets)
