"""A training that is interrupted anywhere and goes on ends as if it had not been, to the last bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save

from birdcache.errors import TrainError
from birdcache.params.model import Params
from birdcache.params.recipe import Member, Recipe, resolve_recipe
from birdcache.params.views import MelView
from cache.store import Store
from tests.train.easy import Training, easy_store
from tests.train.loop.resuming import Recorder, new_trainer, outcome, through_files
from tests.train.teaching import opened, teacher_store
from train.data.examples import Examples
from train.data.member import ResolvedMember
from train.loop.checkpoint import STATE, Checkpoint
from train.loop.trainer import Trainer
from train.model.weights import weights_bytes

MIXED = {"gain_db": 6.0, "mixup": {"probability": 0.5}, "spec_augment": {"mel_masks": 1, "time_masks": 1}}
COMMON: dict[str, Any] = {"epochs": 3, "batch_size": 2, "normalise": "clip", "augment": MIXED}
RECIPES: dict[str, dict[str, Any]] = {
    "averaged, accumulated, frozen at first, a soup": {
        "weights": "soup",
        "soup_epochs": 2,
        "channels_last": True,
        "sampling": {"weighted": True},
        "loss": {"kind": "bce"},
        "optimiser": {
            "ema_decay": 0.9,
            "accumulate": 3,
            "freeze_epochs": 1,
            "clip_norm": 1.0,
            "schedule": "cosine",
            "warmup_epochs": 0.5,
        },
    },
    "with a scaled loss": {
        "epochs": 2,
        "batch_size": 4,
        "precision": "float16",
        "channels_last": False,
        "optimiser": {"kind": "adam"},
    },
    **{
        f"with {kind}": {"epochs": 2, "batch_size": 4, "optimiser": {"kind": kind, "lr": 1e-3}}
        for kind in ("muon", "adan", "lamb", "laprop")  # which keep numbers, or a step for each group
    },
    "that stops early": {"epochs": 6, "batch_size": 4, "patience": 1, "optimiser": {"lr": 1e-6, "min_lr": 0.0}},
}


@pytest.fixture(scope="module")
def easy(make_store: Callable[..., Store], view: MelView) -> Store:
    return easy_store(make_store, view)


@pytest.fixture
def training(easy: Store, examples_of: Callable[..., Examples], member: Member) -> Training:
    """With a network that draws: dropout before the classifier, blocks that are left out."""
    drawing = member.model_copy(update={"dropout": 0.3, "drop_path": 0.3})
    return Training(easy, examples_of(easy, (0, 1, 2, 3) * 2), drawing)


def recorded(training: Training, recipe: Recipe) -> tuple[dict[str, Any], list[Checkpoint]]:
    """What an uninterrupted training comes to, and checkpoints of all its steps."""
    recorder = Recorder()
    return outcome(new_trainer(training, recipe), training, recipe, recorder), recorder.taken


@pytest.mark.parametrize("name", RECIPES)
def test_a_training_that_goes_on_after_any_step_ends_as_if_it_had_not_been_interrupted(
    training: Training, recipe: Recipe, tmp_path: Path, name: str
) -> None:
    """The model that goes on begins with other weights, so that all it knows is out of the checkpoint."""
    changed = resolve_recipe(recipe, COMMON | RECIPES[name])
    expected, taken = recorded(training, changed)
    assert outcome(new_trainer(training, changed), training, changed) == expected, "saving changes nothing"
    for number, checkpoint in enumerate(taken):
        trainer = new_trainer(training, changed, seed=2)
        trainer.resume(through_files(checkpoint, tmp_path))
        assert outcome(trainer, training, changed) == expected, number


def test_a_training_with_a_teacher_goes_on_as_if_it_had_not_been_interrupted(
    training: Training,
    recipe: Recipe,
    make_store: Callable[..., Store],
    resolved: ResolvedMember,
    params: Params,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    changed = resolve_recipe(recipe, COMMON | {"optimiser": {"ema_decay": 0.9, "clip_norm": 1.0, "accumulate": 2}})
    own = training.store
    keys: dict[str, Any] = {"projection": "mlp", "schedule": "linear", "soft": {"alpha": 0.3}}
    stores = [teacher_store(make_store, own, 7)]
    of_training = training.examples, resolved, changed, params.machine, torch.device("cpu")
    training.teacher = opened(monkeypatch, stores, [own], *of_training, **keys)
    expected, taken = recorded(training, changed)
    assert all(epoch.teacher_loss for epoch in expected["history"])
    assert "(teacher 0." in expected["history"][0].line(3)
    kept = new_trainer(training, changed).training_step.kept
    assert not [name for name in load(weights_bytes(kept)) if "projection" in name], "it is not part of the model"
    for number, checkpoint in enumerate(taken):
        trainer = new_trainer(training, changed, seed=2)
        trainer.resume(through_files(checkpoint, tmp_path))
        assert outcome(trainer, training, changed) == expected, number
    for lost in ("model/projection", "taught"):
        trainer = new_trainer(training, changed)
        trainer.resume(without(taken[3], lost))
        assert outcome(trainer, training, changed) != expected, lost


def test_a_training_may_be_interrupted_twice_within_an_epoch(training: Training, recipe: Recipe) -> None:
    changed = resolve_recipe(recipe, COMMON | {"optimiser": {"ema_decay": 0.9}})
    expected, taken = recorded(training, changed)
    again = Recorder()
    trainer = new_trainer(training, changed, seed=2)
    trainer.resume(taken[5])
    outcome(trainer, training, changed, again)
    assert again.taken[0].facts["course"]["tally"]["steps"] == 2
    last = new_trainer(training, changed, seed=3)
    last.resume(again.taken[0])
    assert outcome(last, training, changed) == expected


def without(checkpoint: Checkpoint, begins: str) -> Checkpoint:
    """A checkpoint that lacks what it should know."""
    tensors = load(checkpoint.files[STATE])
    kept = {name: torch.zeros_like(each) if name.startswith(begins) else each for name, each in tensors.items()}
    return Checkpoint(checkpoint.facts, {**checkpoint.files, STATE: save(kept)})


@pytest.mark.parametrize("lost", ["model/", "ema/", "optimiser/", "loss"])
def test_nothing_in_a_checkpoint_is_there_in_vain(training: Training, recipe: Recipe, lost: str) -> None:
    changed = resolve_recipe(recipe, COMMON | {"optimiser": {"ema_decay": 0.9}})
    expected, taken = recorded(training, changed)
    trainer = new_trainer(training, changed)
    trainer.resume(without(taken[5], lost))
    assert outcome(trainer, training, changed) != expected


def test_without_a_seed_for_each_step_dropout_would_draw_anew(
    training: Training, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = resolve_recipe(recipe, COMMON)
    monkeypatch.setattr(Trainer, "_seed", lambda *_: None)
    expected, taken = recorded(training, changed)
    trainer = new_trainer(training, changed)
    trainer.resume(taken[5])
    assert outcome(trainer, training, changed) != expected


def test_the_clock_of_an_epoch_goes_on_where_it_stood(training: Training, recipe: Recipe) -> None:
    changed = resolve_recipe(recipe, COMMON)
    _, taken = recorded(training, changed)
    facts = taken[2].facts
    totals = {**facts["course"]["tally"], "elapsed_s": 1000.0, "waited_s": 250.0}
    trainer = new_trainer(training, changed)
    trainer.resume(replace(taken[2], facts={**facts, "course": {**facts["course"], "tally": totals}}))
    epoch = next(trainer.run(training.validation(changed)))
    assert epoch.elapsed_s == pytest.approx(1000, abs=30)
    assert epoch.waiting == pytest.approx(0.25, abs=0.02)
    assert epoch.clips_per_s == pytest.approx(8 / 1000, rel=0.05)


def test_weights_that_are_no_numbers_are_not_saved(training: Training, recipe: Recipe) -> None:
    trainer = new_trainer(training, recipe)
    with torch.no_grad():
        next(trainer.training_step.kept.parameters())[0] = float("nan")
    with pytest.raises(TrainError, match=r"weight: this weight of the model is not finite; lower optimiser\.lr"):
        trainer.checkpoint()


def test_it_is_said_how_far_a_training_has_come(training: Training, recipe: Recipe) -> None:
    changed = resolve_recipe(recipe, COMMON)
    _, taken = recorded(training, changed)
    said = []
    for checkpoint in (taken[0], taken[3], taken[4], taken[-1]):
        trainer = new_trainer(training, changed)
        trainer.resume(checkpoint)
        said.append(trainer.position)
    assert said == [
        "in epoch 1 of 3, after step 1 of 4",
        "in epoch 1 of 3, after step 4 of 4",
        "in epoch 2 of 3, after step 0 of 4",
        "after epoch 3, its last",
    ]


@pytest.mark.parametrize("number", [None, 0, 3, 5])
def test_every_clip_of_a_training_is_told_once(training: Training, recipe: Recipe, number: int | None) -> None:
    changed = resolve_recipe(recipe, COMMON)
    trainer, validation = new_trainer(training, changed), training.validation(changed)
    if number is not None:
        _, taken = recorded(training, changed)
        trainer.resume(taken[number])
    told: list[int] = []
    done, total = trainer.clips(validation)
    for _ in trainer.run(validation, advance=told.append):
        pass
    assert (done > 0) == (number is not None)
    assert done + sum(told) == total
    assert trainer.clips(validation) == (total, total)
