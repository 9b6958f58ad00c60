"""The training loop: one epoch after another, each followed by a validation and one honest line."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from params import Recipe
from train.batches import Batch, TrainingBatches
from train.checkpoint import weights_bytes
from train.errors import TrainError
from train.losses import check_finite, loss
from train.model import autocast_dtype
from train.optim import build_optimiser, learning_rate
from train.validation import Validation


@dataclass(frozen=True)
class Epoch:
    """What one epoch did; `metrics` are the validation's, `waiting` is the share of time spent waiting for data."""

    number: int
    train_loss: float
    metrics: dict[str, float]
    clips_per_s: float
    waiting: float
    learning_rate: float

    def line(self, epochs: int) -> str:
        """The line that is printed."""
        shown = self.metrics
        return (
            f"epoch {self.number + 1:>3}/{epochs}  loss {self.train_loss:.3f}  val {shown['loss']:.3f}  "
            f"acc {100 * shown['accuracy']:5.1f} %  auc {shown['macro_roc_auc']:.4f}  cmap {shown['cmap']:.3f}  "
            f"{self.clips_per_s:,.0f} clips/s  waiting {100 * self.waiting:.1f} %  lr {self.learning_rate:.1e}"
        )


class Trainer:
    """Trains one model on one fold."""

    def __init__(self, model: nn.Module, batches: TrainingBatches, recipe: Recipe, device: torch.device) -> None:
        self._model, self._batches, self._recipe, self._device = model, batches, recipe, device
        self._optimiser = build_optimiser(model, recipe.optimiser)
        self._dtype = autocast_dtype(recipe.precision, device)
        self._scaler = torch.amp.GradScaler(device.type, enabled=self._dtype == torch.float16)

    def run(self, validation: Validation) -> Iterator[tuple[Epoch, dict[str, bytes]]]:
        """Train epoch by epoch; yields what each did and the weights that it leaves: `last`, and `best` when better.

        Raises
        ------
        TrainError
            If an epoch has no batch, or the loss is no longer a finite number.
        """
        if not len(self._batches):
            raise TrainError(
                "an epoch draws one clip only, and batch norm needs two; "
                "add recordings or raise sampling.clips_per_epoch"
            )
        best = float("-inf")
        for number in range(self._recipe.epochs):
            epoch = self._epoch(number, validation)
            weights = {"last": weights_bytes(self._model)}
            if epoch.metrics["macro_roc_auc"] > best or number == 0:
                best = epoch.metrics["macro_roc_auc"]
                weights["best"] = weights["last"]
            yield epoch, weights

    def _epoch(self, number: int, validation: Validation) -> Epoch:
        begin, waited_s, clips = time.perf_counter(), 0.0, 0
        total = torch.zeros((), device=self._device)
        self._model.train()
        for step, (batch, batch_waited_s) in enumerate(self._batches.epoch(number)):
            rate = self._set_rate(number * len(self._batches) + step)
            total += self.step(batch) * len(batch.clips)
            clips += len(batch.clips)
            waited_s += batch_waited_s
        train_loss = float(total) / clips  # waits for the device, so the time below is the whole epoch's
        elapsed_s = time.perf_counter() - begin
        check_finite(train_loss, f"epoch {number + 1}")
        return Epoch(number, train_loss, validation.metrics(self._model), clips / elapsed_s, waited_s / elapsed_s, rate)

    def _set_rate(self, step: int) -> float:
        rate = learning_rate(step, len(self._batches), self._recipe.epochs, self._recipe.optimiser)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        return rate

    def step(self, batch: Batch) -> torch.Tensor:
        """Take one optimiser step; returns the batch's loss, still on the device."""
        with torch.autocast(self._device.type, self._dtype, enabled=self._dtype is not None):
            logits_BK = self._model(batch.clips.contiguous(memory_format=torch.channels_last))
        value = loss(logits_BK, batch.targets, batch.weights, self._recipe.loss)
        self._optimiser.zero_grad(set_to_none=True)
        self._scaler.scale(value).backward()  # type: ignore[no-untyped-call]
        if self._recipe.optimiser.clip_norm:
            self._scaler.unscale_(self._optimiser)
            nn.utils.clip_grad_norm_(self._model.parameters(), self._recipe.optimiser.clip_norm)
        self._scaler.step(self._optimiser)
        self._scaler.update()
        return value.detach()
