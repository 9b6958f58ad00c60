"""Training: it learns, it repeats itself to the bit, it stops at nonsense, and its line is honest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load

from cache.store import Store
from params import MelView, Member, Recipe, resolve_recipe
from train.batches import Batch, TrainingBatches
from train.curves import draw_curves
from train.errors import TrainError
from train.examples import Examples
from train.loop import Epoch, Trainer
from train.model import build_model
from train.residence import HostFrames
from train.validation import Validation

MakeStore = Callable[..., Store]
ExamplesOf = Callable[..., Examples]
Result = tuple[list[Epoch], list[dict[str, bytes]]]


@pytest.fixture(scope="module")
def easy(make_store: MakeStore, view: MelView) -> Store:
    """Eight recordings of 40 frames: each of four classes has its own loud mel bins above a faint noise."""
    rng = np.random.default_rng(1)
    recordings = rng.normal(-80, 2, (8, 40, 32)).astype(np.float32)
    for number, recording in enumerate(recordings):
        recording[:, 8 * (number % 4) : 8 * (number % 4) + 4] += 60
    return make_store(list(recordings), view)


@pytest.fixture
def examples(easy: Store, examples_of: ExamplesOf) -> Examples:
    return examples_of(easy, (0, 1, 2, 3) * 2)


class Training:
    """Trains the smallest model on the easy recordings, and validates on them."""

    def __init__(self, store: Store, examples: Examples, member: Member) -> None:
        self.store, self.examples, self.member = store, examples, member

    def run(self, recipe: Recipe, seed: int = 1, slow: bool = False) -> Result:
        cpu = torch.device("cpu")
        torch.manual_seed(seed)
        self.model = build_model(self.member, 4, pretrained=False)
        frames = HostFrames(self.store, cpu)
        kind = WaitingBatches if slow else TrainingBatches
        batches = kind(self.examples, frames, self.store.view, recipe, cpu)
        validation = Validation(self.examples, frames, self.store.view, recipe, cpu, 8)
        epochs, weights = zip(*Trainer(self.model, batches, recipe, cpu).run(validation), strict=True)
        return list(epochs), list(weights)


class WaitingBatches(TrainingBatches):
    """Batches whose data is said to have been waited for, for an hour each."""

    def epoch(self, epoch: int) -> Iterator[tuple[Batch, float]]:
        for batch, _ in super().epoch(epoch):
            yield batch, 3600.0


@pytest.fixture
def training(easy: Store, examples: Examples, member: Member) -> Training:
    return Training(easy, examples, member)


@pytest.mark.parametrize("kind", ["ce", "bce"])
def test_eight_easy_clips_are_learned_by_heart(training: Training, recipe: Recipe, kind: str) -> None:
    changes = {"epochs": 40, "batch_size": 8, "normalise": "clip", "loss": {"kind": kind}}
    epochs, _ = training.run(resolve_recipe(recipe, changes))
    assert epochs[-1].train_loss < 0.2 * epochs[0].train_loss
    assert epochs[-1].metrics["accuracy"] == 1
    assert epochs[-1].metrics["macro_roc_auc"] == 1


MIXED: dict[str, Any] = {
    "normalise": "clip",
    "sampling": {"weighted": True},
    "augment": {"gain_db": 6.0, "mixup": {"probability": 0.5}, "spec_augment": {"mel_masks": 1, "time_masks": 1}},
}


def test_the_same_seed_gives_the_same_weights_to_the_last_bit(training: Training, recipe: Recipe) -> None:
    mixed = resolve_recipe(recipe, MIXED)
    first, second = (training.run(mixed) for _ in range(2))
    assert first[1] == second[1]
    assert [epoch.train_loss for epoch in first[0]] == [epoch.train_loss for epoch in second[0]]


def test_another_seed_gives_other_weights(training: Training, recipe: Recipe) -> None:
    one, other = (training.run(resolve_recipe(recipe, MIXED | {"seed": seed}))[1] for seed in (1, 2))
    assert one != other


def test_every_epoch_leaves_last_and_the_better_ones_best(training: Training, recipe: Recipe) -> None:
    changes = {"epochs": 6, "normalise": "clip", "optimiser": {"lr": 1e-3}}
    epochs, weights = training.run(resolve_recipe(recipe, changes))
    best = float("-inf")
    for epoch, left in zip(epochs, weights, strict=True):
        better = epoch.metrics["macro_roc_auc"] > best
        best = max(best, epoch.metrics["macro_roc_auc"])
        assert set(left) == ({"last", "best"} if better else {"last"})
        assert left.get("best", left["last"]) == left["last"]
    assert weights[0]["last"] != weights[1]["last"]


@pytest.mark.parametrize(("batch_size", "where"), [(4, "epoch 1"), (8, "validation")])
def test_a_loss_that_is_no_number_stops_the_training(
    training: Training, recipe: Recipe, batch_size: int, where: str
) -> None:
    """Absurd steps break the weights before the second batch, or, where the epoch has but one, before validation."""
    absurd = {"lr": 1e30, "min_lr": 0.0, "clip_norm": 0.0}
    with pytest.raises(TrainError, match=rf"{where}: the loss is (nan|inf); lower optimiser\.lr"):
        training.run(resolve_recipe(recipe, {"batch_size": batch_size, "optimiser": absurd}))


def test_an_epoch_without_a_batch_is_refused(training: Training, recipe: Recipe) -> None:
    with pytest.raises(TrainError, match=r"one clip only.*raise sampling\.clips_per_epoch"):
        training.run(resolve_recipe(recipe, {"sampling": {"clips_per_epoch": 1}}))


def test_the_rate_follows_the_schedule(training: Training, recipe: Recipe) -> None:
    """Two steps an epoch: one epoch of warm-up, then half a cosine of four steps, seen at its second and fourth."""
    schedule = {"lr": 1e-3, "min_lr": 0.0, "warmup_epochs": 1.0, "schedule": "cosine"}
    epochs, _ = training.run(resolve_recipe(recipe, {"epochs": 3, "optimiser": schedule}))
    half = 2**-0.5
    assert [epoch.learning_rate for epoch in epochs] == pytest.approx([1e-3, 5e-4 * (1 + half), 5e-4 * (1 - half)])


@pytest.mark.parametrize(("clip_norm", "clipped"), [(0.01, True), (0.0, False)])
def test_the_gradient_is_clipped_to_its_norm_or_left_alone(
    training: Training, recipe: Recipe, clip_norm: float, clipped: bool
) -> None:
    training.run(resolve_recipe(recipe, {"epochs": 1, "optimiser": {"clip_norm": clip_norm}}))
    gradients = [weight.grad.norm() for weight in training.model.parameters() if weight.grad is not None]
    norm = float(torch.stack(gradients).norm())
    assert norm == pytest.approx(0.01, rel=1e-3) if clipped else norm > 0.02


@pytest.mark.parametrize("precision", ["bfloat16", "auto"])
def test_mixed_precision_trains_weights_that_stay_float32(training: Training, recipe: Recipe, precision: str) -> None:
    epochs, weights = training.run(resolve_recipe(recipe, {"epochs": 1, "precision": precision}))
    assert np.isfinite(epochs[0].train_loss)
    assert {tensor.dtype for tensor in load(weights[0]["last"]).values()} == {torch.float32, torch.int64}


def test_waiting_is_the_share_of_the_epoch_that_batches_were_waited_for(training: Training, recipe: Recipe) -> None:
    prompt, slow = (training.run(resolve_recipe(recipe, {"epochs": 1}), slow=slow)[0][0] for slow in (False, True))
    assert 0 <= prompt.waiting < 1
    elapsed_s = 8 / slow.clips_per_s
    assert slow.waiting == pytest.approx(2 * 3600 / elapsed_s)


def epoch(number: int = 2) -> Epoch:
    metrics = {"loss": 1.25, "accuracy": 0.5, "macro_roc_auc": 0.875, "cmap": 0.25, "macro_f1": 0.4}
    return Epoch(number, 1.5, metrics, clips_per_s=1234.5, waiting=0.021, learning_rate=1e-3)


def test_the_line_of_an_epoch_says_how_well_and_how_fast_it_went_and_how_long_it_waited() -> None:
    line = epoch().line(24)
    for part in ("epoch   3/24", "loss 1.500", "val 1.250", "auc 0.8750", "1,234 clips/s", "waiting 2.1 %"):
        assert part in line


def test_curves_are_drawn_even_where_a_metric_could_not_be_measured(tmp_path: Path) -> None:
    unmeasured = Epoch(0, 1.5, epoch().metrics | {"macro_roc_auc": float("nan")}, 10.0, 0.0, 1e-3)
    draw_curves([unmeasured, epoch(1)], tmp_path / "curves.png", "tiny-0")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
