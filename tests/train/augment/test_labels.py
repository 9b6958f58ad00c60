"""Labels of mixtures against a slow loop over their classes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from birdcache.arrays import Floats32
from train.data.augment_draws import RULES, Mixtures
from train.data.labels import Labels, mix_importance, mix_targets, mix_weights, mixed_labels

P, K = 6, 4
SHARES = np.array([0.5, 0.9, 0.01, 0.3, 0.999, 1.0])
RULE = np.array([0, 1, 2, 0, 1, 2])


def random_targets(seed: int) -> Floats32:
    return np.random.default_rng(seed).choice([0, 0.3, 1], (P, K)).astype(np.float32)


def test_targets_are_weighted_or_both_present_or_added_up_to_1_by_the_rule_of_each_mixture() -> None:
    one, other = random_targets(1), random_targets(2)
    mixed = mix_targets(one, other, SHARES, RULE)
    assert mixed.dtype == np.float32
    for p, k in np.ndindex(P, K):
        a, b = float(one[p, k]), float(other[p, k])
        expected = {"lambda": SHARES[p] * a + (1 - SHARES[p]) * b, "max": max(a, b), "sum": min(a + b, 1.0)}
        assert mixed[p, k] == pytest.approx(expected[RULES[RULE[p]]], abs=1e-6)


def test_the_loss_looks_where_it_looks_at_both_clips_or_where_one_is_sure() -> None:
    rng = np.random.default_rng(3)
    one, other = (rng.choice([0, 1], (P, K)).astype(np.float32) for _ in range(2))
    targets = random_targets(4)
    looks = mix_weights(one, other, targets)
    for p, k in np.ndindex(P, K):
        assert looks[p, k] == (1 if targets[p, k] > 0 or (one[p, k] and other[p, k]) else 0)


def test_a_mixture_counts_by_share_under_rule_lambda_and_else_as_its_more_important_clip() -> None:
    one, other = (np.random.default_rng(seed).uniform(0.2, 1, P).astype(np.float32) for seed in (5, 6))
    counts = mix_importance(one, other, SHARES, RULE)
    for p in range(P):
        weighted = SHARES[p] * float(one[p]) + (1 - SHARES[p]) * float(other[p])
        expected = weighted if RULES[RULE[p]] == "lambda" else max(one[p], other[p])
        assert counts[p] == pytest.approx(expected, abs=1e-6)


def batch(clips: int) -> tuple[Floats32, Floats32, Floats32]:
    rng = np.random.default_rng(7)
    targets = rng.choice([0, 0.3, 1], (clips, K)).astype(np.float32)
    return targets, rng.choice([0, 1], (clips, K)).astype(np.float32), rng.uniform(0, 1, clips).astype(np.float32)


def mixtures(place: npt.NDArray[np.int64], clips: int) -> Mixtures:
    partnered = np.isin(np.arange(clips), place)
    share, rule = np.ones(clips), np.zeros(clips, np.int64)
    share[place], rule[place] = SHARES[: len(place)], RULE[: len(place)]
    span, weights = np.zeros((clips, 2), np.int64), np.zeros((clips, 3), np.float32)
    nobody = np.zeros(clips, bool)
    return Mixtures(partnered, nobody, share, rule, span, weights, nobody, np.ones(clips))


def test_only_the_clips_that_have_a_partner_are_changed_and_each_meets_its_own() -> None:
    labels, others = Labels(*batch(5)), Labels(*(each[::-1] for each in batch(5)))
    place = np.array([1, 4])
    mixed = mixed_labels(Labels(*(each.copy() for each in labels)), others, mixtures(place, 5))
    for b in range(5):
        own, other = (Labels(*(each[[b]] for each in given)) for given in (labels, others))
        expected = own
        if b in place:
            p = list(place).index(b)
            both = mix_targets(own.targets, other.targets, SHARES[[p]], RULE[[p]])
            weights = mix_weights(own.weights, other.weights, both)
            importance = mix_importance(own.importance, other.importance, SHARES[[p]], RULE[[p]])
            expected = Labels(both, weights, importance)
        for found, wanted in zip(mixed, expected, strict=True):
            assert np.array_equal(found[[b]], wanted)
