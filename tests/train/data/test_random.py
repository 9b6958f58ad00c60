"""Draws by counter: functions of their counters alone, uniform, and unrelated to each other."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats

from birdcache.arrays import Floats64
from train.data.random import Purpose, beta, uniform

MANY = np.arange(20_000)
INDEPENDENT = 5 / np.sqrt(len(MANY))  # five standard errors of a correlation


def test_a_draw_does_not_depend_on_the_other_examples_or_their_order() -> None:
    order = np.random.default_rng(3).permutation(100)
    whole = uniform(1, 2, np.arange(100), Purpose.GAIN, 3)
    assert np.array_equal(uniform(1, 2, order, Purpose.GAIN, 3), whole[order])
    for example in (0, 41, 99):
        assert np.array_equal(uniform(1, 2, np.array([example]), Purpose.GAIN, 3)[0], whole[example])


def test_more_draws_for_an_example_leave_the_first_ones_alone() -> None:
    few, many = (uniform(1, 2, np.arange(50), Purpose.MEL_MASK, count) for count in (2, 9))
    assert np.array_equal(few, many[:, :2])


def test_draws_are_pinned_so_that_a_training_can_be_repeated_elsewhere() -> None:
    assert uniform(1, 2, np.array([3]), Purpose.START)[0, 0] == slow_uniform(1, 2, 3, 1, 1)
    assert uniform(9, 0, np.array([70_000]), Purpose.TIME_MASK, 4)[0, 3] == slow_uniform(9, 0, 70_000, 10, 4)


def slow_uniform(seed: int, epoch: int, example: int, purpose: int, number: int) -> float:
    """SplitMix64 in Python's unbounded integers, chained over the counters as `uniform` documents."""

    def mixed(word: int) -> int:
        word = (word + 0x9E3779B97F4A7C15) % 2**64
        word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        word = (word ^ (word >> 27)) * 0x94D049BB133111EB % 2**64
        return word ^ (word >> 31)

    stream = mixed(mixed(seed) ^ (epoch * 256 + purpose))
    word = mixed((mixed((stream + example) % 2**64) + mixed(number)) % 2**64)
    return (word >> 11) / 2**53


@pytest.mark.parametrize("purpose", list(Purpose))
def test_draws_are_uniform(purpose: Purpose) -> None:
    assert scipy.stats.kstest(uniform(1, 0, MANY, purpose)[:, 0], "uniform").pvalue > 1e-3


def test_several_draws_for_one_example_are_uniform_and_uncorrelated() -> None:
    draws = uniform(1, 0, np.arange(4000), Purpose.MEL_MASK, 6)
    assert scipy.stats.kstest(draws.ravel(), "uniform").pvalue > 1e-3
    assert_uncorrelated(draws.T, 5 / np.sqrt(len(draws)))


def test_draws_for_different_purposes_are_uncorrelated() -> None:
    assert_uncorrelated(np.stack([uniform(1, 0, MANY, purpose)[:, 0] for purpose in Purpose]), INDEPENDENT)


def test_draws_of_different_epochs_are_uncorrelated() -> None:
    assert_uncorrelated(np.stack([uniform(1, epoch, MANY, Purpose.START)[:, 0] for epoch in range(8)]), INDEPENDENT)


def test_draws_of_different_seeds_are_uncorrelated() -> None:
    assert_uncorrelated(np.stack([uniform(seed, 0, MANY, Purpose.START)[:, 0] for seed in range(8)]), INDEPENDENT)


def test_draws_of_neighbouring_examples_are_uncorrelated() -> None:
    draws = uniform(1, 0, MANY, Purpose.START)[:, 0]
    assert_uncorrelated(np.stack([draws[lag : lag + len(draws) - 8] for lag in range(8)]), INDEPENDENT)


def assert_uncorrelated(draws: Floats64, limit: float) -> None:
    """No two rows, nor a row and the place in it, are correlated by more than `limit`."""
    rows = np.vstack([draws, np.arange(draws.shape[1])])
    correlation = np.corrcoef(rows)
    for one, other in itertools.combinations(range(len(rows)), 2):
        assert abs(correlation[one, other]) < limit


@pytest.mark.parametrize("alpha", [0.1, 0.4, 1.0, 4.0])
def test_beta_follows_the_beta_distribution(alpha: float) -> None:
    share = beta(alpha, uniform(1, 0, MANY, Purpose.LAMBDA)[:, 0])
    assert share.min() >= 0
    assert share.max() <= 1
    assert scipy.stats.kstest(share, scipy.stats.beta(alpha, alpha).cdf).pvalue > 1e-3


def test_beta_is_the_inverse_of_the_distribution_function() -> None:
    draws = np.linspace(0.01, 0.99, 99)
    assert scipy.stats.beta(0.4, 0.4).cdf(beta(0.4, draws)) == pytest.approx(draws, rel=1e-9)
