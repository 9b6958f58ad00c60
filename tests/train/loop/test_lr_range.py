"""The learning-rate range test: its rates, its stop, and where it finds the steepest descent."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch

from birdcache.errors import TrainError
from birdcache.params.recipe import Member, Recipe, resolve_recipe
from birdcache.params.views import MelView
from cache.store import Store
from tests.train.easy import CPU, Training, easy_store
from tests.train.small import CLASSES, batch_of, small_model
from train.data.examples import Examples
from train.loop.distributed import ALONE
from train.loop.lr_range import RangeTest, endless, range_test
from train.loop.step import TrainingStep


def training_step(recipe: Recipe) -> TrainingStep:
    return TrainingStep(small_model(), np.ones(CLASSES, np.int64), recipe, CPU, ALONE)


def test_the_steepest_point_of_a_known_curve_is_found() -> None:
    """A step of the loss, 1 / (1 + (rate / 1e-3)^2), falls fastest per decade at 1e-3; then it rises."""
    rates = np.geomspace(1e-6, 1.0, 601)
    losses = 1 / (1 + (rates / 1e-3) ** 2) + np.maximum(np.log10(rates / 0.03), 0)
    assert RangeTest(rates, losses, losses).suggestion == pytest.approx(1e-3, rel=0.03)


def test_a_fall_after_the_minimum_is_not_suggested() -> None:
    rates = np.geomspace(1e-4, 1.0, 5)
    curve = np.array([2.0, 1.9, 1.0, 9.0, 1.1])
    assert RangeTest(rates, curve, curve).suggestion == pytest.approx(1e-3)


def test_a_loss_that_never_falls_suggests_nothing() -> None:
    rates = np.geomspace(1e-2, 1.0, 5)
    curve = np.array([1.0, 1.1, 1.2, 2.0, 9.0])
    with pytest.raises(TrainError, match=r"did not fall between rates 1\.0e-02 and 1\.0e\+00; lower --lowest"):
        _ = RangeTest(rates, curve, curve).suggestion


def test_each_step_is_taken_at_its_rate_on_its_own_group(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[float] = []
    set_rate = TrainingStep.set_rate

    def noted(training_step: TrainingStep, rate: float) -> None:
        taken.append(rate)
        set_rate(training_step, rate)

    monkeypatch.setattr(TrainingStep, "set_rate", noted)
    rates = np.geomspace(1e-6, 1e-3, 12)
    found = range_test(training_step(recipe), ([batch_of(4, seed)] for seed in range(12)), rates)
    assert taken == list(rates) == list(found.rates)
    plain = training_step(recipe)
    assert found.losses[0] == pytest.approx(float(plain.step(batch_of(4, 0))))


def test_the_smoothed_loss_lies_within_the_losses_and_is_less_rough(recipe: Recipe) -> None:
    found = range_test(training_step(recipe), ([batch_of(4, seed)] for seed in range(60)), np.geomspace(1e-6, 1e-4, 60))
    assert found.losses.min() < found.smoothed.min() <= found.smoothed.max() < found.losses.max()
    assert np.abs(np.diff(found.smoothed)).sum() < 0.3 * np.abs(np.diff(found.losses)).sum()
    assert found.smoothed.mean() == pytest.approx(found.losses.mean(), rel=0.02)


@pytest.mark.parametrize("explosion", [np.nan, np.inf, 1e3])
def test_the_test_ends_when_the_loss_explodes(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch, explosion: float
) -> None:
    losses = iter([2.0, 1.5, 1.0, explosion, 1.0])
    monkeypatch.setattr(TrainingStep, "step", lambda training_step, *group: torch.tensor(next(losses)))
    found = range_test(training_step(recipe), itertools.repeat([batch_of(2)]), np.geomspace(1e-4, 1.0, 5))
    assert found.losses.tolist() == [2.0, 1.5, 1.0]
    assert len(found.rates) == len(found.smoothed) == 3


def test_batches_go_on_in_groups_from_epoch_to_epoch(
    make_store: Callable[..., Store],
    examples_of: Callable[..., Examples],
    view: MelView,
    member: Member,
    recipe: Recipe,
) -> None:
    store = easy_store(make_store, view)
    training = Training(store, examples_of(store, (0, 1, 2, 3) * 2), member)
    batches = training.batches(resolve_recipe(recipe, {"batch_size": 2, "sampling": {"weighted": True}}))
    groups = list(itertools.islice(endless(batches, 3), 5))
    assert [len(group) for group in groups] == [3, 1, 3, 1, 3]
    assert not torch.equal(groups[0][0].clips, groups[2][0].clips), "another epoch draws other clips"
