"""Losses of present and absent cells together: that all present ones score above all absent ones. B batch, K class.

A cell counts by its weight, as present by its target, and as absent by 1 - target; cells of weight 0 are left out.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

LEFT_OUT = -1e4  # logarithm of a weight of 0
SMALLEST = 1e-8  # a sum of weights below this is none
TEMPERATURE = 4.0  # of present cells in two_way, as in its source


def zlpr(logits_BK: Tensor, targets_BK: Tensor, weights_BK: Tensor) -> Tensor:
    """Mean over clips of log(1 + sum of exp(-z) of the present) + log(1 + sum of exp(z) of the absent).

    Source: Su et al. 2022, ZLPR: a novel loss for multi-label classification, with soft labels.
    """
    clip_B, share_BK = _by_clip(weights_BK)
    present_B = functional.softplus(_log_sum(-logits_BK, share_BK * targets_BK, 1))
    absent_B = functional.softplus(_log_sum(logits_BK, share_BK * (1 - targets_BK), 1))
    return weighted_mean(present_B + absent_B, clip_B)


def two_way(logits_BK: Tensor, targets_BK: Tensor, weights_BK: Tensor) -> Tensor:
    """Mean over clips of the margin between their classes, plus mean over classes of that between their clips.

    A margin is softplus(log sum exp(z) of the absent + T log sum exp(-z / T) of the present), and is only counted where
    there are both.

    Source: Kobayashi 2023, Two-way multi-label loss (CVPR).
    """
    clip_B, share_BK = _by_clip(weights_BK)
    of_clips_B, both_B = _margin(logits_BK, targets_BK, share_BK, 1)
    of_classes_K, both_K = _margin(logits_BK, targets_BK, weights_BK, 0)
    return weighted_mean(of_clips_B, clip_B * both_B) + weighted_mean(of_classes_K, both_K)


def _by_clip(weights_BK: Tensor) -> tuple[Tensor, Tensor]:
    """A clip's weight, the largest of its cells', and those of its cells in proportion to it."""
    clip_B = weights_BK.amax(dim=1)
    return clip_B, weights_BK / clip_B[:, None].clamp(min=SMALLEST)


def _margin(logits_BK: Tensor, targets_BK: Tensor, weights_BK: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """The margin along an axis, and 1 where it has present and absent cells, else 0."""
    present_BK, absent_BK = weights_BK * targets_BK, weights_BK * (1 - targets_BK)
    absent = _log_sum(logits_BK, absent_BK, axis)
    present = TEMPERATURE * _log_sum(-logits_BK / TEMPERATURE, present_BK, axis)
    both = (present_BK.amax(dim=axis) > 0) & (absent_BK.amax(dim=axis) > 0)
    return functional.softplus(absent + present), both.float()


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean, 0 where nothing weighs anything."""
    return (values * weights).sum() / weights.sum().clamp(min=SMALLEST)


def _log_sum(values_BK: Tensor, weights_BK: Tensor, axis: int) -> Tensor:
    """Logarithm of the sum of weight * exp(value) along an axis."""
    log_weights_BK = torch.where(weights_BK > 0, weights_BK.clamp(min=SMALLEST).log(), LEFT_OUT)
    return torch.logsumexp(values_BK + log_weights_BK, dim=axis)


SET_LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"zlpr": zlpr, "two_way": two_way}
