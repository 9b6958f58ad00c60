"""Losses between logits and soft targets. B batch, K class."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from params import LossParams
from train.errors import TrainError

LEFT_OUT = -1e4  # logit of a class that the loss must not look at; representable in float16


def smoothed(targets_BK: Tensor, smoothing: float, kind: str) -> Tensor:
    """Label smoothing (Szegedy et al. 2016): towards even over classes (ce), or towards one half (bce)."""
    rest = 1 / targets_BK.shape[1] if kind == "ce" else 0.5
    return targets_BK * (1 - smoothing) + smoothing * rest


def loss(logits_BK: Tensor, targets_BK: Tensor, weights_BK: Tensor, params: LossParams) -> Tensor:
    """Mean loss of a batch.

    Parameters
    ----------
    targets_BK : (B, K) in [0, 1]; for ce each row is scaled to sum to 1.
    weights_BK : (B, K), 0 for classes that the loss leaves out of an example.

    Returns
    -------
    Scalar tensor: mean over examples (ce), or over examples and classes that count (bce).
    """
    logits_BK = logits_BK.float()
    if params.kind == "bce":
        soft_BK = smoothed(targets_BK, params.label_smoothing, "bce")
        each_BK = functional.binary_cross_entropy_with_logits(logits_BK, soft_BK, reduction="none")
        return (each_BK * weights_BK).sum() / weights_BK.sum()
    distribution_BK = targets_BK * weights_BK
    distribution_BK = distribution_BK / distribution_BK.sum(dim=1, keepdim=True)
    soft_BK = smoothed(distribution_BK, params.label_smoothing, "ce") * weights_BK
    log_share_BK = logits_BK.masked_fill(weights_BK == 0, LEFT_OUT).log_softmax(dim=1)
    return -(soft_BK * log_share_BK).sum(dim=1).mean()


def check_finite(value: float, where: str) -> None:
    """Refuse to go on with a loss that has left the numbers.

    Raises
    ------
    TrainError
        If it is infinite or NaN.
    """
    if not math.isfinite(value):
        raise TrainError(f"{where}: the loss is {value}; lower optimiser.lr, set clip_norm, or use precision float32")


def scores(logits_BK: Tensor, kind: str) -> Tensor:
    """Logits to scores in [0, 1]: softmax for ce, sigmoid for bce."""
    return torch.softmax(logits_BK.float(), dim=1) if kind == "ce" else torch.sigmoid(logits_BK.float())
