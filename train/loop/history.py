"""The history of a training: its epochs, the weights kept of them, and checks that its loss does not diverge."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from birdcache.errors import TrainError
from birdcache.params.recipe import Judge, Recipe
from train.model.weights import mean_bytes

CHECK_EVERY = 50  # steps; each check waits for the device
SMALLEST_SCALE = 2.0**-14  # of a loss in float16: 30 skipped steps in a row from where a scaler begins
EXPLODED = 10.0  # times the lowest: mixing and chance move an epoch's mean by tens of percent, never by so much

WINDOWS_AUC = "windows.macro_roc_auc"
JUDGED_BY: dict[Judge, tuple[str, ...]] = {
    "recordings": ("macro_roc_auc",),
    "windows": (WINDOWS_AUC,),
    "both": ("macro_roc_auc", WINDOWS_AUC),
}
HINTS = "lower optimiser.lr, lengthen optimiser.warmup_epochs, set optimiser.clip_norm"


class DivergenceCheck:
    """The losses of an epoch's steps, checked now and then.

    Parameters
    ----------
    where : training and epoch, such as `base-0, epoch 3`.
    steps : of the epoch; `done` of them are over.
    recordings : names what a step, counted from 0, learned from.
    scale : the factor of a scaled loss, which a loss scaler halves whenever it skips a step that overflowed; then such
        a loss is no error, but too low a factor is.
    """

    def __init__(
        self,
        where: str,
        steps: int,
        recordings: Callable[[int], Sequence[str]],
        done: int = 0,
        scale: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._where, self._steps, self._recordings, self._done = where, steps, recordings, done
        self._scale = scale
        self._unchecked: list[tuple[Tensor, float]] = []

    def after_step(self, loss: Tensor, rate: float) -> None:
        """Count a step; check every 50 steps and after the last; errors as in `check`."""
        self._done += 1
        self._unchecked.append((loss, rate))
        if len(self._unchecked) == CHECK_EVERY or self._done == self._steps:
            self.check()

    def check(self) -> None:
        """Check all losses since the last check.

        A TrainError if one is infinite or NaN: the step before it broke the weights, or its own batch is broken; or if
        a loss scaler skips every step.
        """
        if self._unchecked and (scale := self._scale()) is not None:
            self._unchecked = []
            if scale < SMALLEST_SCALE:
                raise TrainError(
                    f"{self._where}: float16 overflows in every step up to {self._done} of {self._steps}, with "
                    f"the loss scaled by {scale:.1e}; {HINTS}, or use precision float32"
                )
        losses = torch.stack([loss for loss, _ in self._unchecked]).tolist() if self._unchecked else []
        for number, value in enumerate(losses, start=self._done - len(losses)):
            if not math.isfinite(value):
                rate = self._unchecked[number - self._done + len(losses)][1]
                raise TrainError(
                    f"{self._where}: the loss became {value} at step {number + 1} of {self._steps} (learning rate "
                    f"{rate:.1e}); {HINTS}, or use precision float32; if every rate fails, look at the step's "
                    f"recordings: {', '.join(self._recordings(number))}"
                )
        self._unchecked = []


def explosion(losses: list[float]) -> str | None:
    """A warning if the last epoch's loss is ten times the lowest, and above where it began."""
    *before, last = losses
    if not before or last <= EXPLODED * min(before) or last <= before[0]:
        return None
    best = min(range(len(before)), key=before.__getitem__)
    return (
        f"warning: the training loss rose to {last:.3g}, {last / before[best]:.0f} times that of epoch {best + 1}; "
        f"the training diverges: {HINTS}"
    )


@dataclass(frozen=True)
class Epoch:
    """One epoch in numbers; `metrics` are the validation's, empty if there was none."""

    number: int
    train_loss: float
    metrics: dict[str, float]
    clips_per_s: float
    waiting: float  # share of the time that the loop spent waiting for data
    learning_rate: float
    # share of the time that the GPU idled for lack of data, by its own clock; None without a GPU
    device_waiting: float | None = None
    busy: float = 0.0  # share of the time that the device spent in steps: on a GPU by its own clock
    remarks: tuple[str, ...] = ()  # lines printed below the numbers
    elapsed_s: float = 0.0  # time of the training, without the validation
    teacher_loss: float = 0.0  # part of the training loss that is the distance from the teacher

    def line(self, epochs: int) -> str:
        """The printed line."""
        shown = self.metrics
        measured = shown and (
            f"val {shown['loss']:.3f}  acc {100 * shown['accuracy']:5.1f} %  auc {shown['macro_roc_auc']:.4f}  "
            f"cmap {shown['cmap']:.3f}  "
        )
        if WINDOWS_AUC in shown:
            measured = f"{measured}windows auc {shown[WINDOWS_AUC]:.4f} cmap {shown['windows.cmap']:.3f}  "
        taught = f" (teacher {self.teacher_loss:.3f})" if self.teacher_loss else ""
        device = "" if self.device_waiting is None else f", device {100 * self.device_waiting:.1f} %"
        return (
            f"epoch {self.number + 1:>3}/{epochs}  loss {self.train_loss:.3f}{taught}  {measured or ''}"
            f"{self.clips_per_s:,.0f} clips/s  waiting {100 * self.waiting:.1f} %{device}, device busy "
            f"{100 * self.busy:.1f} %  lr {self.learning_rate:.1e}"
        )

    def merit(self, judge: Judge) -> float:
        """Rank of the epoch: macro ROC-AUC of what judges, or minus the loss on a fold where that is undefined."""
        auc = sum(self.metrics[name] for name in JUDGED_BY[judge]) / len(JUDGED_BY[judge])
        return -self.metrics["loss"] if math.isnan(auc) else auc


@dataclass
class Totals:
    """Sums of an epoch so far; `loss` is the sum over its clips, on the device."""

    loss: Tensor
    steps: int = 0
    clips: int = 0
    waited_s: float = 0.0
    elapsed_s: float = 0.0
    device_s: float = 0.0  # that the GPU idled for lack of data
    busy_s: float = 0.0  # that the device spent in steps

    def add(self, loss: Tensor, clips: int, waited_s: float) -> None:
        """Count a step by its mean loss."""
        # a loss that overflowed, whose step a scaler skips, counts as the mean so far; without one the training ends
        self.loss += torch.where(loss.isfinite(), loss, self.loss / max(self.clips, 1)) * clips
        self.steps += 1
        self.clips += clips
        self.waited_s += waited_s


@dataclass
class History:
    """The finished epochs, the weights kept of them, and the totals of the current epoch."""

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
        """True if `patience` epochs have passed without a better one, and the last of them was validated."""
        if self.best is None or not self.epochs[-1].metrics:
            return False
        return 0 < self.recipe.patience < len(self.epochs) - self.best.number

    @property
    def ended(self) -> bool:
        """True if no epoch is left."""
        return self.stops_early or len(self.epochs) >= self.recipe.epochs

    def validates(self, number: int) -> bool:
        """True if an epoch, counted from 0, ends with a validation: each, or every n-th and the last."""
        return (number + 1) % self.recipe.validate_every == 0 or number + 1 == self.recipe.epochs

    def add(self, epoch: Epoch, weights: bytes) -> Epoch:
        """End the current epoch; returns it with its remarks."""
        judge = self.recipe.judge
        if epoch.metrics and (self.best is None or epoch.merit(judge) > self.best.merit(judge)):
            self.best, self.best_weights = epoch, weights
        if self.recipe.weights == "soup":
            self.recent = [*self.recent, weights][-self.recipe.soup_epochs :]
        self.epochs.append(epoch)
        self.epochs[-1] = replace(epoch, remarks=tuple(self._remarks()))
        self.totals = Totals(torch.zeros_like(self.totals.loss))
        return self.epochs[-1]

    def weights(self, last: bytes) -> dict[str, bytes]:
        """All weights that the training leaves; `last` are those of its last epoch."""
        soup = {"soup": mean_bytes(self.recent)} if self.recent else {}
        return {"last": last, "best": self.best_weights, **soup}

    def metrics(self) -> dict[str, dict[str, float]]:
        """Metrics of the last epoch and of the best one."""
        return {"last": self.epochs[-1].metrics, **({"best": self.best.metrics} if self.best else {})}

    def _remarks(self) -> Iterator[str]:
        if warning := explosion([epoch.train_loss for epoch in self.epochs]):
            yield warning
        if self.best and self.stops_early:
            since = len(self.epochs) - 1 - self.best.number
            yield f"stopped early: no epoch was better than {self.best.number + 1} (patience: {since})"

    def record(self) -> dict[str, Any]:
        """All but weights and loss, for JSON."""
        totals = {key: value for key, value in vars(self.totals).items() if key != "loss"}
        best = None if self.best is None else self.best.number
        return {"tally": totals, "best": best, "history": [asdict(epoch) for epoch in self.epochs]}

    def files(self) -> dict[str, bytes]:
        """The weights by file name."""
        best = {"best.safetensors": self.best_weights} if self.best else {}
        return best | {f"recent-{number:03d}.safetensors": content for number, content in enumerate(self.recent)}

    def resume(self, record: Mapping[str, Any], files: Mapping[str, bytes], loss: Tensor) -> None:
        """Restore the history that `record` and `files` were made of."""
        self.totals = Totals(loss, **record["tally"])
        self.epochs = [Epoch(**{**epoch, "remarks": tuple(epoch["remarks"])}) for epoch in record["history"]]
        self.best = None if record["best"] is None else self.epochs[record["best"]]
        self.best_weights = files.get("best.safetensors", b"")
        self.recent = [files[name] for name in sorted(files) if name.startswith("recent-")]
