"""Losses against their formulas, written out in float64."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import pytest
import torch

from params import LossParams
from train.errors import TrainError
from train.losses import check_finite, loss, scores

B, K = 6, 5
Floats = npt.NDArray[np.float64]
Kind = Literal["ce", "bce"]


@pytest.fixture
def logits() -> Floats:
    return np.random.default_rng(1).normal(0, 3, (B, K))


@pytest.fixture
def soft_targets() -> Floats:
    """A single label, mixtures, and secondary labels with a weight."""
    targets = np.zeros((B, K))
    targets[np.arange(B), [0, 1, 2, 3, 4, 0]] = [1, 0.7, 0.5, 1, 1, 1]
    targets[[1, 2, 3], [2, 3, 0]] = [0.3, 0.5, 0.3]
    return targets


@pytest.fixture
def mask() -> Floats:
    mask = np.ones((B, K))
    mask[[0, 0, 4], [1, 2, 0]] = 0
    return mask


def params(kind: Kind, smoothing: float = 0.0) -> LossParams:
    return LossParams(kind=kind, label_smoothing=smoothing)


def ours(logits: Floats, targets: Floats, mask: Floats, chosen: LossParams) -> float:
    tensors = [torch.tensor(each, dtype=torch.float32) for each in (logits, targets, mask)]
    return float(loss(tensors[0], tensors[1], tensors[2], chosen))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_equals_its_formula(logits: Floats, soft_targets: Floats, mask: Floats, smoothing: float) -> None:
    """Over the classes that count, between the smoothed distribution of the targets and the softmax of the logits."""
    total = 0.0
    for b in range(B):
        counts = np.flatnonzero(mask[b])
        share = np.exp(logits[b, counts]) / np.exp(logits[b, counts]).sum()
        wanted = soft_targets[b, counts] / soft_targets[b, counts].sum() * (1 - smoothing) + smoothing / K
        total -= float((wanted * np.log(share)).sum())
    assert ours(logits, soft_targets, mask, params("ce", smoothing)) == pytest.approx(total / B, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_binary_cross_entropy_equals_its_formula(
    logits: Floats, soft_targets: Floats, mask: Floats, smoothing: float
) -> None:
    """Over the classes that count, targets moved towards one half."""
    total = 0.0
    for b, k in zip(*np.nonzero(mask), strict=True):
        score, wanted = 1 / (1 + np.exp(-logits[b, k])), soft_targets[b, k] * (1 - smoothing) + smoothing / 2
        total -= wanted * np.log(score) + (1 - wanted) * np.log(1 - score)
    assert ours(logits, soft_targets, mask, params("bce", smoothing)) == pytest.approx(total / mask.sum(), rel=1e-5)


def test_without_knowledge_cross_entropy_is_the_logarithm_of_the_number_of_classes(soft_targets: Floats) -> None:
    for smoothing in (0.0, 0.1):
        value = ours(np.zeros((B, K)), soft_targets, np.ones((B, K)), params("ce", smoothing))
        assert value == pytest.approx(np.log(K), rel=1e-6)


def test_two_labels_count_half_each_in_cross_entropy(logits: Floats) -> None:
    both, halves = np.zeros((B, K)), np.zeros((B, K))
    both[:, :2], halves[:, :2] = 1, 0.5
    assert ours(logits, both, np.ones((B, K)), params("ce")) == pytest.approx(
        ours(logits, halves, np.ones((B, K)), params("ce"))
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("kind", ["ce", "bce"])
def test_a_masked_class_has_no_gradient_and_no_influence(
    logits: Floats, soft_targets: Floats, mask: Floats, kind: Kind, smoothing: float
) -> None:
    tensor = torch.tensor(logits, dtype=torch.float32, requires_grad=True)
    targets, weights = (torch.tensor(each, dtype=torch.float32) for each in (soft_targets, mask))
    loss(tensor, targets, weights, params(kind, smoothing)).backward()  # type: ignore[no-untyped-call]
    assert tensor.grad is not None
    assert (tensor.grad[weights == 0] == 0).all()
    assert (tensor.grad[weights == 1] != 0).all()
    louder = np.where(mask == 0, 50.0, logits)
    assert ours(louder, soft_targets, mask, params(kind, smoothing)) == pytest.approx(
        ours(logits, soft_targets, mask, params(kind, smoothing))
    )


@pytest.mark.parametrize("kind", ["ce", "bce"])
def test_half_precision_logits_are_compared_in_float32(
    logits: Floats, soft_targets: Floats, mask: Floats, kind: Kind
) -> None:
    half = torch.tensor(logits).bfloat16()
    targets, weights = (torch.tensor(each, dtype=torch.float32) for each in (soft_targets, mask))
    value = loss(half, targets, weights, params(kind))
    assert value.dtype == torch.float32
    assert torch.equal(value, loss(half.float(), targets, weights, params(kind)))


def test_scores_are_shares_under_cross_entropy_and_separate_under_binary(logits: Floats) -> None:
    tensor = torch.tensor(logits)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert scores(tensor, "ce").numpy() == pytest.approx(shares, rel=1e-5)
    assert scores(tensor, "ce").sum(dim=1).numpy() == pytest.approx(np.ones(B), rel=1e-6)
    assert scores(tensor, "bce").numpy() == pytest.approx(1 / (1 + np.exp(-logits)), rel=1e-5)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_is_refused_with_a_way_out(value: float) -> None:
    with pytest.raises(TrainError, match=r"epoch 3: the loss is .*lower optimiser\.lr"):
        check_finite(value, "epoch 3")
