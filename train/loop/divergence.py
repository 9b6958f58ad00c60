"""Watches the loss of a training: whether it is still a number, and whether it comes apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from birdcache.errors import TrainError

CHECK_EVERY = 50  # steps; each check waits for the device
EXPLODED = 10.0  # times the lowest: mixing and chance move an epoch's mean by tens of percent, never by so much

HINTS = "lower optimiser.lr, lengthen optimiser.warmup_epochs, set optimiser.clip_norm"


class DivergenceCheck:
    """The losses of an epoch's steps, looked at now and then.

    Parameters
    ----------
    where : what is trained and when, such as `base-0, epoch 3`.
    steps : of the epoch, of which so many are `done` already.
    recordings : names what a step, counted from 0, learned from.
    """

    def __init__(self, where: str, steps: int, recordings: Callable[[int], Sequence[str]], done: int = 0) -> None:
        self._where, self._steps, self._recordings, self._done = where, steps, recordings, done
        self._unseen: list[tuple[Tensor, float]] = []

    def after_step(self, loss: Tensor, rate: float) -> None:
        """Count a step; look every 50 steps and after the last; errors as in `look`."""
        self._done += 1
        self._unseen.append((loss, rate))
        if len(self._unseen) == CHECK_EVERY or self._done == self._steps:
            self.look()

    def look(self) -> None:
        """Look at all losses since the last look.

        Raises
        ------
        TrainError
            If one is infinite or NaN: the step before it broke the weights, or its own batch is broken.
        """
        losses = torch.stack([loss for loss, _ in self._unseen]).tolist() if self._unseen else []
        for number, value in enumerate(losses, start=self._done - len(losses)):
            if not math.isfinite(value):
                rate = self._unseen[number - self._done + len(losses)][1]
                raise TrainError(
                    f"{self._where}: the loss became {value} at step {number + 1} of {self._steps} (learning rate "
                    f"{rate:.1e}); {HINTS}, or use precision float32; if it is so at any rate, look at the step's "
                    f"recordings: {', '.join(self._recordings(number))}"
                )
        self._unseen = []


def explosion(losses: list[float]) -> str | None:
    """What is to be said of the last epoch's loss: that it is ten times the lowest, and above where it began."""
    *before, last = losses
    if not before or last <= EXPLODED * min(before) or last <= before[0]:
        return None
    best = min(range(len(before)), key=before.__getitem__)
    return (
        f"warning: the training loss rose to {last:.3g}, {last / before[best]:.0f} times that of epoch {best + 1}; "
        f"training comes apart: {HINTS}"
    )
