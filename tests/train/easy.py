"""A training of the smallest model on eight easy recordings."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import torch

from birdcache.params.recipe import Member, Recipe
from birdcache.params.views import MelView
from cache.store import Store
from train.augment.batch import BatchTransform, StepInputs
from train.augment.normalise import BinStatistics, Normaliser
from train.augment.training_batches import TrainingBatches
from train.data.batch_plan import Planner
from train.data.examples import Examples
from train.data.frames import HostFrames
from train.data.loader import DeviceClock
from train.data.teacher import Teacher
from train.loop.history import Epoch
from train.loop.trainer import Trainer
from train.loop.validation import Validation
from train.model.classifier import Classifier, build_model
from train.model.weights import weights_bytes

CPU = torch.device("cpu")

Result = tuple[list[Epoch], list[dict[str, bytes]]]


def easy_store(make_store: Callable[..., Store], view: MelView) -> Store:
    """Eight recordings of 40 frames: each of four classes has its own loud mel bins above a faint noise."""
    rng = np.random.default_rng(1)
    recordings = rng.normal(-80, 2, (8, 40, 32)).astype(np.float32)
    for number, recording in enumerate(recordings):
        recording[:, 8 * (number % 4) : 8 * (number % 4) + 4] += 60
    return make_store(list(recordings), view)


def wait_for(condition: Callable[[], bool]) -> bool:
    """Whether something becomes true within 30 seconds."""
    end = time.monotonic() + 30
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def results(trainer: Trainer, validation: Validation) -> Result:
    """What each epoch did, and the weights that it left: `best` where it was better."""
    epochs, weights = [], []
    for epoch in trainer.run(validation):
        left = trainer.history.weights(weights_bytes(trainer.training_step.kept))
        if trainer.history.best is None or trainer.history.best.number < epoch.number:
            del left["best"]
        epochs.append(epoch)
        weights.append(left)
    return epochs, weights


class Training:
    """Trains on the easy recordings and validates on them."""

    validation_kind: type[Validation] = Validation
    batches_kind: type[TrainingBatches] = TrainingBatches

    def __init__(self, store: Store, examples: Examples, member: Member) -> None:
        self.store, self.examples, self.validated, self.member = store, examples, examples, member
        self.teacher: Teacher | None = None

    def run(self, recipe: Recipe, seed: int = 1, model: Classifier | None = None) -> Result:
        """Train by the recipe; `trainer` and `model` are then there to look at."""
        torch.manual_seed(seed)
        self.model = model or build_model(self.member, 4, self.store.view.n_mels, pretrained=False)
        self.trainer = Trainer(self.model, self.batches(recipe), recipe, CPU, name="tiny-0")
        return results(self.trainer, self.validation(recipe))

    def batches(self, recipe: Recipe) -> TrainingBatches:
        """What the model is trained on."""
        view, nothing = self.store.view, BinStatistics(torch.empty(0), torch.empty(0))
        transform = BatchTransform(view, recipe, Normaliser(view, recipe, nothing), CPU)
        planner = Planner(self.examples, view, recipe, teacher=self.teacher)
        return self.batches_kind(planner, HostFrames(self.store, CPU), transform)

    def validation(self, recipe: Recipe) -> Validation:
        """What measures the model."""
        return self.validation_kind(self.validated, HostFrames(self.store, CPU), self.store.view, recipe, CPU, 8)


class WaitingBatches(TrainingBatches):
    """Batches whose data is said to have been waited for, for an hour each."""

    def inputs(
        self, epoch: int, first: int = 0, waits: DeviceClock | None = None
    ) -> Iterator[tuple[StepInputs, float]]:
        """The batches as they are."""
        for inputs, _ in super().inputs(epoch, first, waits):
            yield inputs, 3600.0
