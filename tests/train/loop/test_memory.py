"""A training that is over leaves nothing behind: no store, model or optimiser waits for the garbage collector."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from birdcache.errors import TrainError
from birdcache.params.recipe import Member, Recipe, resolve_recipe
from birdcache.params.views import MelView
from cache.store import Store
from tests.train.easy import Training, easy_store, wait_for
from tests.train.loop.resuming import Recorder, new_trainer
from train.data.examples import Examples

CHANGES: dict[str, dict[str, Any]] = {
    "averaged": {"weights": "soup", "optimiser": {"ema_decay": 0.9, "accumulate": 2}},
    "scaled": {"precision": "float16", "optimiser": {"clip_norm": 1.0}},
}


@pytest.fixture
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def tracked() -> int:
    """Models, optimisers and placements in this process."""
    return sum(type(each).__name__ in ("Classifier", "AdamW", "HostFrames") for each in gc.get_objects())


def alive(training: Training, recipe: Recipe, steps: int | None) -> list[Any]:
    """Weak references to what a training used, which is broken off after so many epochs."""
    trainer = new_trainer(training, recipe)
    for number, _ in enumerate(trainer.run(training.validation(recipe), Recorder())):
        if number == steps:
            break
    step: Any = trainer.training_step
    batches: Any = trainer._batches
    return [weakref.ref(each) for each in (trainer, batches._frames, step._model, step.kept, step.optimiser)]


@pytest.mark.usefixtures("without_collector")
@pytest.mark.parametrize("steps", [None, 0])
@pytest.mark.parametrize("name", CHANGES)
def test_without_the_garbage_collector_nothing_of_a_training_stays(
    make_store: Callable[..., Store],
    view: MelView,
    examples_of: Callable[..., Examples],
    member: Member,
    recipe: Recipe,
    name: str,
    steps: int | None,
) -> None:
    store, before = easy_store(make_store, view), tracked()
    training = Training(store, examples_of(store, (0, 1, 2, 3) * 2), member)
    changed = resolve_recipe(recipe, {"batch_size": 2, **CHANGES[name]})
    left = alive(training, changed, steps)
    assert wait_for(lambda: not any(each() for each in left)), "once the next epoch's first batches have been staged"
    absurd = changed.model_copy(update={"optimiser": changed.optimiser.model_copy(update={"lr": 1e30})})
    with pytest.raises(TrainError):
        alive(training, absurd, None)
    assert tracked() == before, "nor of one that failed"
