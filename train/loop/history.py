"""How far a training has come: its epochs so far, the weights that they left, and what the present one has done."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from birdcache.params.recipe import Recipe
from train.loop.divergence import explosion
from train.model.soup import mean_bytes


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


@dataclass
class Totals:
    """What an epoch has done so far; `loss` is the sum over its clips, on the device."""

    loss: Tensor
    steps: int = 0
    clips: int = 0
    waited_s: float = 0.0
    elapsed_s: float = 0.0
    device_s: float = 0.0  # that the GPU stood idle for want of data

    def add(self, loss: Tensor, clips: int, waited_s: float) -> None:
        """Count a step by its mean loss."""
        self.loss += loss * clips
        self.steps += 1
        self.clips += clips
        self.waited_s += waited_s


@dataclass
class History:
    """The epochs that have ended, the weights that are still wanted of them, and the epoch that is under way."""

    recipe: Recipe
    totals: Totals
    epochs: list[Epoch] = field(default_factory=list)
    best: Epoch | None = None
    best_weights: bytes = b""
    recent: list[bytes] = field(default_factory=list)  # weights of the last epochs, for a soup

    @classmethod
    def start(cls, recipe: Recipe, device: torch.device) -> History:
        """Before the first step."""
        return cls(recipe, Totals(torch.zeros((), device=device)))

    @property
    def stops_early(self) -> bool:
        """Whether `patience` epochs have passed without a better one."""
        return self.best is not None and 0 < self.recipe.patience < len(self.epochs) - self.best.number

    @property
    def ended(self) -> bool:
        """Whether no epoch is left."""
        return self.stops_early or len(self.epochs) >= self.recipe.epochs

    def add(self, epoch: Epoch, weights: bytes) -> Epoch:
        """End the epoch that is under way; gives it back with the remarks that are to be made of it."""
        if self.best is None or epoch.merit > self.best.merit:
            self.best, self.best_weights = epoch, weights
        if self.recipe.weights == "soup":
            self.recent = [*self.recent, weights][-self.recipe.soup_epochs :]
        self.epochs.append(epoch)
        self.epochs[-1] = replace(epoch, remarks=tuple(self._remarks(self.best)))
        self.totals = Totals(torch.zeros_like(self.totals.loss))
        return self.epochs[-1]

    def weights(self, last: bytes) -> dict[str, bytes]:
        """All weights that the training leaves, if those of its last epoch are `last`."""
        soup = {"soup": mean_bytes(self.recent)} if self.recent else {}
        return {"last": last, "best": self.best_weights, **soup}

    def metrics(self) -> dict[str, dict[str, float]]:
        """Of the last epoch and of the best one."""
        return {"last": self.epochs[-1].metrics, **({"best": self.best.metrics} if self.best else {})}

    def _remarks(self, best: Epoch) -> Iterator[str]:
        if said := explosion([epoch.train_loss for epoch in self.epochs]):
            yield said
        if self.stops_early:
            since = len(self.epochs) - 1 - best.number
            yield f"stopped early: no epoch was better than {best.number + 1} for {since} epochs (patience)"

    def record(self) -> dict[str, Any]:
        """All but weights and loss, as JSON has it."""
        totals = {key: value for key, value in vars(self.totals).items() if key != "loss"}
        best = None if self.best is None else self.best.number
        return {"tally": totals, "best": best, "history": [asdict(epoch) for epoch in self.epochs]}

    def files(self) -> dict[str, bytes]:
        """The weights, by names of files."""
        best = {"best.safetensors": self.best_weights} if self.best else {}
        return best | {f"recent-{number:03d}.safetensors": content for number, content in enumerate(self.recent)}

    def resume(self, record: Mapping[str, Any], files: Mapping[str, bytes], loss: Tensor) -> None:
        """Become the course that `record` and `files` were taken of."""
        self.totals = Totals(loss, **record["tally"])
        self.epochs = [Epoch(**{**epoch, "remarks": tuple(epoch["remarks"])}) for epoch in record["history"]]
        self.best = None if record["best"] is None else self.epochs[record["best"]]
        self.best_weights = files.get("best.safetensors", b"")
        self.recent = [files[name] for name in sorted(files) if name.startswith("recent-")]
