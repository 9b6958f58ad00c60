"""What a training step costs: activations counted by hand, and the text that `birdcache init` prints of it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from birdcache.params import load as params
from commands.project import step_cost
from commands.project.step_cost import StepCost, cost_lines, measured_cost
from tests.fixtures import tiny


def test_activations_are_what_the_backward_pass_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A linear layer keeps its input, a ReLU its output; the bias and the weights are no activations."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(128 * 313, 10), nn.ReLU())
    monkeypatch.setattr(step_cost, "build_model", lambda *_: network)
    cost = measured_cost(params.load(tiny.ROOT / "params.yaml"), "base")
    assert cost.activation_bytes == 4 * (128 * 313 + 10)
    assert cost.weight_bytes == 4 * (128 * 313 * 10 + 10)
    assert cost.clip_s > 0


def test_a_gpu_holds_what_its_weights_leave_in_multiples_of_eight() -> None:
    cost = StepCost(clip_s=0.01, activation_bytes=100_000_000, weight_bytes=100_000_000)
    assert cost.clips_in(8) == 112  # (8e9 * 0.8 - 5e8) / 5e7 = 118
    assert cost.clips_in(0.5) == 0


def test_the_minutes_of_all_folds_and_the_batches_of_gpus_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two members of 24 epochs, on 3 folds of 200 recordings each: 600 * 2 / 3 * 48 * 3 clips of 10 ms."""
    cost = StepCost(clip_s=0.01, activation_bytes=100_000_000, weight_bytes=100_000_000)
    monkeypatch.setattr(step_cost, "measured_cost", lambda params, name: cost)
    first, second = cost_lines(params.load(tiny.ROOT / "params.yaml"), recordings=600)
    assert "about 10 minutes" in first
    assert "for 3 folds" in first
    assert "112 in 8 GB, 240 in 16 GB, 368 in 24 GB, 1264 in 80 GB (base; batch_size, now 16)" in second


def test_a_real_network_is_measured() -> None:
    torch.manual_seed(0)
    cost = measured_cost(params.load(tiny.ROOT / "params.yaml"), "base")
    assert 1e6 < cost.activation_bytes < 1e8
    assert 1e5 < cost.weight_bytes < 1e7
