"""Trainings that are taken down at any step, and what must not differ after they went on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from birdcache.params.recipe import Recipe
from tests.train.easy import CPU, Training
from train.loop.checkpoint import Checkpoint, CheckpointFolder
from train.loop.history import Epoch
from train.loop.resume import Saver
from train.loop.trainer import Trainer
from train.model.classifier import build_model

SOME_TRAINING = {"recipe": "1", "store": "2"}


class Recorder(Saver):
    """Keeps a checkpoint of every step and every epoch; stops nothing."""

    def __init__(self) -> None:
        self.taken: list[Checkpoint] = []

    def after_step(self, trainer: Any) -> None:
        """Take one."""
        self.taken.append(trainer.checkpoint())

    def after_epoch(self, trainer: Any, ended: bool) -> None:
        """Take one."""
        self.taken.append(trainer.checkpoint())

    def interruptible(self, trainer: Any, work: Any) -> Any:
        """Do the work."""
        return work()


def new_trainer(training: Training, recipe: Recipe, seed: int = 1) -> Trainer:
    """A trainer before its first step, or before it is told where to go on."""
    torch.manual_seed(seed)
    model = build_model(training.member, 4, training.store.view.n_mels, pretrained=False)
    return Trainer(model, training.batches(recipe), recipe, CPU, name="tiny-0")


def outcome(trainer: Trainer, training: Training, recipe: Recipe, saver: Saver | None = None) -> dict[str, Any]:
    """Train to the end; all that must not depend on interruptions."""
    for _ in trainer.run(training.validation(recipe), saver):
        pass
    tensors, numbers = trainer.training_step.state()
    learned = {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}
    history = [untimed(epoch) for epoch in trainer.history.epochs]
    left = trainer.history.weights(b"")
    return {"learned": learned, "numbers": numbers, "history": history, "left": left, "best": trainer.history.metrics()}


def untimed(epoch: Epoch) -> Epoch:
    """An epoch without what the clock said."""
    return replace(epoch, clips_per_s=0.0, waiting=0.0, busy=0.0, elapsed_s=0.0)


def through_files(checkpoint: Checkpoint, folder: Path) -> Checkpoint:
    """A checkpoint, written and read."""
    files = CheckpointFolder(folder, 1, SOME_TRAINING)
    files.save(checkpoint)
    found = files.newest()
    assert found is not None
    return found[1]
