"""The optimiser and its learning rate over the steps of a training."""

import inspect
import math
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

import torch
from timm.optim import (  # type: ignore[attr-defined]
    create_optimizer_v2,
    get_optimizer_class,
    list_optimizers,
    param_groups_layer_decay,
    param_groups_weight_decay,
)
from torch import nn

from birdcache.errors import TrainError
from birdcache.params.recipe import OptimiserParams
from train.model.classifier import Classifier

UNFIT, UNFIT_WHY = ("adahessian", "kron"), "needs second derivatives, or keeps what no checkpoint can hold"


def build_optimiser(
    model: Classifier, params: OptimiserParams, projection: nn.Module | None = None
) -> torch.optim.Optimizer:
    """An optimiser over all of a model, frozen or not; a group's `lr_scale` multiplies its rate, see `set_rate`.

    The head learns at scale 1, the backbone at backbone_scale, and with a layer decay each of its layers, as timm
    groups them, at that times the scale of the next one (Clark et al. 2020, ELECTRA; Bao et al. 2022, BEiT). Norms,
    biases and what a backbone itself exempts have no weight decay. A projection for a teacher learns as the head.
    """
    groups = list(_groups(model, params))
    if projection is not None:
        groups += [{**group, "lr_scale": 1.0} for group in param_groups_weight_decay(projection, params.weight_decay)]
    optimiser = create_optimiser(groups, params)
    set_rate(optimiser, params.lr)
    return optimiser


def create_optimiser(groups: list[dict[str, Any]], params: OptimiserParams) -> torch.optim.Optimizer:
    """An optimiser of timm for parameter groups.

    A TrainError if timm has no such optimiser, it cannot train here, needs a missing package, or has no such argument.
    """
    names = [name for name in map(str, list_optimizers()) if not name.startswith(UNFIT)]
    if params.kind not in names:
        similar = ", ".join(get_close_matches(params.kind, names)) or "adamw"
        why = UNFIT_WHY if params.kind.startswith(UNFIT) else "timm has no such optimiser"
        raise TrainError(f"params.yaml: optimiser.kind {params.kind}: {why}; similar names: {similar}")
    options: dict[str, Any] = {"lr": params.lr, "weight_decay": 0.0, **params.arguments}
    try:
        found = get_optimizer_class(params.kind, bind_defaults=False)
        if "fused" in inspect.signature(found).parameters and found is not torch.optim.Adagrad:  # its is for CPUs alone
            options["fused"] = True  # one kernel for all tensors: 3 times as fast on a CPU, the same within rounding
        optimiser: torch.optim.Optimizer = create_optimizer_v2(groups, opt=params.kind, **options)
    except Exception as error:  # of a foreign optimiser, which may raise any
        raise TrainError(
            f"params.yaml: optimiser.kind {params.kind} with arguments {params.arguments}: {error}; correct them "
            "(they are those of timm.optim's class)"
        ) from error
    return optimiser


def _groups(model: Classifier, params: OptimiserParams) -> Iterator[dict[str, Any]]:
    """Parameter groups: head and backbone apart, with and without weight decay apart, layers apart if they differ."""
    head, frozen = set(model.head_parameters()), model.frozen
    model.freeze_backbone(False)  # timm leaves out what is frozen
    groups = _backbone_groups(model, params)
    if model.head is not None:
        groups += param_groups_weight_decay(model.head, params.weight_decay)
    model.freeze_backbone(frozen)
    for group in groups:
        scale = group.get("lr_scale", 1.0) * params.backbone_scale
        fresh = [tensor for tensor in group["params"] if tensor in head]
        learnt = [tensor for tensor in group["params"] if tensor not in head]
        for tensors, lr_scale in ((fresh, 1.0), (learnt, scale)):
            if tensors:
                yield {"params": tensors, "weight_decay": group["weight_decay"], "lr_scale": lr_scale}


def _backbone_groups(model: Classifier, params: OptimiserParams) -> list[dict[str, Any]]:
    backbone: Any = model.backbone
    exempt = backbone.no_weight_decay() if hasattr(backbone, "no_weight_decay") else ()
    if params.layer_decay == 1:
        return list(param_groups_weight_decay(backbone, params.weight_decay, no_weight_decay_list=exempt))
    groups = param_groups_layer_decay(backbone, params.weight_decay, exempt, layer_decay=params.layer_decay)
    # timm's last layer is the classifier, unless the head is separate
    before_head = 1.0 if model.head is None else params.layer_decay
    return [{**group, "lr_scale": group["lr_scale"] * before_head} for group in groups]


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Let each group learn at its `lr_scale` times a rate."""
    for group in optimiser.param_groups:
        own = rate * group["lr_scale"]
        group["lr"] = group["lr"].fill_(own) if isinstance(group["lr"], torch.Tensor) else own


def is_recordable(kind: str) -> bool:
    """Whether a CUDA graph can hold an optimiser's steps: one that counts them in numbers would not count replays."""
    found = get_optimizer_class(kind, bind_defaults=False)
    return found is torch.optim.SGD or "capturable" in inspect.signature(found).parameters  # SGD counts nothing


def make_recordable(optimiser: torch.optim.Optimizer) -> None:
    """Let a CUDA graph hold the optimiser's steps: rates become tensors, which a replay reads."""
    for group in optimiser.param_groups:
        device = group["params"][0].device
        group["lr"] = torch.tensor(group["lr"], dtype=torch.float32, device=device)
        group["capturable"] = device.type == "cuda"


def learning_rate(step: int, steps_per_epoch: int, epochs: int, params: OptimiserParams) -> float:
    """Learning rate at an optimiser step, counted from 0.

    Linear warm-up to lr, then constant for good, or for `flat_share` of what is left; after that cosines of equal
    length, each from lr towards min_lr, from which the next one restarts at lr.

    Source: Loshchilov & Hutter 2017, SGDR: Stochastic gradient descent with warm restarts.
    """
    # a function of the step alone needs no state to resume; the schedulers of timm and torch carry state, and place the
    # warm-up's end and the restarts of fractional cycles at other steps
    warmup = round(params.warmup_epochs * steps_per_epoch)
    if step < warmup:
        return params.lr * (step + 1) / warmup
    flat = warmup + round(params.flat_share * (epochs * steps_per_epoch - warmup))
    if params.schedule == "constant" or step < flat:
        return params.lr
    length = max(epochs * steps_per_epoch - flat, 1)
    progress = (step - flat) * params.cycles % length / length
    return params.min_lr + (params.lr - params.min_lr) * 0.5 * (1 + math.cos(math.pi * progress))
