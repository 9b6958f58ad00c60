"""Watches the loss of a training: whether it is still a number, and whether it comes apart."""

from __future__ import annotations

import math

from torch import Tensor

from train.errors import TrainError

CHECK_EVERY = 50  # steps; each check waits for the device
EXPLODED = 10.0  # times the lowest: mixing and chance move an epoch's mean by tens of percent, never by so much

WAYS_OUT = "lower optimiser.lr, lengthen optimiser.warmup_epochs, set optimiser.clip_norm"


class LossWatch:
    """The sum of an epoch's losses, looked at now and then.

    Parameters
    ----------
    where : what is trained and when, such as `base-0, epoch 3`.
    """

    def __init__(self, where: str, steps: int) -> None:
        self._where, self._steps = where, steps
        self._done = self._good = 0

    def after_step(self, total: Tensor, rate: float) -> None:
        """Count a step; look at the sum so far every 50 steps and after the last.

        Raises
        ------
        TrainError
            If it is infinite or NaN: one of the steps since the last look broke the weights, or a batch is broken.
        """
        self._done += 1
        if self._done % CHECK_EVERY and self._done < self._steps:
            return
        if not math.isfinite(value := float(total)):
            raise TrainError(
                f"{self._where}: the loss became {value} within steps {self._good + 1} to {self._done} "
                f"of {self._steps} (learning rate {rate:.1e}); {WAYS_OUT}, or use precision float32"
            )
        self._good = self._done


def explosion(losses: list[float]) -> str | None:
    """What is to be said of the last epoch's loss: that it is ten times the lowest, and above where it began."""
    *before, last = losses
    if not before or last <= EXPLODED * min(before) or last <= before[0]:
        return None
    best = min(range(len(before)), key=before.__getitem__)
    return (
        f"warning: the training loss rose to {last:.3g}, {last / before[best]:.0f} times that of epoch {best + 1}; "
        f"training comes apart: {WAYS_OUT}"
    )
