"""The optimiser and its learning rate over the steps of a training."""

from __future__ import annotations

import math

import torch
from timm.optim import create_optimizer_v2  # type: ignore[attr-defined]
from torch import nn

from params import OptimiserParams


def build_optimiser(model: nn.Module, params: OptimiserParams) -> torch.optim.Optimizer:
    """AdamW or Adam with timm's parameter groups: no weight decay on norms and biases."""
    optimiser: torch.optim.Optimizer = create_optimizer_v2(
        model, opt=params.kind, lr=params.lr, weight_decay=params.weight_decay, filter_bias_and_bn=True
    )
    return optimiser


def learning_rate(step: int, steps_per_epoch: int, epochs: int, params: OptimiserParams) -> float:
    """Learning rate at a step, counted from 0: linear warm-up to lr, then constant or half a cosine down to min_lr.

    Source: cosine annealing as in Loshchilov & Hutter 2017, without restarts.
    """
    warmup = round(params.warmup_epochs * steps_per_epoch)
    if step < warmup:
        return params.lr * (step + 1) / warmup
    if params.schedule == "constant":
        return params.lr
    progress = (step - warmup) / max(epochs * steps_per_epoch - warmup, 1)
    return params.min_lr + (params.lr - params.min_lr) * 0.5 * (1 + math.cos(math.pi * progress))
