"""Several processes stop at the same step when one of them is told to, and go on together from what the first wrote."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from birdcache.params.model import Params
from birdcache.params.recipe import Member, Recipe, resolve_recipe
from birdcache.params.sections import MachineParams
from birdcache.params.views import MelView
from cache.store import Store
from tests.train.easy import Training, easy_store
from tests.train.loop.joining import CPU, two_processes
from tests.train.loop.resuming import SOME_TRAINING, outcome
from train.augment.batch import BatchTransform
from train.augment.normalise import BinStatistics, Normaliser
from train.augment.training_batches import TrainingBatches
from train.data.batch_plan import Planner
from train.data.examples import Examples
from train.data.frames import HostFrames
from train.loop import resume
from train.loop.distributed import ALONE, Ranks, run_together
from train.loop.resume import Saver, StoppedError
from train.loop.trainer import Trainer
from train.loop.validation import Validation
from train.model.classifier import build_model

STEPS = 4  # of an epoch


class SharedTraining(Training):
    """The easy training, shared by processes."""

    def __init__(self, store: Store, examples: Examples, member: Member, ranks: Ranks) -> None:
        super().__init__(store, examples, member)
        self.ranks = ranks

    def batches(self, recipe: Recipe) -> TrainingBatches:
        view, nothing = self.store.view, BinStatistics(torch.empty(0), torch.empty(0))
        transform = BatchTransform(view, recipe, Normaliser(view, recipe, nothing), CPU)
        planner = Planner(self.examples, view, recipe, self.ranks)
        return TrainingBatches(planner, HostFrames(self.store, CPU), transform)

    def validation(self, recipe: Recipe) -> Validation:
        return Validation(self.validated, HostFrames(self.store, CPU), self.store.view, recipe, CPU, 8, self.ranks)

    def new_trainer(self, recipe: Recipe, seed: int) -> Trainer:
        """Dropout differs from process to process, as in stage `train`."""
        torch.manual_seed(seed)
        model = build_model(self.member, 4, self.store.view.n_mels, pretrained=False)
        return Trainer(model, self.batches(recipe), recipe, CPU, self.ranks, name="tiny-0")


def train_stop_and_go_on(
    store: Path, examples: Examples, member: Member, recipe: Recipe, machine: MachineParams, to: Path, ranks: Ranks
) -> None:
    """The second process is told to stop in step 5; each looks for checkpoints in a folder of its own."""
    resume.AGREE_EVERY = 2
    training = SharedTraining(Store(store), examples, member, ranks)
    expected = outcome(training.new_trainer(recipe, 1), training, recipe)
    folder, stopped, said = to / f"of-{ranks.rank}", training.new_trainer(recipe, 1), ""
    step = stopped.training_step.step

    def told(*group: Any) -> torch.Tensor:
        if ranks.rank == 1 and len(stopped.history.epochs) * STEPS + stopped.history.totals.steps == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(*group)

    stopped.training_step.step = told  # type: ignore[method-assign]
    saver = Saver(folder, SOME_TRAINING, machine, ranks, CPU)
    try:
        with saver.resuming(stopped):
            outcome(stopped, training, recipe, saver)
    except StoppedError as error:
        said = str(error)
    gone_on = training.new_trainer(recipe, 2)
    with Saver(folder, SOME_TRAINING, machine, ranks, CPU).resuming(gone_on):
        position = gone_on.position
        found = outcome(gone_on, training, recipe)
    statistics = sum(name.startswith("model-of-each") for name in found["learned"])
    facts = {"said": said, "position": position, "same": found == expected, "statistics": statistics}
    (to / f"{ranks.rank}.json").write_text(json.dumps(facts))
    (to / "first.bin").write_bytes(expected["left"]["best"]) if ranks.leads else None


@pytest.fixture
def easy(make_store: Callable[..., Store], view: MelView) -> Store:
    return easy_store(make_store, view)


@pytest.mark.slow
def test_two_processes_stop_together_and_go_on_to_the_same_last_bit(
    easy: Store,
    examples_of: Callable[..., Examples],
    member: Member,
    recipe: Recipe,
    params: Params,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    drawing = member.model_copy(update={"dropout": 0.3, "drop_path": 0.3})
    mixed = {"mixup": {"probability": 0.5}, "spec_augment": {"mel_masks": 1, "time_masks": 1}}
    changes = {"epochs": 3, "normalise": "clip", "augment": mixed, "optimiser": {"ema_decay": 0.9}}
    longer = resolve_recipe(recipe, {**changes, "sampling": {"clips_per_epoch": 4 * STEPS}})
    machine = two_processes(params.machine).model_copy(update={"save_every_s": 1e9})
    examples = examples_of(easy, (0, 1, 2, 3) * 2)
    run_together(partial(train_stop_and_go_on, easy.path, examples, drawing, longer, machine, tmp_path), machine, CPU)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    where = "in epoch 2 of 3, after step 2 of 4"
    assert first["said"].startswith(f"tiny-0: stopped by SIGTERM {where}; saved in {tmp_path / 'of-0'}")
    assert second["said"].startswith(f"tiny-0: stopped by SIGTERM {where}; saved in")
    for facts in (first, second):
        assert facts["position"] == where
        assert facts["same"]
        assert facts["statistics"] > 0
    assert not (tmp_path / "of-1").exists(), "only the first process writes"
    assert f"tiny-0: resumes {where} ({tmp_path / 'of-0'}" in capfd.readouterr().out


def test_a_process_alone_takes_the_mean_of_what_several_saw(member: Member, recipe: Recipe) -> None:
    """A checkpoint of two processes, resumed by one."""
    from tests.train.loop.test_step import training_step

    model = build_model(member, 3, 16, pretrained=False)
    single = training_step(recipe, model=model)
    tensors, numbers = single.state()
    name = next(name for name in tensors if name.endswith("running_mean"))
    of_each = torch.stack([torch.full_like(tensors[name], 1.0), torch.full_like(tensors[name], 4.0)])
    tensors[name.replace("model/", "model-of-each/")] = of_each
    single.resume(tensors, numbers)
    assert torch.equal(single.state()[0][name], torch.full_like(tensors[name], 2.5))
    assert ALONE.highest(3, CPU) == 3
    assert ALONE.from_first(b"abc", CPU) == b"abc"
