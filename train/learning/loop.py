"""The training loop: one epoch after another, each followed by a validation and one honest line."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

import torch

from schema.recipe import Recipe
from train.clips.batches import TrainingBatches
from train.clips.waiting import StreamWaits
from train.errors import TrainError
from train.finishing.finish import Batch
from train.learning.learner import Learner
from train.learning.optim import learning_rate
from train.learning.ranks import ALONE, Ranks
from train.learning.validation import Validation
from train.learning.watch import LossWatch, explosion
from train.network.checkpoint import weights_bytes
from train.network.model import Classifier
from train.network.soup import mean_bytes


@dataclass(frozen=True)
class Epoch:
    """What one epoch did; `metrics` are the validation's.

    Attributes
    ----------
    waiting
        Share of the time that the loop spent waiting for data.
    device_waiting
        Share of the time that the GPU stood idle for want of data, by its own clock; None without a GPU.
    remarks
        Lines that are to be read beside the numbers.
    elapsed_s
        Time of the training, without the validation.
    """

    number: int
    train_loss: float
    metrics: dict[str, float]
    clips_per_s: float
    waiting: float
    learning_rate: float
    device_waiting: float | None = None
    remarks: tuple[str, ...] = ()
    elapsed_s: float = 0.0

    def line(self, epochs: int) -> str:
        """The line that is printed."""
        shown = self.metrics
        device = "" if self.device_waiting is None else f", device {100 * self.device_waiting:.1f} %"
        return (
            f"epoch {self.number + 1:>3}/{epochs}  loss {self.train_loss:.3f}  val {shown['loss']:.3f}  "
            f"acc {100 * shown['accuracy']:5.1f} %  auc {shown['macro_roc_auc']:.4f}  cmap {shown['cmap']:.3f}  "
            f"{self.clips_per_s:,.0f} clips/s  waiting {100 * self.waiting:.1f} %{device}  lr {self.learning_rate:.1e}"
        )

    @property
    def merit(self) -> float:
        """What makes an epoch the best: macro ROC-AUC, or low loss on a fold where that cannot be measured."""
        auc = self.metrics["macro_roc_auc"]
        return -self.metrics["loss"] if math.isnan(auc) else auc


class Trainer:
    """Trains one model on one fold; `name` is that of the training in what is said of it, such as `base-0`."""

    def __init__(
        self,
        model: Classifier,
        batches: TrainingBatches,
        recipe: Recipe,
        device: torch.device,
        ranks: Ranks = ALONE,
        name: str = "training",
    ) -> None:
        self.learner = Learner(model, batches.planner.class_counts, recipe, device, ranks)
        self._batches, self._recipe, self._device, self._name = batches, recipe, device, name
        self._world = ranks.world
        self._steps = -(-len(batches) // recipe.optimiser.accumulate)  # of an epoch

    def step(self, *group: Batch) -> torch.Tensor:
        """Take one optimiser step along the mean gradient of the batches; returns their loss, still on the device."""
        return self.learner.step(*group)

    def run(self, validation: Validation) -> Iterator[tuple[Epoch, dict[str, bytes]]]:
        """Train epoch by epoch; yields what each did and the weights that it leaves: `last`, and `best` when better.

        Under `weights: soup` it also leaves `soup`, the mean of its weights and those of the epochs before it.
        Ends early after `patience` epochs without a better one. The schedule of the learning rate is as if it did not.

        Raises
        ------
        TrainError
            If an epoch has no batch, or the loss is no longer a finite number.
        """
        if not len(self._batches):
            raise TrainError(
                f"{self._name}: an epoch draws one clip only for a process, and batch norm needs two; "
                "add recordings or raise sampling.clips_per_epoch"
            )
        history: list[Epoch] = []
        best: Epoch | None = None
        recent: deque[bytes] = deque(maxlen=self._recipe.soup_epochs)
        for number in range(self._recipe.epochs):
            epoch = self._epoch(number, validation)
            history.append(epoch)
            weights = {"last": weights_bytes(self.learner.kept)}
            if best is None or epoch.merit > best.merit:
                best, weights["best"] = epoch, weights["last"]
            if self._recipe.weights == "soup":
                recent.append(weights["last"])
                weights["soup"] = mean_bytes(recent)
            stops = 0 < self._recipe.patience <= number - best.number
            yield replace(epoch, remarks=tuple(_remarks(history, best, stops))), weights
            if stops:
                return

    def _epoch(self, number: int, validation: Validation) -> Epoch:
        begin, waited_s, clips = time.perf_counter(), 0.0, 0
        total, stream_waits = torch.zeros((), device=self._device), StreamWaits(self._device)
        where = f"{self._name}, epoch {number + 1}"
        watch = LossWatch(where, self._steps)
        self.learner.begin_epoch(frozen=number < self._recipe.optimiser.freeze_epochs)
        groups = grouped(self._batches.epoch(number, stream_waits=stream_waits), self._recipe.optimiser.accumulate)
        for step, (group, group_waited_s) in enumerate(groups):
            rate = self._set_rate(number * self._steps + step)
            count = self._world * sum(len(batch.clips) for batch in group)
            total += self.learner.step(*group) * count
            clips += count
            waited_s += group_waited_s
            watch.after_step(total, rate)
        # the last look at the loss has waited for the device, so this is the time of the whole epoch
        elapsed_s = time.perf_counter() - begin
        device_s = stream_waits.total_s()
        self.learner.end_epoch()
        return Epoch(
            number,
            float(total) / clips,
            validation.metrics(self.learner.kept, f"{where}, validation"),
            clips / elapsed_s,
            waited_s / elapsed_s,
            rate,
            None if device_s is None else device_s / elapsed_s,
            elapsed_s=elapsed_s,
        )

    def _set_rate(self, step: int) -> float:
        rate = learning_rate(step, self._steps, self._recipe.epochs, self._recipe.optimiser)
        self.learner.set_rate(rate)
        return rate


def grouped(batches: Iterable[tuple[Batch, float]], size: int) -> Iterator[tuple[list[Batch], float]]:
    """Batches in groups of `size`, the last perhaps smaller, each with the seconds waited for all of them."""
    batches = iter(batches)
    while group := list(islice(batches, size)):
        yield [batch for batch, _ in group], sum(waited_s for _, waited_s in group)


def _remarks(history: list[Epoch], best: Epoch, stops: bool) -> Iterator[str]:
    if said := explosion([epoch.train_loss for epoch in history]):
        yield said
    if stops:
        since = len(history) - 1 - best.number
        yield f"stopped early: no epoch was better than {best.number + 1} for {since} epochs (patience)"
