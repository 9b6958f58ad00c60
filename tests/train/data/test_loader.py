"""Training batches against a slow loop over their clips, in the order that `train.augment.batch` documents.

T frame, M mel bin, K class.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from birdcache.params.recipe import Recipe, resolve_recipe
from birdcache.params.views import MelView, PcenView
from cache.store import Store
from tests.train.data.slow_batches import DEVIATION, MEAN, SlowBatches
from train.augment.batch import Batch, BatchTransform
from train.augment.normalise import BinStatistics, Normaliser
from train.augment.training_batches import TrainingBatches
from train.data import batch_plan
from train.data.batch_plan import Planner
from train.data.columns import mapped
from train.data.examples import Examples
from train.data.frames import DeviceFrames, Frames, HostFrames, StreamFrames

RandomStore = Callable[..., Store]
ExamplesOf = Callable[..., Examples]

LENGTHS = (700, 3, 40, 39, 41, 1, 520, 90, 64, 200, 15, 33, 47, 300, 38, 80)
PRIMARY = (0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 3, 3)
SECONDARY = ((0, 1), (0, 2), (7, 0), (14, 0))
RATING = (5, 4, 3, 2, 1, 0) * 2 + (4, 3, 0, 1)
EVERYTHING: dict[str, Any] = {
    "dynamic_range_db": 60.0,
    "normalise": "clip",
    "short": "loop",
    "sampling": {"weighted": True, "clips_per_epoch": 24},
    "secondary": {"policy": "weight", "weight": 0.4},
    "loss": {"lowest_rating_weight": 0.2},
    "augment": {
        "gain_db": 12.0,
        "time_shift_s": 0.2,
        "mixup": {"probability": 0.3, "alpha": 0.8, "third": 0.5},
        "sumix": {"probability": 0.3, "gain_db": 9.0, "labels": "sum"},
        "cutmix": {"probability": 0.3, "alpha": 1.0},
        "eq": {"probability": 0.5, "bands": 4, "depth_db": 20.0},
        "background": {"probability": 0.5, "lowest_snr_db": -3.0, "highest_snr_db": 6.0, "label": "bird3"},
        "noise": {"probability": 0.5, "lowest_snr_db": -3.0, "highest_snr_db": 20.0, "colour": "pink"},
        "spec_augment": {"mel_masks": 2, "mel_width": 6, "time_masks": 2, "time_width": 9, "probability": 0.7},
    },
}
NEVER = {"probability": 0.0}
NOT_ON_PCEN: dict[str, Any] = {
    "dynamic_range_db": 0.0,
    "augment": {"gain_db": 0.0, "sumix": NEVER, "eq": NEVER, "background": NEVER, "noise": NEVER},
}


@pytest.fixture(params=["mel", "pcen"])
def any_view(request: pytest.FixtureRequest, view: MelView, pcen_view: PcenView) -> MelView | PcenView:
    return view if request.param == "mel" else pcen_view


@pytest.fixture
def everything(recipe: Recipe, any_view: MelView | PcenView) -> Recipe:
    """The recipe with every augmentation that the view allows."""
    changed = resolve_recipe(recipe, EVERYTHING)
    return changed if isinstance(any_view, MelView) else resolve_recipe(changed, NOT_ON_PCEN)


@pytest.fixture
def store(random_store: RandomStore, any_view: MelView | PcenView) -> Store:
    return random_store(LENGTHS, any_view)


@pytest.fixture
def examples(store: Store, examples_of: ExamplesOf) -> Examples:
    return examples_of(store, PRIMARY, SECONDARY, RATING)


def batches_of(
    store: Store, examples: Examples, recipe: Recipe, frames: Frames | None = None, full: bool = False
) -> TrainingBatches:
    cpu = torch.device("cpu")
    statistics = BinStatistics(*(torch.tensor(each)[None].float() for each in (MEAN, DEVIATION)))  # one channel
    transform = BatchTransform(store.view, recipe, Normaliser(store.view, recipe, statistics), cpu)
    transform.full = full
    return TrainingBatches(Planner(examples, store.view, recipe), frames or HostFrames(store, cpu), transform)


def concatenated(batches: TrainingBatches, epoch: int) -> Batch:
    """A whole epoch as one batch."""
    parts = [batch for batch, _ in batches.epoch(epoch)]
    columns = ([getattr(part, name) for part in parts] for name in ("clips", "targets", "weights", "importance"))
    return Batch(*(torch.cat(column) for column in columns))


def assert_equals_slow_loop(store: Store, examples: Examples, recipe: Recipe) -> None:
    batches, slow = batches_of(store, examples, recipe), SlowBatches(store, examples, recipe)
    for epoch in (0, 3):
        batch, drawn = concatenated(batches, epoch), slow.sampler.epoch(epoch)
        assert len(batch.clips) == len(drawn.recordings)
        for index in range(len(drawn.recordings)):
            image, target, weight, importance = slow.clip(epoch, index, drawn)
            assert np.abs(batch.clips[index, 0].numpy() - image).max() < 1e-3
            assert batch.targets[index].numpy() == pytest.approx(target, abs=1e-6)
            assert np.array_equal(batch.weights[index].numpy(), weight)
            assert float(batch.importance[index]) == pytest.approx(importance, abs=1e-6)


@pytest.mark.parametrize(("labels", "normalise"), [("lambda", "clip"), ("max", "none"), ("sum", "bins")])
def test_an_epoch_equals_a_slow_loop_in_the_documented_order(
    store: Store, examples: Examples, everything: Recipe, labels: str, normalise: str
) -> None:
    changes = {way: {"labels": labels} for way in ("mixup", "cutmix")}
    assert_equals_slow_loop(store, examples, resolve_recipe(everything, {"normalise": normalise, "augment": changes}))


def test_an_epoch_of_padded_clips_without_augmentation_equals_a_slow_loop(
    store: Store, examples: Examples, recipe: Recipe
) -> None:
    assert_equals_slow_loop(store, examples, recipe)


@pytest.mark.parametrize("way", ["mixup", "sumix", "cutmix", "background", "noise", "eq"])
def test_an_epoch_with_one_augmentation_equals_a_slow_loop(
    random_store: RandomStore, examples_of: ExamplesOf, view: MelView, recipe: Recipe, way: str
) -> None:
    store = random_store(LENGTHS, view)
    alone = {"augment": {way: EVERYTHING["augment"][way] | {"probability": 0.6}}}
    assert_equals_slow_loop(store, examples_of(store, PRIMARY, SECONDARY, RATING), resolve_recipe(recipe, alone))


@pytest.mark.parametrize("normalise", ["clip", "none"])
def test_an_epoch_with_pcen_after_mixing_equals_a_slow_loop(
    random_store: RandomStore,
    examples_of: ExamplesOf,
    view: MelView,
    pcen_view: PcenView,
    recipe: Recipe,
    normalise: str,
) -> None:
    store = random_store(LENGTHS, view)
    changes = {
        "channels": ["pcen"],
        "pcen": pcen_view.pcen.model_dump(),
        "dynamic_range_db": 0.0,
        "normalise": normalise,
    }
    with_pcen = resolve_recipe(recipe, EVERYTHING | changes)
    assert_equals_slow_loop(store, examples_of(store, PRIMARY, SECONDARY, RATING), with_pcen)


@pytest.mark.parametrize("policy", ["ignore", "positive", "mask"])
def test_labels_of_an_epoch_equal_a_slow_loop_whatever_secondary_labels_count_as(
    store: Store, examples: Examples, everything: Recipe, policy: str
) -> None:
    assert_equals_slow_loop(store, examples, resolve_recipe(everything, {"secondary": {"policy": policy}}))


@pytest.mark.parametrize("size", [2, 6, 12])
def test_the_batch_size_changes_no_clip(store: Store, examples: Examples, everything: Recipe, size: int) -> None:
    small, other = (
        concatenated(batches_of(store, examples, resolve_recipe(everything, {"batch_size": each})), 1)
        for each in (4, size)
    )
    assert torch.allclose(small.clips, other.clips, rtol=0, atol=1e-5)
    assert torch.equal(small.targets, other.targets)
    assert torch.equal(small.weights, other.weights)
    assert torch.equal(small.importance, other.importance)


def test_the_placement_changes_no_bit(store: Store, examples: Examples, everything: Recipe, cpu: torch.device) -> None:
    placements = (HostFrames(store, cpu), DeviceFrames(store, cpu), StreamFrames(store, cpu, 50_000))
    host, device, stream = (concatenated(batches_of(store, examples, everything, frames), 0) for frames in placements)
    assert torch.equal(host.clips, device.clips)
    assert torch.equal(host.clips, stream.clips)


@pytest.mark.parametrize("short", ["pad", "loop"])
@pytest.mark.parametrize("frames", [HostFrames, DeviceFrames])
def test_batches_of_one_shape_as_on_a_gpu_hold_the_same_clips(
    store: Store, examples: Examples, everything: Recipe, cpu: torch.device, frames: Any, short: str
) -> None:
    recipe = resolve_recipe(everything, {"short": short})
    expected = concatenated(batches_of(store, examples, recipe), 1)
    batches = batches_of(store, examples, recipe, frames(store, cpu), full=True)
    found = concatenated(batches, 1)
    np.testing.assert_allclose(found.clips, expected.clips, atol=1e-4)
    assert torch.equal(found.targets, expected.targets)
    shapes = [mapped(inputs, lambda tensor: tensor.shape) for inputs, _ in batches.inputs(1)]
    assert len(shapes) == 6
    assert all(each == shapes[0] for each in shapes)


@pytest.mark.parametrize("piece", [1, 10**9])
def test_a_plan_in_pieces_and_an_epoch_that_is_resumed_give_the_same_batches(
    store: Store, examples: Examples, everything: Recipe, cpu: torch.device, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    batches = batches_of(store, examples, everything, DeviceFrames(store, cpu), full=True)
    expected = concatenated(batches, 2).clips[8:]
    monkeypatch.setattr(batch_plan, "PIECE_CELLS", piece)
    assert torch.equal(torch.cat([batch.clips for batch, _ in batches.epoch(2, 2)]), expected)


def test_an_epoch_repeats_itself_and_differs_from_the_others(
    store: Store, examples: Examples, everything: Recipe
) -> None:
    batches = batches_of(store, examples, everything)
    first, again, other = (concatenated(batches, epoch) for epoch in (1, 1, 2))
    assert torch.equal(first.clips, again.clips)
    assert torch.equal(first.targets, again.targets)
    assert not torch.allclose(first.clips, other.clips)
    assert not torch.equal(first.targets, other.targets)


def test_another_seed_draws_other_clips(store: Store, examples: Examples, recipe: Recipe) -> None:
    one, other = (
        concatenated(batches_of(store, examples, resolve_recipe(recipe, {"seed": seed})), 0) for seed in (1, 2)
    )
    assert not torch.equal(one.clips, other.clips)


def test_nothing_is_mixed_at_probability_zero(store: Store, examples: Examples, recipe: Recipe) -> None:
    batch = concatenated(batches_of(store, examples, recipe), 0)
    assert torch.equal(batch.targets.sum(dim=1), torch.ones(16))
    assert set(batch.targets.flatten().tolist()) == {0, 1}


@pytest.mark.parametrize(("clips", "lengths"), [(8, [4, 4]), (9, [4, 4, 4]), (3, [3]), (1, [])])
def test_all_batches_have_one_size(
    store: Store, examples: Examples, recipe: Recipe, clips: int, lengths: list[int]
) -> None:
    batches = batches_of(store, examples, resolve_recipe(recipe, {"sampling": {"clips_per_epoch": clips}}))
    assert [len(batch.clips) for batch, _ in batches.epoch(0)] == lengths
    assert len(batches) == len(lengths)


def test_secondary_labels_of_either_clip_are_masked_in_a_mixture_unless_the_other_clip_names_them(
    random_store: RandomStore, view: MelView, recipe: Recipe, examples_of: ExamplesOf
) -> None:
    """Robin with a wren behind it, wren with a robin behind it: in their mixture both are sure to sing."""
    store = random_store((50, 50), view)
    examples = examples_of(store, (0, 1), ((0, 1), (1, 0)))
    always = {"secondary": {"policy": "mask"}, "augment": {"mixup": {"probability": 1.0, "alpha": 1.0}}}
    changes = always | {"sampling": {"clips_per_epoch": 64}}
    batch = concatenated(batches_of(store, examples, resolve_recipe(recipe, changes)), 0)
    assert torch.equal(batch.weights, (batch.targets > 0).float())
    assert (batch.weights.sum(dim=1) == 2).any()
