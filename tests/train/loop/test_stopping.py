"""Which epoch is the best, when training stops early, and what is remarked upon beside the numbers."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

from birdcache.params.recipe import Member, Recipe, resolve_recipe
from birdcache.params.views import MelView
from birdcache.progress import Advance, no_progress
from cache.store import Store
from tests.train.easy import Training, easy_store
from train.data.examples import Examples
from train.loop.step import TrainingStep
from train.loop.validation import Validation
from train.model.classifier import Classifier

NAN = float("nan")


@pytest.fixture(scope="module")
def easy(make_store: Callable[..., Store], view: MelView) -> Store:
    return easy_store(make_store, view)


@pytest.fixture
def training(easy: Store, examples_of: Callable[..., Examples], member: Member) -> Training:
    return Training(easy, examples_of(easy, (0, 1, 2, 3) * 2), member)


def scripted(script: list[tuple[float, float]]) -> type[Validation]:
    """A validation whose macro ROC-AUC and loss are known beforehand."""
    left = list(script)

    class Scripted(Validation):
        def metrics(self, model: Classifier, where: str = "", advance: Advance = no_progress) -> dict[str, float]:
            auc, loss = left.pop(0)
            return {"loss": loss, "accuracy": 0.5, "macro_roc_auc": auc, "cmap": 0.5, "macro_f1": 0.5}

    return Scripted


@pytest.mark.parametrize(
    ("script", "patience", "epochs", "best"),
    [
        ([(0.5, 1), (0.7, 1), (0.6, 1), (0.7, 1), (0.9, 1)], 0, 5, 5),
        ([(0.5, 1), (0.7, 1), (0.6, 1), (0.7, 1), (0.9, 1)], 2, 4, 2),
        ([(0.5, 1), (0.7, 1), (0.6, 1), (0.8, 1), (0.7, 1)], 2, 5, 4),
        ([(NAN, 3), (NAN, 1), (NAN, 2), (NAN, 2), (NAN, 2)], 0, 5, 2),
        ([(NAN, 3), (NAN, 1), (NAN, 2), (NAN, 2), (NAN, 2)], 3, 5, 2),
        ([(NAN, 3), (NAN, 4), (NAN, 2), (NAN, 2), (NAN, 2)], 1, 2, 1),
    ],
)
def test_training_stops_early_without_a_better_epoch_and_keeps_the_best(
    training: Training, recipe: Recipe, script: list[tuple[float, float]], patience: int, epochs: int, best: int
) -> None:
    """Where no class can be ranked, the lowest validation loss is the best. The schedule is not shortened."""
    changes = {"epochs": 5, "optimiser": {"schedule": "cosine", "warmup_epochs": 1.0}}
    training.validation_kind = scripted(script)
    done, weights = training.run(resolve_recipe(recipe, changes | {"patience": patience}))
    assert len(done) == epochs
    assert max(number for number, left in enumerate(weights, start=1) if "best" in left) == best
    stopped = f"stopped early: no epoch was better than {best} (patience: {patience})"
    assert done[-1].remarks == ((stopped,) if 0 < patience == epochs - best else ())
    training.validation_kind = scripted(script)
    whole, _ = training.run(resolve_recipe(recipe, changes))
    assert [epoch.learning_rate for epoch in done] == [epoch.learning_rate for epoch in whole[:epochs]]


def test_a_fold_where_no_class_can_be_ranked_is_trained_and_keeps_a_best(training: Training, recipe: Recipe) -> None:
    training.validated = training.examples.subset(training.examples.primary == 2)
    epochs, weights = training.run(resolve_recipe(recipe, {"normalise": "clip"}))
    assert np.isnan(epochs[0].metrics["macro_roc_auc"])
    assert "auc nan" in epochs[0].line(2)
    assert "best" in weights[0]


def test_a_loss_that_explodes_is_remarked_upon(
    training: Training, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    factors = iter([1.0, 1.0, 1e3, 1e3])
    step = TrainingStep.step
    monkeypatch.setattr(TrainingStep, "step", lambda training_step, *group: step(training_step, *group) * next(factors))
    epochs, _ = training.run(resolve_recipe(recipe, {"epochs": 2}))
    assert epochs[0].remarks == ()
    assert re.match(r"warning: the training loss rose to .*; the training diverges: lower", epochs[1].remarks[0])
