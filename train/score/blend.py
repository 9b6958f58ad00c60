"""Blends of several members' scores: means, means of ranks, weights fitted on out-of-fold predictions.

P member, N recording or window, K class. `known` marks the cells that count, as in `train.score.metrics`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from scipy.optimize import minimize
from scipy.stats import rankdata

from birdcache.arrays import Bools, Floats32, Floats64, Ints
from birdcache.params.sections import EnsembleParams

LOWEST_LIKELIHOOD = 1e-6  # bounds likelihoods, so that one sure mistake does not cost an infinite loss
SMALLEST_WEIGHT = 1e-4  # less counts as none

Kind = Literal["mean", "rank", "fitted", "best", "hand"]
BLENDS: tuple[Kind, ...] = get_args(Kind)[:-1]  # those that need no weights by hand


@dataclass(frozen=True)
class Blend:
    """A way to blend members; section `ensemble` of params.yaml describes each kind."""

    kind: Kind
    best: int = 1  # members that kind `best` keeps
    by_hand: tuple[float, ...] = ()  # weights of the members under kind `hand`
    knows: tuple[Bools, ...] = ()  # (K,) classes that each member is for; () = all members for all classes

    @staticmethod
    def wanted(params: EnsembleParams, members: Sequence[str], knows: tuple[Bools, ...] = ()) -> Blend:
        """The blend of these members that params.yaml asks for."""
        if not isinstance(params.blend, dict):
            return Blend(params.blend, params.best, knows=knows)
        return Blend("hand", params.best, tuple(params.blend.get(name, 0.0) for name in members), knows)

    def of(self, chosen: Sequence[int]) -> Blend:
        """The same blend of some of the members."""
        by_hand = tuple(self.by_hand[each] for each in chosen) if self.by_hand else ()
        return replace(self, by_hand=by_hand, knows=tuple(self.knows[each] for each in chosen) if self.knows else ())

    @property
    def learns(self) -> bool:
        """True if weights are learnt from out-of-fold predictions."""
        return self.kind in ("fitted", "best")

    def weights(self, scores_PNK: Floats32, truth_NK: Bools, known_NK: Bools) -> Floats64:
        """Weights of the members, (P,), that these predictions ask for; non-negative, with the sum one."""
        members = len(scores_PNK)
        if self.kind == "hand" and sum(self.by_hand) > 0:
            return np.array(self.by_hand) / sum(self.by_hand)
        if self.learns and self.knows:
            scores_PNK = np.stack([self(scores_PNK, alone_P) for alone_P in np.eye(members)])
        if self.kind == "fitted":
            return fitted_weights(scores_PNK, truth_NK, known_NK)
        if self.kind == "best":
            order = np.argsort([log_loss(scores, truth_NK, known_NK) for scores in scores_PNK], kind="stable")
            return np.isin(np.arange(members), order[: self.best]) / min(self.best, members)
        return equal(members)

    def __call__(self, scores_PNK: Floats32, weights_P: Floats64) -> Floats32:
        """Blended scores: (N, K). Under kind `rank` they depend on all N that are blended at once."""
        if self.kind == "rank":
            scores_PNK = np.stack([ranks(scores_NK) for scores_NK in scores_PNK])
        if not self.knows:
            return np.asarray(np.tensordot(weights_P, scores_PNK, axes=1), np.float32)
        return np.asarray(np.einsum("pk,pnk->nk", self.shares(weights_P), scores_PNK), np.float32)

    def shares(self, weights_P: Floats64) -> Floats64:
        """The share of each member in the score of each class: (P, K), or (P, 1) if all are for all classes.

        A member of some classes leaves its weight for the others to those that are for them, evenly. A class that is
        nobody's has the score 0.
        """
        if not self.knows:
            return weights_P[:, None]
        knows_PK = np.stack(self.knows)
        left_K = weights_P @ ~knows_PK
        return np.asarray(knows_PK * (weights_P[:, None] + left_K / np.maximum(knows_PK.sum(axis=0), 1)))


@dataclass(frozen=True)
class HeldOut:
    """Predictions of recordings by models that were not trained on them, and in which fold each was held out."""

    scores: Floats32  # (P, N, K)
    truth: Bools  # (N, K)
    known: Bools  # (N, K)
    fold: Ints  # (N,)

    @property
    def folds(self) -> list[int]:
        """The folds that were predicted."""
        return [int(fold) for fold in np.unique(self.fold)]

    def weights(self, blend: Blend, without: int | None = None) -> Floats64:
        """Weights learnt on all folds, or on all but one; equal ones where there is no fold to learn on."""
        if blend.learns and len(self.folds) < 2:
            return equal(len(self.scores))
        chosen = np.ones(len(self.fold), bool) if without is None else self.fold != without
        return blend.weights(self.scores[:, chosen], self.truth[chosen], self.known[chosen])

    def blended(self, blend: Blend) -> Floats32:
        """Blended out-of-fold scores, (N, K): those of a fold by weights that the other folds have taught."""
        if not blend.learns:
            return blend(self.scores, self.weights(blend))
        result = np.empty(self.truth.shape, np.float32)
        for fold in self.folds:
            rows = self.fold == fold
            result[rows] = blend(self.scores[:, rows], self.weights(blend, without=fold))
        return result

    def remark(self, blend: Blend) -> str | None:
        """A line for the user if weights cannot be learnt."""
        if not blend.learns or len(self.folds) > 1:
            return None
        return (
            f"ensemble.blend: {blend.kind} learns on the other folds, but only fold {self.folds[0]} is trained; "
            "members are averaged. Name more folds in folds.train"
        )

    def members(self, chosen: list[int]) -> HeldOut:
        """The same recordings, predicted by some of the members."""
        return HeldOut(self.scores[chosen], self.truth, self.known, self.fold)


def known_by(members: Iterable[str], only: Mapping[str, Sequence[str]], labels: Sequence[str]) -> tuple[Bools, ...]:
    """The classes that each member is for, (K,) each, as `Blend.knows` has them; `only` names those for some labels."""
    return tuple(np.isin(labels, only.get(name, labels)) for name in members) if only else ()


def equal(members: int) -> Floats64:
    """The same weight for each member."""
    return np.full(members, 1 / members)


def likelihoods(scores_NK: Floats32, truth_NK: Bools, known_NK: Bools) -> Floats64:
    """Likelihood of the truth of each known cell under the scores, at least `LOWEST_LIKELIHOOD`: (known cells,)."""
    scores = scores_NK[known_NK].astype(np.float64)
    return np.clip(np.where(truth_NK[known_NK], scores, 1 - scores), LOWEST_LIKELIHOOD, 1.0)


def log_loss(scores_NK: Floats32, truth_NK: Bools, known_NK: Bools) -> float:
    """Mean binary log loss of all cells that count, in nats: each class of each recording is one yes or no.

    It fits scores that share one unit among the classes (softmax) as well as those that do not (sigmoid).
    """
    return float(-np.log(likelihoods(scores_NK, truth_NK, known_NK)).mean())


def fitted_weights(scores_PNK: Floats32, truth_NK: Bools, known_NK: Bools) -> Floats64:
    """Non-negative weights with the sum one, (P,), whose blend has the least log loss.

    The likelihood of a cell is linear in the weights, so the problem is convex and its minimum global; SLSQP finds it.
    Equal weights where nothing is known. Source: stacking, Wolpert 1992; Breiman 1996.
    """
    likelihood_PC = np.stack([likelihoods(scores_NK, truth_NK, known_NK) for scores_NK in scores_PNK])
    start_P = equal(len(scores_PNK))
    if len(scores_PNK) == 1 or not likelihood_PC.size:
        return start_P
    cells = truth_NK.shape[1] / likelihood_PC.shape[1]  # the loss of a recording, not of a cell: not too flat for SLSQP

    def loss_and_slope(weights_P: Floats64) -> tuple[float, Floats64]:
        mixed_C = np.maximum(weights_P @ likelihood_PC, LOWEST_LIKELIHOOD / 2)
        return float(-np.log(mixed_C).sum() * cells), -(likelihood_PC @ (1 / mixed_C)) * cells

    sums_to_one = {"type": "eq", "fun": lambda weights_P: weights_P.sum() - 1, "jac": np.ones_like}
    bounds = [(0.0, 1.0)] * len(scores_PNK)
    options = {"ftol": 1e-10, "maxiter": 200}
    found = minimize(
        loss_and_slope, start_P, jac=True, method="SLSQP", bounds=bounds, constraints=sums_to_one, options=options
    )
    weights_P = np.where(found.x < SMALLEST_WEIGHT, 0.0, found.x)
    return np.asarray(weights_P / weights_P.sum())


def ranks(scores_NK: Floats32) -> Floats32:
    """Ranks of each class's scores, scaled to 0 (lowest) .. 1 (highest); equal scores share their mean rank."""
    if len(scores_NK) < 2:
        return np.full_like(scores_NK, 0.5)
    return np.asarray((rankdata(scores_NK, axis=0) - 1) / (len(scores_NK) - 1), np.float32)
