"""The learning rate at known steps, and which parameters are decayed."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

import pytest
import torch
from torch import nn

from params import OptimiserParams
from train.optim import build_optimiser, learning_rate


def optimiser(schedule: Literal["cosine", "constant"] = "cosine", warmup: float = 2.0) -> OptimiserParams:
    return OptimiserParams(
        kind="adamw",
        lr=1e-3,
        min_lr=1e-5,
        weight_decay=0.05,
        warmup_epochs=warmup,
        schedule=schedule,
        clip_norm=1.0,
    )


def rates(chosen: OptimiserParams, steps_per_epoch: int = 10, epochs: int = 10) -> list[float]:
    return [learning_rate(step, steps_per_epoch, epochs, chosen) for step in range(steps_per_epoch * epochs)]


def test_warm_up_is_linear_from_one_step_above_zero_to_the_full_rate() -> None:
    found = rates(optimiser())[:20]
    assert found == pytest.approx([1e-3 * (step + 1) / 20 for step in range(20)])


def test_the_cosine_starts_at_the_full_rate_is_half_way_in_the_middle_and_ends_just_above_its_minimum() -> None:
    found = rates(optimiser())
    assert found[20] == pytest.approx(1e-3)
    assert found[60] == pytest.approx((1e-3 + 1e-5) / 2)
    assert found[40] == pytest.approx(1e-5 + (1e-3 - 1e-5) * (1 + math.sqrt(0.5)) / 2)
    assert 1e-5 < found[-1] < 1.1e-5
    assert all(later < earlier for earlier, later in pairwise(found[20:]))


def test_a_constant_rate_stays_after_its_warm_up() -> None:
    found = rates(optimiser("constant"))
    assert found[:20] == rates(optimiser())[:20]
    assert set(found[20:]) == {1e-3}


def test_without_warm_up_the_first_step_has_the_full_rate() -> None:
    for schedule in ("cosine", "constant"):
        assert rates(optimiser(schedule, warmup=0.0))[0] == 1e-3


def test_warm_up_may_last_a_part_of_an_epoch() -> None:
    found = rates(optimiser(warmup=0.5))
    assert found[:6] == pytest.approx([2e-4, 4e-4, 6e-4, 8e-4, 1e-3, 1e-3])


@pytest.mark.parametrize(("kind", "expected"), [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam)])
def test_norms_and_biases_are_not_decayed(kind: str, expected: type[torch.optim.Optimizer]) -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    built = build_optimiser(model, optimiser().model_copy(update={"kind": kind}))
    assert isinstance(built, expected)
    decay = {id(tensor): group["weight_decay"] for group in built.param_groups for tensor in group["params"]}
    found = {name: decay[id(tensor)] for name, tensor in model.named_parameters()}
    assert found == {"0.weight": 0.05, "0.bias": 0, "1.weight": 0, "1.bias": 0, "3.weight": 0.05, "3.bias": 0}
    assert {group["lr"] for group in built.param_groups} == {1e-3}
