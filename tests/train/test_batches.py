"""Training batches against a slow loop over their clips, in the order of operations that `train.batches` documents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from cache.store import Store
from params import MelView, PcenView, Recipe, resolve_recipe
from train import augment
from train.batches import Batch, TrainingBatches, normalised
from train.draws import Purpose, uniform
from train.examples import Examples, targets
from train.residence import DeviceFrames, HostFrames, StreamFrames
from train.sampling import Sampler, clip_positions, clip_starts

Floats = npt.NDArray[np.float64]
RandomStore = Callable[..., Store]
ExamplesOf = Callable[..., Examples]

LENGTHS = (700, 3, 40, 39, 41, 1, 520, 90, 64, 200, 15, 33, 47, 300, 38, 80)
PRIMARY = (0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 3, 3)
SECONDARY = ((0, 1), (0, 2), (7, 0), (14, 0))
EVERYTHING: dict[str, Any] = {
    "dynamic_range_db": 60.0,
    "normalise": "clip",
    "short": "loop",
    "sampling": {"weighted": True},
    "secondary": {"policy": "weight", "weight": 0.4},
    "augment": {
        "gain_db": 12.0,
        "time_shift_s": 0.2,
        "mixup": {"probability": 0.6, "alpha": 0.8},
        "spec_augment": {"mel_masks": 2, "mel_width": 6, "time_masks": 2, "time_width": 9, "probability": 0.7},
    },
}
NOT_ON_PCEN: dict[str, Any] = {"dynamic_range_db": 0.0, "augment": {"gain_db": 0.0}}


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
    return examples_of(store, PRIMARY, SECONDARY)


def batches_of(store: Store, examples: Examples, recipe: Recipe) -> TrainingBatches:
    cpu = torch.device("cpu")
    return TrainingBatches(examples, HostFrames(store, cpu), store.view, recipe, cpu)


def joined(batches: TrainingBatches, epoch: int) -> Batch:
    """A whole epoch as one batch."""
    parts = [batch for batch, _ in batches.epoch(epoch)]
    columns = ([getattr(part, name) for part in parts] for name in ("clips", "targets", "weights"))
    return Batch(*(torch.cat(column) for column in columns))


class SlowBatches:
    """The same clips, one after another in float64."""

    def __init__(self, store: Store, examples: Examples, recipe: Recipe) -> None:
        self.store, self.examples, self.recipe = store, examples, recipe
        self.in_db = isinstance(store.view, MelView)
        self.sampler = Sampler(examples.primary, recipe.sampling, recipe.seed)
        self.targets, self.weights = targets(examples, recipe.secondary)

    def clip(self, epoch: int, index: int, example: int) -> tuple[Floats, Floats]:
        """Image (M, T) and target (K,) of clip `index` of an epoch."""
        recipe, at = self.recipe, np.array([index])
        shift_frames = round(recipe.augment.time_shift_s * self.store.view.sample_rate_hz / self.store.view.hop)
        draws = augment.draw_batch(recipe.seed, epoch, at, recipe.augment, 32, 40, shift_frames)
        share = float(draws.share[0])
        values = self.cut(example, uniform(recipe.seed, epoch, at, Purpose.START)[:, 0]) + draws.gain_db[0]
        target = self.targets[example].astype(np.float64)
        if share < 1:
            partner = int(self.sampler.draw(epoch, at, Purpose.PARTNER)[0])
            other = self.cut(partner, uniform(recipe.seed, epoch, at, Purpose.PARTNER_START)[:, 0])
            values = self.mixed(values, other + draws.partner_gain_db[0], share)
            both = target, self.targets[partner].astype(np.float64)
            rule = recipe.augment.mixup.labels
            target = np.maximum(*both) if rule == "max" else share * both[0] + (1 - share) * both[1]
        values = np.roll(values, draws.shift[0], axis=0)
        if recipe.dynamic_range_db:
            values = np.maximum(values, values.max() - recipe.dynamic_range_db)
        if recipe.normalise == "clip":
            values = (values - values.mean()) / (values.std(ddof=1) + 1e-5)
        fill = values.mean()
        for start, width in zip(draws.mel.start[0], draws.mel.width[0], strict=True):
            values[:, start : start + width] = fill
        for start, width in zip(draws.time.start[0], draws.time.width[0], strict=True):
            values[start : start + width] = fill
        return values.T, target

    def cut(self, example: int, draw: Floats) -> Floats:
        loop, frames = self.recipe.short == "loop", self.examples.frames[[example]]
        position = clip_positions(clip_starts(frames, 40, loop, draw), frames, 40, loop)[0]
        recording = self.store.read(int(self.examples.rows[example])).astype(np.float64)
        return np.where(position[:, None] < 0, self.store.codec.low, recording[position])

    def mixed(self, first: Floats, second: Floats, share: float) -> Floats:
        if not self.in_db:
            return share * first + (1 - share) * second
        return np.asarray(10 * np.log10(share * 10 ** (first / 10) + (1 - share) * 10 ** (second / 10)))


@pytest.mark.parametrize(("labels", "normalise"), [("lambda", "clip"), ("max", "none")])
def test_an_epoch_equals_a_slow_loop_in_the_documented_order(
    store: Store, examples: Examples, everything: Recipe, labels: str, normalise: str
) -> None:
    recipe = resolve_recipe(everything, {"normalise": normalise, "augment": {"mixup": {"labels": labels}}})
    assert_equals_slow_loop(store, examples, recipe)


def test_an_epoch_of_padded_clips_without_augmentation_equals_a_slow_loop(
    store: Store, examples: Examples, recipe: Recipe
) -> None:
    assert_equals_slow_loop(store, examples, recipe)


def assert_equals_slow_loop(store: Store, examples: Examples, recipe: Recipe) -> None:
    slow = SlowBatches(store, examples, recipe)
    for epoch in (0, 3):
        batch = joined(batches_of(store, examples, recipe), epoch)
        drawn = slow.sampler.recordings(epoch)
        assert batch.clips.shape == (len(drawn), 1, 32, 40)
        for index, example in enumerate(drawn.tolist()):
            image, target = slow.clip(epoch, index, example)
            assert np.abs(batch.clips[index, 0].numpy() - image).max() < 1e-3
            assert batch.targets[index].numpy() == pytest.approx(target, abs=1e-6)


@pytest.mark.parametrize("size", [2, 6, 16])
def test_the_batch_size_changes_no_clip(store: Store, examples: Examples, everything: Recipe, size: int) -> None:
    small, other = (
        joined(batches_of(store, examples, resolve_recipe(everything, {"batch_size": each})), 1) for each in (4, size)
    )
    assert torch.allclose(small.clips, other.clips, rtol=0, atol=1e-5)
    assert torch.equal(small.targets, other.targets)
    assert torch.equal(small.weights, other.weights)


def test_the_residence_changes_no_bit(store: Store, examples: Examples, everything: Recipe, cpu: torch.device) -> None:
    residences = (HostFrames(store, cpu), DeviceFrames(store, cpu), StreamFrames(store, cpu, 50_000))
    host, device, stream = (
        joined(TrainingBatches(examples, frames, store.view, everything, cpu), 0) for frames in residences
    )
    assert torch.equal(host.clips, device.clips)
    assert torch.equal(host.clips, stream.clips)


def test_an_epoch_repeats_itself_and_differs_from_the_others(
    store: Store, examples: Examples, everything: Recipe
) -> None:
    batches = batches_of(store, examples, everything)
    first, again, other = (joined(batches, epoch) for epoch in (1, 1, 2))
    assert torch.equal(first.clips, again.clips)
    assert torch.equal(first.targets, again.targets)
    assert not torch.allclose(first.clips, other.clips)
    assert not torch.equal(first.targets, other.targets)


def test_another_seed_draws_other_clips(store: Store, examples: Examples, recipe: Recipe) -> None:
    one, other = (joined(batches_of(store, examples, resolve_recipe(recipe, {"seed": seed})), 0) for seed in (1, 2))
    assert not torch.equal(one.clips, other.clips)


def test_nothing_is_mixed_at_probability_zero(store: Store, examples: Examples, recipe: Recipe) -> None:
    batch = joined(batches_of(store, examples, recipe), 0)
    assert torch.equal(batch.targets.sum(dim=1), torch.ones(16))
    assert set(batch.targets.flatten().tolist()) == {0, 1}


@pytest.mark.parametrize(("clips", "lengths"), [(8, [4, 4]), (9, [4, 4]), (10, [4, 4, 2]), (1, [])])
def test_a_last_batch_of_one_clip_is_left_out(
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
    batch = joined(batches_of(store, examples, resolve_recipe(recipe, changes)), 0)
    assert torch.equal(batch.weights, (batch.targets > 0).float())
    assert (batch.weights.sum(dim=1) == 2).any()


def random_clips(frames: int = 40) -> torch.Tensor:
    return torch.tensor(np.random.default_rng(4).uniform(-100, 40, (6, frames, 32)), dtype=torch.float32)


def test_normalised_clips_have_mean_zero_and_deviation_one(recipe: Recipe) -> None:
    clips = normalised(random_clips(), resolve_recipe(recipe, {"normalise": "clip", "dynamic_range_db": 50.0}))
    assert clips.mean(dim=(1, 2)).numpy() == pytest.approx(np.zeros(6), abs=1e-5)
    assert clips.std(dim=(1, 2)).numpy() == pytest.approx(np.ones(6), abs=1e-5)


def test_a_louder_clip_is_the_same_clip_once_normalised(recipe: Recipe) -> None:
    chosen = resolve_recipe(recipe, {"normalise": "clip", "dynamic_range_db": 50.0})
    assert torch.allclose(normalised(random_clips() + 6, chosen), normalised(random_clips(), chosen), atol=1e-5)


def test_silence_stays_finite_when_normalised(recipe: Recipe) -> None:
    silence = torch.full((2, 40, 32), -100.0)
    assert torch.equal(normalised(silence, resolve_recipe(recipe, {"normalise": "clip"})), torch.zeros(2, 40, 32))


def test_what_lies_below_the_dynamic_range_is_raised_to_its_floor(recipe: Recipe) -> None:
    clips = random_clips()
    limited = normalised(clips, resolve_recipe(recipe, {"dynamic_range_db": 30.0}))
    for before, after in zip(clips.numpy(), limited.numpy(), strict=True):
        assert np.array_equal(after, np.maximum(before, before.max() - np.float32(30)))


def test_without_range_and_normalisation_clips_stay_as_they_are(recipe: Recipe) -> None:
    assert torch.equal(normalised(random_clips(), recipe), random_clips())
