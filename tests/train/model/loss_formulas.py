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
from train.model.losses import Loss, balance

B, K = 6, 5
COUNTS = np.array([40, 3, 12, 0, 1])  # training recordings of each class
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
        return float(self.made(params)(Logits(tensor(self.logits)), self.batch()))

    def made(self, params: LossParams) -> Loss:
        """Ours, with the weights of this case's classes."""
        found = balance(COUNTS, params)
        return Loss(params, tensor(self.class_weights), None, found if found is None else torch.from_numpy(found))


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


def distribution_balanced(case: Case, params: LossParams) -> float:
    """Wu et al. 2020, a cell at a time: kappa 0.05, lambda 2, alpha 0.1, beta 10, mu 0.2."""
    total, sum_of_weights, counts = 0.0, 0.0, np.maximum(COUNTS, 1)
    for b, k in zip(*np.nonzero(case.weights), strict=True):
        t, z = _smoothed(case, params)[b], case.logits[b, k] - 0.05 * np.log(counts.sum() / counts[k] - 1)
        r = (1 / counts[k]) / (t / counts).sum()
        each = t[k] * np.log1p(np.exp(-z)) + (1 - t[k]) * np.log1p(np.exp(2 * z)) / 2
        weight = case.importance[b] * case.class_weights[k]
        total += weight * (0.1 + sigmoid(10 * (r - 0.2))) * each
        sum_of_weights += weight
    return total / sum_of_weights


def disagreement(case: Case, params: LossParams) -> float:
    """Half the sum of both divergences of the scores of rows 0 and 1, 2 and 3, 4 and 5, by their definition."""
    total, sum_of_weights = 0.0, 0.0
    for b in range(0, B, 2):
        counts = np.flatnonzero(case.weights[b])
        if params.kind in ("ce", "focal_ce"):
            p, q = (np.exp(z[counts]) / np.exp(z[counts]).sum() for z in case.logits[b : b + 2])
            total += case.importance[b] * _divergence(p, q).sum()
            sum_of_weights += case.importance[b]
            continue
        for k in counts:
            p, q = (np.array([score, 1 - score]) for score in map(sigmoid, case.logits[b : b + 2, k]))
            total += case.importance[b] * _divergence(p, q).sum()
            sum_of_weights += case.importance[b]
    return total / sum_of_weights


def _divergence(p: Floats, q: Floats) -> Floats:
    return (p * np.log(p / q) + q * np.log(q / p)) / 2


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
