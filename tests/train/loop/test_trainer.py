"""Training: it learns, it repeats itself to the bit, it stops at nonsense, and its line is honest."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load

from birdcache.errors import TrainError
from birdcache.params.recipe import Member, Recipe, resolve_recipe
from birdcache.params.views import MelView
from cache.store import Store
from tests.train.easy import Training, WaitingBatches, easy_store, wait_for
from tests.train.small import small_model
from train.augment.batch import Batch
from train.data.examples import Examples
from train.data.frames import HostFrames, Uploaded
from train.data.loader import DeviceClock
from train.loop.history import Epoch
from train.loop.step import TrainingStep
from train.loop.trainer import Trainer
from train.loop.validation import Validation
from train.score.inference import covering_clips


@pytest.fixture(scope="module")
def easy(make_store: Callable[..., Store], view: MelView) -> Store:
    return easy_store(make_store, view)


@pytest.fixture
def training(easy: Store, examples_of: Callable[..., Examples], member: Member) -> Training:
    return Training(easy, examples_of(easy, (0, 1, 2, 3) * 2), member)


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


def test_epochs_between_validations_have_no_metrics_and_are_never_the_best(training: Training, recipe: Recipe) -> None:
    changes = {"epochs": 5, "validate_every": 2, "normalise": "clip", "optimiser": {"lr": 1e-3}}
    epochs, weights = training.run(resolve_recipe(recipe, changes))
    assert [bool(epoch.metrics) for epoch in epochs] == [False, True, False, True, True]
    assert [set(left) for left in weights[:3]] == [{"last"}, {"last", "best"}, {"last"}]
    assert "val" not in epochs[0].line(5)
    assert "val" in epochs[1].line(5)
    assert set(training.trainer.history.metrics()) == {"last", "best"}


def test_patience_ends_a_training_only_where_it_was_validated(training: Training, recipe: Recipe) -> None:
    still = {"epochs": 20, "validate_every": 3, "patience": 1, "optimiser": {"lr": 1e-9, "min_lr": 0.0}}
    epochs, _ = training.run(resolve_recipe(recipe, still))
    assert len(epochs) == 6
    assert epochs[-1].remarks == ("stopped early: no epoch was better than 3 (patience: 3)",)


def test_after_an_epoch_few_clips_of_a_recording_are_scored_and_in_the_end_all(
    random_store: Callable[..., Store],
    examples_of: Callable[..., Examples],
    view: MelView,
    recipe: Recipe,
    member: Member,
) -> None:
    store = random_store((700, 3, 40, 39, 41, 1, 520, 90), view)
    examples = examples_of(store, (0, 1, 2, 0, 1, 2, 0, 1))
    validation = Training(store, examples, member).validation(resolve_recipe(recipe, {"validation_clips": 3}))
    counts = np.bincount(validation.clips.owner)
    whole = covering_clips(examples, 40)
    assert counts.tolist() == np.minimum(np.bincount(whole.owner), 3).tolist()
    first = whole.start[whole.owner == 0]
    assert validation.clips.start[validation.clips.owner == 0].tolist() == first[[3, 9, 15]].tolist()
    told: list[int] = []
    validation.predict(small_model(mel_bins=view.n_mels), advance=told.append)
    assert sum(told) == len(whole)


def test_after_an_epoch_clips_are_heard_once_however_often_in_the_end(training: Training, recipe: Recipe) -> None:
    model = small_model(classes=4, mel_bins=training.store.view.n_mels)
    once, often = (training.validation(resolve_recipe(recipe, {"rolls": rolls})) for rolls in (1, 4))
    assert once.metrics(model) == often.metrics(model)
    assert not np.array_equal(once.predict(model)[0], often.predict(model)[0])


@pytest.mark.parametrize(("dropout", "seeded"), [(0.0, 1), (0.5, 4)])
def test_steps_are_seeded_where_something_is_drawn(
    training: Training, recipe: Recipe, monkeypatch: pytest.MonkeyPatch, dropout: float, seeded: int
) -> None:
    """The first step of a training shows it."""
    training.member = training.member.model_copy(update={"dropout": dropout})
    steps: list[tuple[int, int]] = []
    monkeypatch.setattr(Trainer, "_seed", lambda _, epoch, step: steps.append((epoch, step)))
    training.run(recipe)
    assert len(steps) == seeded


@pytest.mark.parametrize(
    ("batch_size", "said"),
    [
        (4, r"tiny-0, epoch 1: the loss became (nan|inf) at step 2 of 2 \(learning rate 1\.0e\+30\); lower .*: XC"),
        (8, r"tiny-0, epoch 1, validation: the loss is (nan|inf)"),
    ],
)
def test_a_loss_that_is_no_number_stops_the_training(
    training: Training, recipe: Recipe, batch_size: int, said: str
) -> None:
    """Absurd steps break the weights before the second batch, or, where the epoch has but one, before validation."""
    wild = resolve_recipe(recipe, {"batch_size": batch_size, "optimiser": {"min_lr": 0.0, "clip_norm": 0.0}})
    absurd = wild.model_copy(update={"optimiser": wild.optimiser.model_copy(update={"lr": 1e30})})
    with pytest.raises(TrainError, match=said):
        training.run(absurd)


def test_an_epoch_without_a_batch_is_refused(training: Training, recipe: Recipe) -> None:
    with pytest.raises(TrainError, match=r"only one clip per process.*raise sampling\.clips_per_epoch"):
        training.run(resolve_recipe(recipe, {"sampling": {"clips_per_epoch": 1}}))


@pytest.mark.parametrize(("batch_size", "accumulate"), [(4, 1), (2, 2)])
def test_the_rate_follows_the_schedule(training: Training, recipe: Recipe, batch_size: int, accumulate: int) -> None:
    """Two steps an epoch: one epoch of warm-up, then half a cosine of four steps, seen at its second and fourth."""
    schedule = {"lr": 1e-3, "min_lr": 0.0, "warmup_epochs": 1.0, "schedule": "cosine", "accumulate": accumulate}
    changes = {"epochs": 3, "batch_size": batch_size, "optimiser": schedule}
    epochs, _ = training.run(resolve_recipe(recipe, changes))
    half = 2**-0.5
    assert [epoch.learning_rate for epoch in epochs] == pytest.approx([1e-3, 5e-4 * (1 + half), 5e-4 * (1 - half)])


def test_the_last_group_of_an_epoch_steps_even_if_it_is_not_full(
    training: Training, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[list[int]] = []
    step = TrainingStep.step

    def counted(training_step: TrainingStep, *group: Batch) -> torch.Tensor:
        sizes.append([len(batch.clips) for batch in group])
        return step(training_step, *group)

    monkeypatch.setattr(TrainingStep, "step", counted)
    training.run(resolve_recipe(recipe, {"epochs": 2, "batch_size": 2, "optimiser": {"accumulate": 3}}))
    assert sizes == [[2, 2, 2], [2]] * 2


def test_accumulated_batches_train_like_batches_of_their_size(training: Training, recipe: Recipe) -> None:
    """On a model that sees each clip apart from the others of its batch."""
    results = []
    for batch_size, accumulate in ((8, 1), (2, 4)):
        changes = {"batch_size": batch_size, "normalise": "clip", "optimiser": {"accumulate": accumulate, "lr": 1e-3}}
        model = small_model(classes=4, mel_bins=32)
        results.append(training.run(resolve_recipe(recipe, changes), model=model))
    (large, large_weights), (small, small_weights) = results
    assert [epoch.train_loss for epoch in small] == pytest.approx([epoch.train_loss for epoch in large], rel=1e-4)
    for name, tensor in load(large_weights[-1]["last"]).items():
        torch.testing.assert_close(load(small_weights[-1]["last"])[name], tensor, rtol=0, atol=1e-5)


def test_the_running_mean_of_the_weights_is_what_is_validated_and_written(training: Training, recipe: Recipe) -> None:
    changed = resolve_recipe(recipe, {"normalise": "clip", "optimiser": {"ema_decay": 0.9, "lr": 1e-2}})
    epochs, weights = training.run(changed)
    written, kept = load(weights[-1]["last"]), training.trainer.training_step.kept.state_dict()
    assert all(torch.equal(written[name], kept[name]) for name in kept)
    assert any(not torch.equal(written[name], own) for name, own in training.model.state_dict().items())
    training.model.load_state_dict(written)
    assert training.validation(changed).metrics(training.model) == epochs[-1].metrics


def test_the_backbone_learns_only_after_the_epochs_in_which_it_is_frozen(training: Training, recipe: Recipe) -> None:
    _, weights = training.run(resolve_recipe(recipe, {"epochs": 3, "optimiser": {"freeze_epochs": 2}}))
    first, second, third = (load(left["last"]) for left in weights)
    head = {name for name in first if "classifier" in name}
    assert {name for name in first if not torch.equal(first[name], second[name])} == head
    learned = {name for name in first if not torch.equal(second[name], third[name])}
    assert learned > head
    assert any("running_mean" in name for name in learned)


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
    prompt, *_ = training.run(resolve_recipe(recipe, {"epochs": 1}))[0]
    assert 0 <= prompt.waiting < 1
    training.batches_kind = WaitingBatches
    slow, *_ = training.run(resolve_recipe(recipe, {"epochs": 1}))[0]
    elapsed_s = 8 / slow.clips_per_s
    assert slow.waiting == pytest.approx(2 * 3600 / elapsed_s)


def test_without_a_gpu_no_time_of_a_gpu_is_told(training: Training, recipe: Recipe) -> None:
    epochs, _ = training.run(resolve_recipe(recipe, {"epochs": 1}))
    assert epochs[0].device_waiting is None
    assert "device busy" in epochs[0].line(1)
    assert 0.2 < epochs[0].busy + epochs[0].waiting <= 1, "on a CPU, steps and waits are nearly all"


class AheadValidation(Validation):
    """Waits until batches have been staged that nobody has asked for."""

    def metrics(self, *arguments: Any) -> dict[str, float]:
        seen.append(bool(seen) or wait_for(lambda: len(staged) > 2))
        return super().metrics(*arguments)


seen: list[bool] = []
staged: list[int] = []


def test_the_next_epoch_s_first_batches_are_ready_before_the_validation_ends(
    training: Training, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = HostFrames.stage
    for each in (seen, staged):
        each.clear()

    def counted(frames: HostFrames, *clips: Any) -> Uploaded:
        if threading.current_thread() is not threading.main_thread():
            staged.append(len(clips[0]))
        return stage(frames, *clips)

    monkeypatch.setattr(HostFrames, "stage", counted)
    training.validation_kind = AheadValidation
    training.run(recipe)
    assert seen == [True, True], "an epoch has two batches"


@pytest.mark.gpu
def test_the_gpu_s_own_clock_sees_a_wait_that_nothing_else_fills() -> None:
    cuda = torch.device("cuda")
    waits = DeviceClock(cuda)
    work = torch.randn(500, 500, device=cuda)
    for sleep_s in (0.0, 0.2):
        waits.begin()
        time.sleep(sleep_s)
        waits.end(Uploaded(work, None))
        work = work @ work
    torch.cuda.synchronize()
    total_s = waits.total_s()
    assert total_s is not None
    assert 0.15 < total_s < 0.5


@pytest.mark.gpu
def test_the_gpu_s_own_clock_sees_no_wait_that_its_computing_fills() -> None:
    cuda = torch.device("cuda")
    waits, work = DeviceClock(cuda), torch.randn(500, 500, device=cuda)
    torch.cuda._sleep(2_000_000_000)  # type: ignore[no-untyped-call]  # cycles, about a second
    waits.begin()
    time.sleep(0.1)
    waits.end(Uploaded(work, None))
    torch.cuda.synchronize()
    assert (waits.total_s() or 0.0) < 0.02


def epoch(number: int = 2) -> Epoch:
    metrics = {"loss": 1.25, "accuracy": 0.5, "macro_roc_auc": 0.875, "cmap": 0.25, "macro_f1": 0.4}
    return Epoch(number, 1.5, metrics, clips_per_s=1234.5, waiting=0.021, learning_rate=1e-3, busy=0.95)


def test_the_line_of_an_epoch_says_how_well_and_how_fast_it_went_and_how_long_it_waited() -> None:
    line = epoch().line(24)
    for part in (
        "epoch   3/24",
        "loss 1.500",
        "val 1.250",
        "auc 0.8750",
        "1,234 clips/s",
        "waiting 2.1 %, device busy 95.0 %  lr",
    ):
        assert part in line
    assert "waiting 2.1 %, device 0.4 %, device busy 95.0 %  lr" in replace(epoch(), device_waiting=0.004).line(24)
