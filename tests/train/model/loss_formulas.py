"""Losses written out in float64, one cell or pair at a time, which ours are compared with."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from birdcache.params.loss import LossParams
from train.augment.batch import Batch
from train.model.classifier import Logits
from train.model.losses import Loss

B, K = 6, 5
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """What a loss is computed from."""

    logits: Floats  # (B, K)
    targets: Floats  # (B, K)
    weights: Floats  # (B, K)
    importance: Floats  # (B,)
    class_weights: Floats  # (K,)

    def batch(self) -> Batch:
        return Batch(torch.empty(0), *(tensor(each) for each in (self.targets, self.weights, self.importance)))

    def loss(self, params: LossParams) -> float:
        """Ours, of the clips' logits."""
        return float(Loss(params, tensor(self.class_weights))(Logits(tensor(self.logits)), self.batch()))


def tensor(values: Floats) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


def chosen(params: LossParams, **changes: Any) -> LossParams:
    return LossParams.model_validate({**params.model_dump(), **changes})


def sigmoid(logit: float) -> float:
    return float(1 / (1 + np.exp(-logit)))


def cross_entropy(case: Case, params: LossParams) -> float:
    """Between the smoothed distribution of the targets that count and the softmax of their logits."""
    total = 0.0
    for b in range(B):
        counts = np.flatnonzero(case.weights[b])
        share = np.exp(case.logits[b, counts]) / np.exp(case.logits[b, counts]).sum()
        wanted = case.targets[b, counts] / case.targets[b, counts].sum()
        wanted = wanted * (1 - params.label_smoothing) + params.label_smoothing / K
        for k, q, p in zip(counts, wanted, share, strict=True):
            focus = abs(q - p) ** params.focal_gamma if params.kind == "focal_ce" else 1
            total -= case.importance[b] * case.class_weights[k] * focus * q * np.log(p)
    return total / float(case.importance.sum())


def binary_cross_entropy(case: Case, params: LossParams) -> float:
    """Weighted mean over the cells that count, between targets moved towards one half and scores."""
    total, sum_of_weights = 0.0, 0.0
    for b, k in zip(*np.nonzero(case.weights), strict=True):
        p, t = (
            sigmoid(case.logits[b, k]),
            case.targets[b, k] * (1 - params.label_smoothing) + params.label_smoothing / 2,
        )
        each = -t * np.log(p) - (1 - t) * np.log(1 - p)
        if params.kind == "asymmetric":
            easy = max(p - 0.05, 0)
            each = -t * np.log(p) - (1 - t) * easy**params.focal_gamma * np.log(1 - easy)
        if params.kind == "focal_bce":
            each *= abs(t - p) ** params.focal_gamma * (t * params.focal_alpha + (1 - t) * (1 - params.focal_alpha))
        weight = case.importance[b] * case.class_weights[k]
        total, sum_of_weights = total + weight * each, sum_of_weights + weight
    return total / sum_of_weights


def soft_auc(case: Case) -> float:
    """Weighted mean over the pairs of clips of each class."""
    total, sum_of_weights = 0.0, 0.0
    for i, j, k in product(range(B), range(B), range(K)):
        weight = case.targets[i, k] * case.weights[i, k] * case.importance[i]
        weight *= (1 - case.targets[j, k]) * case.weights[j, k] * case.importance[j]
        total += weight * np.log1p(np.exp(-(case.logits[i, k] - case.logits[j, k])))
        sum_of_weights += weight
    return total / sum_of_weights


def zlpr(case: Case, params: LossParams) -> float:
    """Su et al. 2022, a clip at a time, over the cells that count."""
    total = 0.0
    for b in range(B):
        counts = case.weights[b] > 0
        z, t = case.logits[b, counts], _smoothed(case, params)[b, counts]
        each = np.log1p((t * np.exp(-z)).sum()) + np.log1p(((1 - t) * np.exp(z)).sum())
        total += case.importance[b] * each
    return total / float(case.importance.sum())


def two_way(case: Case, params: LossParams) -> float:
    """Kobayashi 2023, with T = 4: the margin of each clip's classes, then that of each class's clips."""
    t = _smoothed(case, params)
    of_clips = [_margin(case.logits[b], t[b], case.weights[b]) for b in range(B)]
    cells = case.weights * case.importance[:, None]
    of_classes = [_margin(case.logits[:, k], t[:, k], cells[:, k]) for k in range(K)]
    weights = case.importance * ~np.isnan(of_clips)
    return float(np.nansum(of_clips * case.importance) / weights.sum() + np.nanmean(of_classes))


def _margin(z: Floats, t: Floats, weights: Floats) -> float:
    """NaN if there is nothing to compare."""
    absent, present = (weights * (1 - t) * np.exp(z)).sum(), (weights * t * np.exp(-z / 4)).sum()
    return float(np.log1p(absent * present**4)) if absent > 0 and present > 0 else np.nan


def _smoothed(case: Case, params: LossParams) -> Floats:
    return case.targets * (1 - params.label_smoothing) + params.label_smoothing / 2
