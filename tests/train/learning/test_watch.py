"""The watch over the loss: when it looks, what it says, and when a rise is an explosion."""

from __future__ import annotations

import math

import pytest
import torch

from train.errors import TrainError
from train.learning.watch import LossWatch, explosion


def watch_losses(losses: list[float]) -> None:
    """An epoch with these losses."""
    watch, total = LossWatch("base-2, epoch 3", len(losses)), torch.zeros(())
    for loss in losses:
        total += loss
        watch.after_step(total, 1e-3)


@pytest.mark.parametrize(
    ("broken", "steps", "first", "last"), [(1, 120, 1, 50), (50, 120, 1, 50), (51, 120, 51, 100), (101, 120, 101, 120)]
)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_found_at_the_next_look(
    broken: int, steps: int, first: int, last: int, value: float
) -> None:
    losses = [1.0] * (broken - 1) + [value] + [1.0] * (steps - broken)
    span = f"within steps {first} to {last} of {steps}"
    message = rf"base-2, epoch 3: .* {value} {span} \(learning rate 1\.0e-03\); lower"
    with pytest.raises(TrainError, match=message):
        watch_losses(losses)


def test_the_device_is_waited_for_every_50_steps_only(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[float] = []

    def looked_at(tensor: torch.Tensor) -> float:
        looks.append(tensor.item())
        return looks[-1]

    monkeypatch.setattr(torch.Tensor, "__float__", looked_at)
    watch_losses([1.0] * 120)
    assert looks == [50, 100, 120]


@pytest.mark.parametrize(
    ("losses", "exploded"),
    [
        ([2.0], False),
        ([2.0, 1.0, 9.9], False),
        ([2.0, 1.0, 10.1], True),
        ([2.0, 0.001, 0.5], False),
        ([2.0, 1.0, 30.0, 12.0], True),
    ],
)
def test_ten_times_the_lowest_loss_and_more_than_the_first_is_an_explosion(losses: list[float], exploded: bool) -> None:
    said = explosion(losses)
    assert (said is not None) == exploded
    if said is not None:
        assert "times that of epoch 2" in said
        assert "lower optimiser.lr" in said
