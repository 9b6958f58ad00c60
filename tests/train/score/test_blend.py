"""Blends against slow references, and that no fold teaches the weights that score it."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import sklearn.metrics

from birdcache.arrays import Bools, Floats32
from birdcache.params.model import Params
from train.score.blend import BLENDS, Blend, HeldOut, Kind, equal, fitted_weights, known_by, log_loss, ranks

MEMBERS, RECORDINGS, CLASSES = 3, 60, 4


def guesses(truth: Bools, sureness: float, rng: np.random.Generator) -> Floats32:
    """Scores that know the truth as well as `sureness` says."""
    noise = rng.normal(size=truth.shape)
    return np.asarray(1 / (1 + np.exp(-(sureness * (truth - 0.5) + noise))), np.float32)


@pytest.fixture
def held() -> HeldOut:
    rng = np.random.default_rng(3)
    truth = np.eye(CLASSES, dtype=bool)[rng.integers(0, CLASSES, RECORDINGS)]
    known = (rng.random(truth.shape) > 0.1) | truth
    scores = np.stack([guesses(truth, sureness, rng) for sureness in (1.0, 3.0, 2.0)])
    return HeldOut(scores, truth, known, rng.integers(0, 3, RECORDINGS))


def slow_log_loss(scores: Floats32, truth: Bools, known: Bools) -> float:
    cells = [(row, column) for row in range(len(truth)) for column in range(truth.shape[1]) if known[row, column]]
    return float(np.mean([-np.log(scores[cell] if truth[cell] else 1 - scores[cell]) for cell in cells]))


def test_log_loss_is_that_of_every_known_yes_or_no(held: HeldOut) -> None:
    expected = slow_log_loss(held.scores[0].astype(float), held.truth, held.known)
    assert log_loss(held.scores[0], held.truth, held.known) == pytest.approx(expected, rel=1e-6)
    everywhere = np.ones_like(held.known)
    by_sklearn = sklearn.metrics.log_loss(held.truth.ravel(), held.scores[0].astype(float).ravel())
    assert log_loss(held.scores[0], held.truth, everywhere) == pytest.approx(by_sklearn, rel=1e-6)


def test_one_blunder_costs_a_finite_loss() -> None:
    loss = log_loss(np.array([[0.0, 1.0]], np.float32), np.array([[True, False]]), np.ones((1, 2), bool))
    assert loss == pytest.approx(-np.log(1e-6))


def test_fitted_weights_have_the_least_loss_of_a_fine_grid(held: HeldOut) -> None:
    weights = fitted_weights(held.scores, held.truth, held.known)
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1)

    def loss(weights: np.ndarray) -> float:
        return log_loss(np.tensordot(weights, held.scores, axes=1).astype(np.float32), held.truth, held.known)

    steps = np.linspace(0, 1, 51)
    grid = [(one, two, 1 - one - two) for one, two in itertools.product(steps, steps) if one + two <= 1 + 1e-9]
    best = min(grid, key=lambda each: loss(np.array(each)))
    assert loss(weights) <= loss(np.array(best)) + 1e-7
    assert weights == pytest.approx(best, abs=0.03)


def test_a_useless_member_gets_no_weight(held: HeldOut) -> None:
    wrong = np.asarray(1 - held.scores[1], np.float32)
    weights = fitted_weights(np.stack([held.scores[1], wrong]), held.truth, held.known)
    assert weights.tolist() == [1, 0]


def test_the_fit_does_not_depend_on_the_order_of_members(held: HeldOut) -> None:
    weights = fitted_weights(held.scores, held.truth, held.known)
    turned = fitted_weights(held.scores[::-1], held.truth, held.known)
    assert turned[::-1] == pytest.approx(weights, abs=1e-3)


def test_what_is_not_known_does_not_count(held: HeldOut) -> None:
    spoilt = np.where(held.known, held.scores, 1 - held.truth).astype(np.float32)
    for kind in ("fitted", "best"):
        found = Blend(kind, 1).weights(spoilt, held.truth, held.known)
        assert found == pytest.approx(Blend(kind, 1).weights(held.scores, held.truth, held.known))


def test_with_nothing_known_members_are_alike(held: HeldOut) -> None:
    assert fitted_weights(held.scores[:, :0], held.truth[:0], held.known[:0]).tolist() == [1 / 3] * 3
    assert fitted_weights(held.scores[:1], held.truth, held.known).tolist() == [1]


def test_best_is_the_equal_mean_of_those_with_the_least_loss(held: HeldOut) -> None:
    losses = [slow_log_loss(each.astype(float), held.truth, held.known) for each in held.scores]
    assert losses[1] < losses[2] < losses[0]
    for best, expected in {1: [0, 1, 0], 2: [0, 0.5, 0.5], 3: [1 / 3] * 3, 9: [1 / 3] * 3}.items():
        weights = Blend("best", best).weights(held.scores, held.truth, held.known)
        assert weights == pytest.approx(expected)


def slow_ranks(scores: Floats32) -> list[list[float]]:
    """Share of the other rows that score lower, half for those that score the same."""
    others = len(scores) - 1
    return [
        [
            sum(
                (scores[row, k] > scores[each, k]) + (scores[row, k] == scores[each, k]) / 2
                for each in range(others + 1)
            )
            / others
            - 0.5 / others
            for k in range(scores.shape[1])
        ]
        for row in range(len(scores))
    ]


def test_ranks_are_shares_of_what_scores_lower() -> None:
    scores = np.random.default_rng(1).integers(0, 6, (12, 3)).astype(np.float32)
    assert ranks(scores) == pytest.approx(np.array(slow_ranks(scores)), abs=1e-6)
    assert ranks(np.array([[0.2], [0.9], [0.4]], np.float32))[:, 0].tolist() == [0, 1, 0.5]
    assert ranks(np.full((4, 2), 0.3, np.float32)).tolist() == [[0.5, 0.5]] * 4
    assert ranks(scores[:1]).tolist() == [[0.5] * 3]
    assert ranks(scores[:0]).shape == (0, 3)


def test_mean_and_rank_blend_as_they_are_called(held: HeldOut) -> None:
    mean = Blend("mean")(held.scores, equal(3))
    assert mean == pytest.approx(held.scores.mean(axis=0), abs=1e-6)
    assert held.blended(Blend("mean")) == pytest.approx(mean)
    ranked = Blend("rank")(held.scores, equal(3))
    expected = np.mean([slow_ranks(each) for each in held.scores], axis=0)
    assert ranked == pytest.approx(expected, abs=1e-6)
    assert held.blended(Blend("rank")) == pytest.approx(expected, abs=1e-6)


def test_a_rank_blend_hears_nothing_of_how_sure_a_member_is(held: HeldOut) -> None:
    bent = np.stack([held.scores[0] ** 3, held.scores[1] * 0.01, np.sqrt(held.scores[2])])
    assert held.blended(Blend("rank")) == pytest.approx(HeldOut(bent, *rest(held)).blended(Blend("rank")), abs=1e-6)


def rest(held: HeldOut) -> tuple[Bools, Bools, np.ndarray]:
    return held.truth, held.known, held.fold


@pytest.mark.parametrize("kind", ["fitted", "best"])
def test_a_member_that_is_perfect_on_one_fold_only_gains_no_weight_there(held: HeldOut, kind: str) -> None:
    """Weights of a fold come from the other folds; a leak would give the planted member the whole fold."""
    worse = np.where(held.truth, 0.9 * held.scores[1], 1 - 0.9 * (1 - held.scores[1]))
    here = held.fold == 2
    planted = np.where(here[:, None], held.truth, worse).astype(np.float32)
    scores = np.stack([held.scores[1], planted])
    blend = Blend(kind, 1)  # type: ignore[arg-type]
    tempted = HeldOut(scores, *rest(held))
    assert tempted.weights(blend, without=2)[1] == 0
    assert tempted.blended(blend)[here] == pytest.approx(scores[0][here])
    assert tempted.weights(blend)[1] > 0.4, "the plant is a temptation"


@pytest.mark.parametrize("kind", ["fitted", "best"])
def test_each_fold_is_blended_by_weights_of_the_others(held: HeldOut, kind: str) -> None:
    blend = Blend(kind, 2)  # type: ignore[arg-type]
    blended = held.blended(blend)
    for fold in range(3):
        here = held.fold == fold
        weights = blend.weights(held.scores[:, ~here], held.truth[~here], held.known[~here])
        assert blended[here] == pytest.approx(np.tensordot(weights, held.scores[:, here], axes=1), abs=1e-6)
    assert held.weights(blend) == pytest.approx(blend.weights(held.scores, held.truth, held.known))


def test_what_a_fold_holds_does_not_change_its_own_weights(held: HeldOut) -> None:
    other_truth = held.truth.copy()
    other_truth[held.fold == 1] = ~other_truth[held.fold == 1]
    for kind in ("fitted", "best"):
        one, two = (
            HeldOut(held.scores, truth, held.known, held.fold).weights(Blend(kind, 1), without=1)
            for truth in (held.truth, other_truth)
        )
        assert one.tolist() == two.tolist()


@pytest.mark.parametrize("kind", BLENDS)
def test_with_one_fold_members_are_averaged_and_it_is_said(held: HeldOut, kind: str) -> None:
    alone = HeldOut(*rest_of_one_fold(held))
    blend = Blend(kind, 1)  # type: ignore[arg-type]
    assert alone.weights(blend).tolist() == [1 / 3] * 3
    assert alone.weights(blend, without=5).tolist() == [1 / 3] * 3
    if kind in ("mean", "rank"):
        assert alone.remark(blend) is None
        return
    assert alone.blended(blend) == pytest.approx(alone.scores.mean(axis=0), abs=1e-6)
    said = alone.remark(blend)
    assert said is not None
    assert f"ensemble.blend: {kind} learns on the other folds, but only fold 5 is trained" in said
    assert held.remark(blend) is None


def rest_of_one_fold(held: HeldOut) -> tuple[Floats32, Bools, Bools, np.ndarray]:
    return held.scores, held.truth, held.known, np.full(RECORDINGS, 5)


def test_weights_by_hand_are_scaled_to_one_in_every_fold_and_without_a_member(held: HeldOut) -> None:
    blend = Blend("hand", by_hand=(3.0, 0.0, 1.0))
    assert held.weights(blend).tolist() == [0.75, 0, 0.25]
    np.testing.assert_allclose(held.blended(blend), 0.75 * held.scores[0] + 0.25 * held.scores[2], rtol=1e-6)
    assert held.members([1, 2]).weights(blend.of([1, 2])).tolist() == [0, 1]
    assert held.members([1]).weights(blend.of([1])).tolist() == [1], "alone, whatever its weight"


def test_params_weigh_members_by_hand_in_their_order_and_others_not_at_all(params: Params) -> None:
    wanted = params.ensemble.model_copy(update={"blend": {"b": 2.0, "a": 1.0}})
    assert Blend.wanted(wanted, ["a", "c", "b"]) == Blend("hand", wanted.best, (1.0, 0.0, 2.0))
    assert Blend.wanted(params.ensemble, ["a"]) == Blend("mean", wanted.best)


def test_members_can_be_left_out(held: HeldOut) -> None:
    smaller = held.members([0, 2])
    assert np.array_equal(smaller.scores, held.scores[[0, 2]])
    assert np.array_equal(smaller.truth, held.truth)


# nobody is for the last class
KNOWS = tuple(np.array(each, bool) for each in ([1, 1, 1, 0], [1, 1, 1, 0], [0, 1, 0, 0]))


def slowly_filled(scores: Floats32) -> Floats32:
    """Where a member is not for a class, the mean of those that are; 0 where nobody is."""
    filled = np.zeros_like(scores)
    for member, label in itertools.product(range(MEMBERS), range(CLASSES)):
        experts = [member] if KNOWS[member][label] else [each for each in range(MEMBERS) if KNOWS[each][label]]
        filled[member, :, label] = np.mean([scores[each, :, label] for each in experts], axis=0) if experts else 0
    return filled


@pytest.mark.parametrize("kind", ["mean", "fitted", "best", "hand"])
def test_a_member_of_some_classes_says_of_others_what_those_say_that_are_for_them(held: HeldOut, kind: Kind) -> None:
    blend = Blend(kind, 2, (0.5, 0.3, 0.2) if kind == "hand" else (), KNOWS)
    filled = HeldOut(slowly_filled(held.scores), held.truth, held.known, held.fold)
    plain = replace(blend, knows=())
    assert held.weights(blend) == pytest.approx(filled.weights(plain), abs=1e-4)
    np.testing.assert_allclose(held.blended(blend), filled.blended(plain), atol=1e-4)
    assert held.blended(blend)[:, 3].tolist() == [0] * RECORDINGS


def test_shares_of_a_class_add_up_to_one_unless_it_is_nobody_s() -> None:
    shares = Blend("hand", 1, (0.5, 0.3, 0.2), KNOWS).shares(np.array([0.5, 0.3, 0.2]))
    assert shares.sum(axis=0) == pytest.approx([1, 1, 1, 0])
    assert shares[:, 0] == pytest.approx([0.6, 0.4, 0])
    assert shares[:, 1] == pytest.approx([0.5, 0.3, 0.2])
    assert Blend("mean").shares(np.array([0.5, 0.5])).tolist() == [[0.5], [0.5]]


def test_ranks_of_members_of_some_classes_are_blended_alike(held: HeldOut) -> None:
    ranked = np.stack([ranks(scores) for scores in held.scores])
    found = Blend("rank", knows=KNOWS)(held.scores, equal(MEMBERS))
    np.testing.assert_allclose(found, slowly_filled(ranked).mean(axis=0), atol=1e-6)


def test_some_of_the_members_stay_for_their_classes(held: HeldOut) -> None:
    found = Blend("mean", knows=KNOWS).of([0, 2])(held.scores[[0, 2]], equal(2))
    np.testing.assert_allclose(found[:, 0], held.scores[0, :, 0])
    np.testing.assert_allclose(found[:, 1], held.scores[[0, 2], :, 1].mean(axis=0), rtol=1e-6)


def test_members_are_for_all_classes_unless_it_is_said_of_one() -> None:
    assert known_by(["one", "two"], {}, ["a", "b"]) == ()
    found = known_by(["one", "two"], {"two": ["b"]}, ["a", "b"])
    assert [each.tolist() for each in found] == [[True, True], [False, True]]
