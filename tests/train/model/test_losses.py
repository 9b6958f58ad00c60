"""Losses against their formulas, and against laws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from birdcache.errors import TrainError
from birdcache.params.loss import LossParams
from birdcache.params.recipe import Recipe
from tests.train.model.loss_formulas import (
    B,
    Case,
    K,
    binary_cross_entropy,
    chosen,
    cross_entropy,
    disagreement,
    distribution_balanced,
    sigmoid,
    soft_auc,
    tensor,
    two_way,
    zlpr,
)
from train.model.classifier import Logits
from train.model.losses import Loss, check_finite, scores

FORMULAS = {
    "ce": cross_entropy,
    "focal_ce": cross_entropy,
    "bce": binary_cross_entropy,
    "focal_bce": binary_cross_entropy,
    "asymmetric": binary_cross_entropy,
    "distribution_balanced": distribution_balanced,
    "zlpr": zlpr,
    "two_way": two_way,
}
KINDS = tuple(FORMULAS)


@pytest.fixture
def case() -> Case:
    """A single label, mixtures, secondary labels with a weight, and a few cells that are left out."""
    targets, weights = np.zeros((B, K)), np.ones((B, K))
    targets[np.arange(B), [0, 1, 2, 3, 4, 0]] = [1, 0.7, 0.5, 1, 1, 1]
    targets[[1, 2, 3], [2, 3, 0]] = [0.3, 0.5, 0.3]
    weights[[0, 0, 4], [1, 2, 0]] = 0
    logits = np.random.default_rng(1).normal(0, 3, (B, K))
    return Case(logits, targets, weights, np.array([1, 0.6, 1, 0.2, 0.8, 1]), np.array([0.5, 1, 2, 0.3, 1.7]))


@pytest.fixture
def simple(case: Case) -> Case:
    """The same without any weights."""
    return replace(case, weights=np.ones((B, K)), importance=np.ones(B), class_weights=np.ones(K))


@pytest.fixture
def plain(recipe: Recipe) -> LossParams:
    return recipe.loss


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("gamma", [0.5, 2.0])
@pytest.mark.parametrize("kind", KINDS)
def test_a_loss_equals_its_formula(
    case: Case, plain: LossParams, kind: str, gamma: float, smoothing: float, share: float
) -> None:
    tried = chosen(plain, kind=kind, focal_gamma=gamma, label_smoothing=smoothing, soft_auc=share)
    main = FORMULAS[kind](case, tried)
    assert case.loss(tried) == pytest.approx((1 - share) * main + share * soft_auc(case), rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_two_views_of_a_clip_disagree_by_the_mean_of_both_divergences(case: Case, plain: LossParams, kind: str) -> None:
    """Both are of one clip, so cells and importance are the same."""
    twins = np.array([0, 0, 2, 2, 4, 4])
    pairs = replace(case, targets=case.targets[twins], weights=case.weights[twins], importance=case.importance[twins])
    one_view, two_views = chosen(plain, kind=kind), chosen(plain, kind=kind, consistency=0.7)
    added = pairs.loss(two_views) - pairs.loss(one_view)
    assert added == pytest.approx(0.7 * disagreement(pairs, two_views), rel=1e-4)
    same = replace(pairs, logits=case.logits[twins])
    assert same.loss(two_views) == same.loss(one_view)


def test_without_a_balance_as_in_validation_the_balanced_loss_is_bce(case: Case, plain: LossParams) -> None:
    logits, weights = Logits(tensor(case.logits)), tensor(case.class_weights)
    found = Loss(chosen(plain, kind="distribution_balanced"), weights)(logits, case.batch())
    assert torch.equal(found, Loss(chosen(plain, kind="bce"), weights)(logits, case.batch()))


def test_a_rare_class_weighs_most_where_it_is_beside_a_common_one(simple: Case, plain: LossParams) -> None:
    """Class 0 has 40 recordings, class 4 one: beside it the positive of class 0 counts a fifth or so."""

    def of_positive(targets: list[float], k: int) -> float:
        weights = np.zeros((B, K))
        weights[:, k] = 1
        each = replace(simple, targets=np.tile(targets, (B, 1)), weights=weights, logits=np.zeros((B, K)))
        return each.loss(chosen(plain, kind="distribution_balanced"))

    alone, beside = of_positive([1, 0, 0, 0, 0], 0), of_positive([1, 0, 0, 0, 1], 0)
    rarity = 1 / 41
    assert beside / alone == pytest.approx((0.1 + sigmoid(10 * (rarity - 0.2))) / (0.1 + sigmoid(8)), rel=1e-3)
    assert of_positive([1, 0, 0, 0, 1], 4) > 4 * beside


def test_without_knowledge_cross_entropy_is_the_logarithm_of_the_number_of_classes(
    simple: Case, plain: LossParams
) -> None:
    for smoothing in (0.0, 0.1):
        value = replace(simple, logits=np.zeros((B, K))).loss(chosen(plain, kind="ce", label_smoothing=smoothing))
        assert value == pytest.approx(np.log(K), rel=1e-6)


def test_two_labels_count_half_each_in_cross_entropy(simple: Case, plain: LossParams) -> None:
    both, halves = np.zeros((B, K)), np.zeros((B, K))
    both[:, :2], halves[:, :2] = 1, 0.5
    for kind in ("ce", "focal_ce"):
        found = [replace(simple, targets=targets).loss(chosen(plain, kind=kind)) for targets in (both, halves)]
        assert found[0] == pytest.approx(found[1])


def test_focal_losses_without_focus_are_the_losses_they_come_from(case: Case, plain: LossParams) -> None:
    found = {kind: case.loss(chosen(plain, kind=kind, focal_gamma=0.0, focal_alpha=0.5)) for kind in KINDS}
    assert found["focal_ce"] == pytest.approx(found["ce"], rel=1e-6)
    assert found["focal_bce"] == pytest.approx(found["bce"] / 2, rel=1e-6)


def test_with_hard_targets_focal_losses_are_those_of_their_source(simple: Case, plain: LossParams) -> None:
    """FL(p_t) = -alpha_t (1 - p_t)^gamma log p_t, Lin et al. 2017."""
    hard = replace(simple, targets=np.eye(K)[[0, 1, 2, 3, 4, 0]])
    score = 1 / (1 + np.exp(-hard.logits))
    p_t, alpha_t = np.where(hard.targets == 1, score, 1 - score), np.where(hard.targets == 1, 0.25, 0.75)
    expected = -(alpha_t * (1 - p_t) ** 2 * np.log(p_t)).mean()
    assert hard.loss(chosen(plain, kind="focal_bce", focal_gamma=2.0, focal_alpha=0.25)) == pytest.approx(expected)
    share = np.exp(hard.logits) / np.exp(hard.logits).sum(axis=1, keepdims=True)
    p_t = share[np.arange(B), hard.targets.argmax(axis=1)]
    expected = -((1 - p_t) ** 2 * np.log(p_t)).mean()
    assert hard.loss(chosen(plain, kind="focal_ce", focal_gamma=2.0)) == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["ce", "bce", "focal_ce", "focal_bce"])
def test_a_loss_is_smallest_where_the_scores_are_the_soft_targets(simple: Case, plain: LossParams, kind: str) -> None:
    target = np.array([0.5, 0.3, 0.1, 0.06, 0.04])
    right = np.log(target) if "bce" not in kind else np.log(target / (1 - target))
    rng = np.random.default_rng(3)
    tried, soft = chosen(plain, kind=kind, focal_gamma=2.0), replace(simple, targets=np.tile(target, (B, 1)))
    best = replace(soft, logits=np.tile(right, (B, 1))).loss(tried)
    for scale in (0.03, 0.3, 3.0):
        for _ in range(20):
            assert replace(soft, logits=np.tile(right + rng.normal(0, scale, K), (B, 1))).loss(tried) > best


def test_the_soft_auc_loss_bounds_the_share_of_misordered_pairs(simple: Case, plain: LossParams) -> None:
    """softplus(x) / log 2 is at least 1 where x > 0, so the loss / log 2 is at least 1 - ROC-AUC."""
    targets = np.zeros((B, K))
    targets[:3, 0] = 1
    one, tried = replace(simple, targets=targets), chosen(plain, soft_auc=1.0)  # other classes have no pair
    wrong = 1 - roc_auc_score(targets[:, 0], simple.logits[:, 0])
    assert one.loss(tried) / np.log(2) >= wrong
    ranked = replace(one, logits=100 * targets)
    assert ranked.loss(tried) == pytest.approx(0, abs=1e-6)
    assert replace(ranked, logits=-ranked.logits).loss(tried) == pytest.approx(100)


def test_the_soft_auc_loss_compares_clips_within_a_class_only(simple: Case, plain: LossParams) -> None:
    shifted, tried = replace(simple, logits=simple.logits + np.arange(K) * 3), chosen(plain, soft_auc=1.0)
    assert shifted.loss(tried) == pytest.approx(simple.loss(tried))


@pytest.mark.parametrize("share", [0.0, 0.4])
@pytest.mark.parametrize("kind", KINDS)
def test_a_clip_of_twice_the_importance_counts_as_two_and_one_of_none_is_absent(
    case: Case, plain: LossParams, kind: str, share: float
) -> None:
    tried, even = chosen(plain, kind=kind, soft_auc=share), replace(case, importance=np.ones(B))
    twice = replace(case, importance=np.array([2.0, 1, 1, 0, 1, 1]))
    rows = np.array([0, 0, 1, 2, 4, 5])
    repeated = replace(even, logits=case.logits[rows], targets=case.targets[rows], weights=case.weights[rows])
    assert twice.loss(tried) == pytest.approx(repeated.loss(tried), rel=1e-5)


@pytest.mark.parametrize("kind", ["ce", "focal_ce"])
def test_cross_entropy_leaves_out_a_clip_without_a_target(case: Case, plain: LossParams, kind: str) -> None:
    targets, importance = case.targets.copy(), case.importance.copy()
    targets[3], importance[3] = 0, 0
    tried = chosen(plain, kind=kind, label_smoothing=0.1)
    unlabelled, absent = replace(case, targets=targets), replace(case, importance=importance)
    assert unlabelled.loss(tried) == pytest.approx(absent.loss(tried))


@pytest.mark.parametrize("share", [0.0, 0.4])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("kind", KINDS)
def test_a_masked_class_has_no_gradient_and_no_influence(
    case: Case, plain: LossParams, kind: str, smoothing: float, share: float
) -> None:
    tried = chosen(plain, kind=kind, label_smoothing=smoothing, soft_auc=share)
    logits = tensor(case.logits).requires_grad_()
    case.made(tried)(Logits(logits), case.batch()).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert (logits.grad[case.weights == 0] == 0).all()
    discounted = (case.logits < np.log(0.05 / 0.95)) & (case.targets == 0) & (kind == "asymmetric")
    assert (logits.grad[(case.weights == 1) & ~discounted] != 0).all()
    louder = replace(case, logits=np.where(case.weights == 0, 50.0, case.logits))
    assert louder.loss(tried) == pytest.approx(case.loss(tried))


@pytest.mark.parametrize("empty", ["a clip", "all clips", "no target", "no importance"])
@pytest.mark.parametrize("kind", KINDS)
def test_where_nothing_is_left_to_learn_the_loss_stays_a_number(
    case: Case, plain: LossParams, kind: str, empty: str
) -> None:
    weights, targets, importance = case.weights.copy(), case.targets.copy(), case.importance.copy()
    if empty == "a clip":
        weights[2], targets[3] = 0, 0
    elif empty == "no target":
        targets[:] = 0
    else:
        (weights if empty == "all clips" else importance)[:] = 0
    changed = replace(case, weights=weights, targets=targets, importance=importance)
    logits = tensor(case.logits).requires_grad_()
    tried = chosen(plain, kind=kind, soft_auc=0.5, focal_gamma=0.5)
    value = case.made(tried)(Logits(logits), changed.batch())
    value.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert torch.isfinite(value)
    if empty in ("all clips", "no importance"):
        assert value == 0


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_stay_finite_however_sure_a_model_is(case: Case, plain: LossParams, kind: str, gamma: float) -> None:
    """Scores are then exactly 0 and 1, where logarithms and small powers end."""
    for sign in (1, -1):
        logits = tensor(sign * np.where(case.targets > 0.4, 300.0, -300.0)).requires_grad_()
        tried = chosen(plain, kind=kind, focal_gamma=gamma, soft_auc=0.5)
        Loss(tried, torch.ones(K))(Logits(logits), case.batch()).backward()  # type: ignore[no-untyped-call]
        assert logits.grad is not None
        assert torch.isfinite(logits.grad).all()


def test_samples_of_dropout_lie_side_by_side_and_have_the_mean_of_their_losses(case: Case, plain: LossParams) -> None:
    other = np.random.default_rng(9).normal(0, 2, (B, K))
    for kind in KINDS:
        tried = chosen(plain, kind=kind, soft_auc=0.3)
        alone = [replace(case, logits=each).loss(tried) for each in (case.logits, other)]
        both = Logits(tensor(np.concatenate([case.logits, other], axis=1)))
        assert float(case.made(tried)(both, case.batch())) == pytest.approx(np.mean(alone))


@pytest.mark.parametrize("kind", ["bce", "focal_bce"])
def test_a_present_class_of_weight_3_counts_three_times_in_the_same_mean(
    simple: Case, plain: LossParams, kind: str
) -> None:
    hard, tried = replace(simple, targets=np.eye(K)[[0, 1, 2, 3, 4, 0]]), chosen(plain, kind=kind)
    present, absent = (
        replace(hard, weights=hard.weights * (hard.targets == each)).loss(tried) * (hard.targets == each).sum()
        for each in (1, 0)
    )
    found = float(Loss(tried, torch.ones(K), torch.full((K,), 3.0))(Logits(tensor(hard.logits)), hard.batch()))
    assert found == pytest.approx((3 * present + absent) / (B * K), rel=1e-5)


def test_clip_and_frames_have_a_loss_each_and_a_weight_each(case: Case, plain: LossParams) -> None:
    frames = np.random.default_rng(9).normal(0, 2, (B, K))
    for kind in KINDS:
        tried = chosen(plain, kind=kind, clip=0.7, frame_max=0.4)
        both = Logits(tensor(case.logits), tensor(frames))
        alone = [replace(case, logits=each).loss(chosen(plain, kind=kind)) for each in (case.logits, frames)]
        found = float(case.made(tried)(both, case.batch()))
        assert found == pytest.approx(0.7 * alone[0] + 0.4 * alone[1], rel=1e-5)


def test_a_loss_on_frames_alone_still_gives_the_clips_logits_a_gradient_of_zero(case: Case, plain: LossParams) -> None:
    """None instead of zero would stop DistributedDataParallel."""
    clip, frames = tensor(case.logits).requires_grad_(), tensor(case.logits).requires_grad_()
    tried = chosen(plain, clip=0.0, frame_max=1.0)
    Loss(tried, torch.ones(K))(Logits(clip, frames), case.batch()).backward()  # type: ignore[no-untyped-call]
    assert clip.grad is not None
    assert frames.grad is not None
    assert (clip.grad == 0).all()
    assert (frames.grad != 0).any()


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_logits_are_compared_in_float32(case: Case, plain: LossParams, kind: str) -> None:
    half, loss = tensor(case.logits).bfloat16(), Loss(chosen(plain, kind=kind, soft_auc=0.5), torch.ones(K))
    value = loss(Logits(half), case.batch())
    assert value.dtype == torch.float32
    assert torch.equal(value, loss(Logits(half.float()), case.batch()))


def test_scores_are_shares_under_cross_entropy_and_separate_under_binary(case: Case, plain: LossParams) -> None:
    logits = tensor(case.logits)
    shares = np.exp(case.logits) / np.exp(case.logits).sum(axis=1, keepdims=True)
    for kind in KINDS:
        expected = shares if kind in ("ce", "focal_ce") else 1 / (1 + np.exp(-case.logits))
        assert scores(logits, chosen(plain, kind=kind)).numpy() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_is_refused_with_a_hint(value: float) -> None:
    with pytest.raises(TrainError, match=r"epoch 3: the loss is .*lower optimiser\.lr"):
        check_finite(value, "epoch 3")
