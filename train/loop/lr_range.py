"""Learning-rate range test: the loss falls, then diverges, while the rate grows from step to step. S step."""

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from birdcache.arrays import Floats64
from birdcache.errors import TrainError
from train.augment.batch import Batch, TrainingBatches
from train.loop.step import TrainingStep
from train.loop.trainer import grouped

EXPLODED = 4.0  # times the lowest: beyond it nothing is learned about lower rates (as in fastai's finder)
MEMORY = 0.9  # of the running mean that notices an explosion
SMOOTHING = 1 / 20  # deviation of the Gaussian that smooths the curve, as a share of all steps


@dataclass(frozen=True)
class RangeTest:
    """The steps of a test, up to the explosion."""

    rates: Floats64  # (S,)
    losses: Floats64  # (S,) of each step's batch
    smoothed: Floats64  # (S,)

    @property
    def steepest(self) -> int:
        """The step at which the smoothed loss falls fastest per decade of the rate, on the way to its minimum.

        A TrainError if the loss does not fall.
        """
        lowest = int(self.smoothed.argmin())
        if lowest == 0:
            raise TrainError(
                f"the loss did not fall between rates {self.rates[0]:.1e} and {self.rates[-1]:.1e}; "
                "lower --lowest, or raise --steps"
            )
        slope = np.gradient(self.smoothed, np.log10(self.rates))
        return int(slope[: lowest + 1].argmin())

    @property
    def suggestion(self) -> float:
        """The learning rate of the steepest step: the loss learns most there, and is not yet near its explosion.

        Source: Smith 2017, Cyclical learning rates for training neural networks, section 3.3; the steepest point is
        what fastai's finder calls `steep`.
        """
        return float(self.rates[self.steepest])


def endless(batches: TrainingBatches, size: int) -> Iterator[list[Batch]]:
    """The groups of batches of one epoch after another."""
    for epoch in itertools.count():
        for group, _ in grouped(batches.epoch(epoch), size):
            yield group


def range_test(training_step: TrainingStep, groups: Iterable[list[Batch]], rates: Floats64) -> RangeTest:
    """Take one step at each rate, until the loss is four times its lowest or no longer a number."""
    losses: list[float] = []
    running, lowest = 0.0, math.inf
    training_step.begin_epoch(frozen=False)
    for step, (rate, group) in enumerate(zip(rates, groups, strict=False), start=1):
        training_step.set_rate(float(rate))
        loss = float(training_step.step(*group))
        running = MEMORY * running + (1 - MEMORY) * loss
        mean = running / (1 - MEMORY**step)  # unbiased, although the sum began at zero
        if not math.isfinite(loss) or mean > EXPLODED * lowest:
            break
        lowest = min(lowest, mean)
        losses.append(loss)
    smoothed = gaussian_filter1d(np.array(losses), max(1.0, SMOOTHING * len(rates)), mode="nearest")
    return RangeTest(rates[: len(losses)], np.array(losses), smoothed)
