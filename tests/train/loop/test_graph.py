"""Steps that are recorded and replayed, here by a make-believe CUDA graph, are the steps of a training without one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from birdcache.params.model import Params
from birdcache.params.recipe import Member, Recipe, resolve_recipe
from birdcache.params.views import MelView
from cache.store import Store
from tests.train.easy import CPU, Result, Training, easy_store, results
from tests.train.loop.resuming import untimed
from tests.train.small import small_model
from train.augment.batch import BatchTransform
from train.augment.training_batches import TrainingBatches
from train.data.examples import Examples
from train.loop.distributed import ALONE, Ranks
from train.loop.graph import WARM_UP, Recorder, recorder_for
from train.loop.optim import build_optimiser, make_recordable, set_rate
from train.loop.trainer import Trainer
from train.model.classifier import build_model

LR = 2.0**-8  # the same in float32 and float64, and so are its eighths


class MakeBelieveGraph(Recorder):
    """Records a function by remembering it, and replays it by calling it: on the inputs of its first call."""

    def __init__(self, fails: bool = False) -> None:
        self.fails, self.warmed, self.recorded, self.replayed = fails, 0, 0, 0

    def aside(self, work: Callable[[], Any]) -> Any:
        self.warmed += 1
        return work()

    def record(self, work: Callable[[], torch.Tensor]) -> tuple[Callable[[], None], torch.Tensor]:
        if self.fails:
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nmore")
        self.recorded += 1
        result = torch.zeros(())

        def replay() -> None:
            self.replayed += 1
            result.copy_(work())

        return replay, result


class FullBatches(TrainingBatches):
    """Batches of constant shapes, as on a GPU."""

    def __init__(self, planner: Any, frames: Any, augment: BatchTransform) -> None:
        augment.full = True
        super().__init__(planner, frames, augment)


@pytest.fixture
def training(
    make_store: Callable[..., Store], view: MelView, examples_of: Callable[..., Examples], member: Member
) -> Training:
    """With a network that draws."""
    store = easy_store(make_store, view)
    drawing = member.model_copy(update={"dropout": 0.3, "drop_path": 0.3})
    training = Training(store, examples_of(store, (0, 1, 2, 3) * 2), drawing)
    training.batches_kind = FullBatches
    return training


CHANGES: dict[str, Any] = {
    "epochs": 3,
    "batch_size": 2,
    "normalise": "clip",
    "augment": {"gain_db": 6.0, "mixup": {"probability": 0.5}, "spec_augment": {"mel_masks": 1, "time_masks": 1}},
    "optimiser": {
        "lr": LR,
        "min_lr": 0.0,
        "warmup_epochs": 2.0,
        "ema_decay": 0.9,
        "clip_norm": 1.0,
        "freeze_epochs": 1,
    },
}


def run(training: Training, recipe: Recipe, recorder: MakeBelieveGraph | None) -> tuple[Any, Result]:
    torch.manual_seed(1)
    model = build_model(training.member, 4, training.store.view.n_mels, pretrained=False)
    trainer = Trainer(model, training.batches(recipe), recipe, CPU, name="tiny-0", recorder=recorder)
    epochs, weights = results(trainer, training.validation(recipe))
    state, _ = trainer.training_step.state()
    learned = {name: tensor.numpy().tobytes() for name, tensor in state.items()}
    return learned, ([untimed(epoch) for epoch in epochs], weights)


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_recorded_training_is_the_same_to_the_last_bit(training: Training, recipe: Recipe, precision: str) -> None:
    """Its rates rise from step to step, it draws in each, and it is recorded anew once the backbone is set free."""
    changed, recorder = resolve_recipe(recipe, CHANGES | {"precision": precision}), MakeBelieveGraph()
    assert run(training, changed, recorder) == run(training, changed, None)
    assert (recorder.warmed, recorder.recorded, recorder.replayed) == (2 * WARM_UP, 2, 4 + 8 - 2 * WARM_UP)


def test_a_step_that_cannot_be_recorded_is_taken_as_it_is_and_that_is_said_once(
    training: Training, recipe: Recipe, capsys: pytest.CaptureFixture[str]
) -> None:
    changed, recorder = resolve_recipe(recipe, CHANGES), MakeBelieveGraph(fails=True)
    assert run(training, changed, recorder) == run(training, changed, None)
    said = "no CUDA graph: it cannot be recorded (CUDA error: operation not permitted when stream is capturing)"
    assert capsys.readouterr().out.splitlines() == [said]


def test_a_rate_is_set_in_the_tensor_that_a_graph_has_recorded(recipe: Recipe) -> None:
    changed = resolve_recipe(recipe, {"optimiser": {"backbone_scale": 0.5}})
    optimiser = build_optimiser(small_model(), changed.optimiser)
    make_recordable(optimiser)
    recorded = [group["lr"] for group in optimiser.param_groups]
    set_rate(optimiser, 0.25)
    assert all(group["lr"] is rate for group, rate in zip(optimiser.param_groups, recorded, strict=True))
    assert {float(rate) for rate in recorded} == {0.25, 0.125}


@pytest.mark.parametrize(
    ("changes", "ranks", "said"),
    [
        ({}, ALONE, ""),
        ({"recompute": True}, ALONE, "no CUDA graph: recompute: true\n"),
        ({"optimiser": {"accumulate": 2}}, Ranks(0, 2), "2 processes exchange messages, optimiser.accumulate: 2\n"),
        ({"optimiser": {"kind": "sgd"}}, ALONE, ""),
        ({"optimiser": {"kind": "adan"}}, ALONE, "no CUDA graph: optimiser.kind: adan\n"),
    ],
)
def test_what_no_graph_holds_is_named(
    recipe: Recipe, params: Params, capsys: pytest.CaptureFixture[str], changes: Any, ranks: Ranks, said: str
) -> None:
    cuda = torch.device("cuda")
    changed = resolve_recipe(recipe, changes)
    assert isinstance(recorder_for(changed, params.machine, cuda, ranks), Recorder) == (said == "")
    assert capsys.readouterr().out.endswith(said)
    off = params.machine.model_copy(update={"cuda_graph": "off"})
    assert [recorder_for(changed, *on, ranks) for on in ((params.machine, CPU), (off, cuda))] == [None, None]
    assert capsys.readouterr().out == ""
