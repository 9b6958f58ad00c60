"""Several processes that train one model: their shares, their sums and their gradients are those of one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from birdcache.errors import TrainError
from birdcache.params.embedding import Output
from birdcache.params.model import Params
from birdcache.params.recipe import Recipe, resolve_recipe
from birdcache.params.teacher import TeacherParams
from birdcache.params.views import MelView
from cache.store import Store
from tests.train.loop.joining import CPU, two_processes
from tests.train.small import batch_of, small_model
from train.augment.batch import Batch, BatchTransform
from train.augment.normalise import Normaliser
from train.augment.training_batches import TrainingBatches
from train.data.batch_plan import Planner
from train.data.examples import Examples
from train.data.frames import DeviceFrames, HostFrames
from train.loop.distributed import ALONE, Ranks, _warn_of_unlike_gpus, run_together
from train.loop.step import TrainingStep
from train.loop.validation import Validation


@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_shares_are_of_one_size_and_follow_each_other(world: int) -> None:
    index = np.arange(100, 114)
    shares = [Ranks(rank, world).share(index) for rank in range(world)]
    assert {len(share) for share in shares} == {14 // world}
    assert np.concatenate(shares).tolist() == index[: 14 // world * world].tolist()


@pytest.mark.parametrize("count", [0, 1, 5, 12])
@pytest.mark.parametrize("world", [1, 2, 5])
def test_spans_together_are_all_things_once(count: int, world: int) -> None:
    things = list(range(count))
    assert [thing for rank in range(world) for thing in things[Ranks(rank, world).span(count)]] == things


@pytest.mark.parametrize(("batch_size", "world"), [(15, 2), (2, 2), (4, 3)])
def test_a_batch_that_cannot_be_shared_out_evenly_is_refused(batch_size: int, world: int) -> None:
    with pytest.raises(TrainError, match=rf"batch_size = {batch_size}: {world} processes .* machine\.processes"):
        Ranks(0, world).check_batch(batch_size)
    Ranks(0, world).check_batch(4 * world)


def test_two_processes_batches_taken_together_are_one_process_s(
    random_store: Callable[..., Store], examples_of: Callable[..., Examples], view: MelView, recipe: Recipe
) -> None:
    store = random_store((700, 3, 40, 39, 41, 1, 520, 90), view)
    examples = examples_of(store, (0, 1, 2, 0, 1, 2, 0, 1), ((0, 1), (3, 2)), (0, 1, 2, 3, 4, 5, 4, 3))
    mixed = {
        "batch_size": 8,
        "normalise": "clip",
        "sampling": {"weighted": True, "clips_per_epoch": 20},
        "secondary": {"policy": "mask"},
        "loss": {"lowest_rating_weight": 0.5},
        "augment": {
            "gain_db": 6.0,
            "mixup": {"probability": 0.4},
            "sumix": {"probability": 0.3},
            "cutmix": {"probability": 0.3},
            "eq": {"probability": 0.5},
            "background": {"probability": 0.5, "label": "bird1"},
            "noise": {"probability": 0.5},
            "spec_augment": {"mel_masks": 2, "time_masks": 2},
        },
    }
    changed = resolve_recipe(recipe, mixed)
    normaliser = Normaliser(view, changed, small_model(mel_bins=view.n_mels).statistics)
    alone, *both = (
        TrainingBatches(
            Planner(examples, view, changed, ranks),
            HostFrames(store, CPU),
            BatchTransform(view, changed, normaliser, CPU),
        )
        for ranks in (ALONE, Ranks(0, 2), Ranks(1, 2))
    )
    assert len(alone) == len(both[0]) == len(both[1]) == 3
    for epoch in (0, 3):
        for (whole, _), *shares in zip(*(batches.epoch(epoch) for batches in (alone, *both)), strict=True):
            for name in ("clips", "targets", "weights", "importance"):
                together = torch.cat([getattr(share, name) for share, _ in shares])
                assert torch.equal(together, getattr(whole, name)), name


STEPS, BATCH = 6, 8


TEACHER: Any = SimpleNamespace(
    params=TeacherParams.model_validate({"view": "birds", "loss": "mse", "weight": 2.0}),
    output=Output(name="embedding", start=0, stop=5),
)


def batches(step: int, share: slice = slice(None)) -> Batch:
    """A share of a batch, of which a teacher knows some clips."""
    each, rng = batch_of(BATCH, seed=step), torch.Generator().manual_seed(step)
    values, weight = torch.rand((BATCH, 5), generator=rng), (torch.rand(BATCH, generator=rng) > 0.3).float()
    fields = (field[share] for field in (each.clips, each.targets, each.weights, each.importance))
    return Batch(*fields, taught=(values[share], weight[share]))


def learned(
    recipe: Recipe, ranks: Ranks, teacher: Any = None
) -> tuple[list[float], dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Losses of some steps, each on this process's share of two batches, with a frozen start; last gradient; weights.

    The gradient says what Adam's weights hide: whether it has the right size.
    """
    model, losses = small_model(), []
    if recipe.batch_norm == "joint":
        model.backbone[0].bias = None  # type: ignore[index]  # which batch norm takes away: its gradient is noise
        model.backbone.insert(1, torch.nn.BatchNorm2d(8))  # type: ignore[operator]
    training_step = TrainingStep(model, np.array([1, 2, 3]), recipe, CPU, ranks, teacher)
    for step in range(STEPS):
        training_step.begin_epoch(frozen=step < 2)
        group = [batches(number, ranks.span(BATCH)) for number in (2 * step, 2 * step + 1)]
        losses.append(float(training_step.step(*group)))
    training_step.end_epoch()
    trained = training_step._trained
    gradient = {name: weight.grad.clone() for name, weight in trained.named_parameters() if weight.grad is not None}
    if teacher:
        losses.append(float(training_step.taught) / (2 * STEPS * BATCH))
        assert 0 < losses[-1] < max(losses[:-1])
    return losses, gradient, training_step.kept.state_dict()


LOSSES = {
    "bce": {"kind": "bce", "class_weights": "inverse", "label_smoothing": 0.1},
    "ce": {"kind": "ce"},
    "soft_auc": {"kind": "bce", "soft_auc": 0.5},
    "joint": {"kind": "ce"},
    "taught": {"kind": "bce"},
}
STEPPING = {"ema_decay": 0.5, "clip_norm": 0.0, "accumulate": 2, "lr": 1e-3}


def assert_alike(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys() != set()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-5)


def learn_and_write(recipes: dict[str, Recipe], folder: Path, ranks: Ranks) -> None:
    for name, recipe in recipes.items():
        torch.save(learned(recipe, ranks, TEACHER if name == "taught" else None), folder / f"{name}-{ranks.rank}.pt")
    print(f"process {ranks.rank} has learned")


@pytest.mark.slow
def test_two_processes_learn_what_one_learns_from_the_whole_batches(
    recipe: Recipe, params: Params, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Masks, importance and ranks are of the whole batch, not of a share; the backbone is frozen at first."""
    recipes = {
        name: resolve_recipe(
            recipe, {"loss": loss, "optimiser": STEPPING, "batch_norm": "joint" if name == "joint" else "own"}
        )
        for name, loss in LOSSES.items()
    }
    run_together(partial(learn_and_write, recipes, tmp_path), two_processes(params.machine), CPU)
    assert capfd.readouterr().out == "process 0 has learned\n", "only the first process prints"
    for name, changed in recipes.items():
        losses, gradient, weights = learned(changed, ALONE, TEACHER if name == "taught" else None)
        for rank in (0, 1):
            found_losses, found_gradient, found_weights = torch.load(tmp_path / f"{name}-{rank}.pt")
            assert found_losses == pytest.approx(losses, rel=1e-5)
            assert_alike(found_gradient, gradient)
            assert_alike(found_weights, weights)


class Running(torch.nn.Module):
    """Running statistics: each process has seen other clips, and has another number in each."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full((3,), value))
        self.register_buffer("seen", torch.tensor(7))


class ShareOfFrames(DeviceFrames):
    """Writes down which parts this process reads."""

    def __init__(self, store: Store, device: torch.device) -> None:
        self.read: list[int] = []
        super().__init__(store, device)

    def _upload(self, part: int, first: int, end: int) -> None:
        self.read.append(part)
        super()._upload(part, first, end)


def exchange_and_write(store_path: Path, examples: Examples, recipe: Recipe, folder: Path, ranks: Ranks) -> None:
    rows = torch.tensor([[1.0, 2.0]]) * (ranks.rank + 1)
    rows.requires_grad_()
    whole = ranks.whole(rows)
    (whole * torch.tensor([[1.0, 1.0], [10.0, 10.0]])).sum().backward()  # type: ignore[no-untyped-call]
    running = Running(float(ranks.rank))
    ranks.average_buffers(running)
    total = ranks.total(torch.tensor([1.0, 2.0 + ranks.rank], dtype=torch.float64))
    store = Store(store_path)
    resident = DeviceFrames(store, CPU)
    torch.save((resident.stored, ShareOfFrames(store, CPU).read), folder / f"resident-{ranks.rank}.pt")
    measured = Validation(examples, HostFrames(store, CPU), store.view, recipe, CPU, 4, ranks)
    found = measured.predict(small_model(mel_bins=store.view.n_mels))
    torch.save((whole.detach(), rows.grad, total, running.state_dict(), found), folder / f"{ranks.rank}.pt")


@pytest.mark.slow
def test_two_processes_gather_sum_average_and_validate_together(
    random_store: Callable[..., Store],
    examples_of: Callable[..., Examples],
    view: MelView,
    recipe: Recipe,
    params: Params,
    tmp_path: Path,
) -> None:
    store = random_store((700, 3, 40, 39, 41, 1, 520, 90), view)
    examples = examples_of(store, (0, 1, 2, 0, 1, 2, 0, 1), ((0, 1),))
    work = partial(exchange_and_write, store.path, examples, recipe, tmp_path)
    run_together(work, two_processes(params.machine), CPU)
    alone = Validation(examples, HostFrames(store, CPU), view, recipe, CPU, 4)
    scores, loss = alone.predict(small_model(mel_bins=view.n_mels))
    for rank in (0, 1):
        stored, read = torch.load(tmp_path / f"resident-{rank}.pt")
        assert torch.equal(stored, DeviceFrames(store, CPU).stored)
        assert read == [rank], "of two parts"
    both = [torch.load(tmp_path / f"{rank}.pt", weights_only=False) for rank in (0, 1)]
    for rank, (whole, gradient, total, running, (found_scores, found_loss)) in enumerate(both):
        assert whole.tolist() == [[1, 2], [2, 4]]
        assert gradient.tolist() == [[10.0**rank] * 2], "only the own rows carry a gradient"
        assert total.tolist() == [2, 5]
        assert running["mean"].tolist() == [0.5] * 3
        assert running["seen"] == 7
        assert found_scores == pytest.approx(scores, abs=1e-6)
        assert found_loss == pytest.approx(loss, rel=1e-5)
    assert np.array_equal(both[0][4][0], both[1][4][0])
    assert both[0][4][1] == both[1][4][1]


def test_gpus_of_unlike_kinds_are_named_with_a_way_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for names, told in ((["T4", "T4"], ""), (["T4", "L4"], "warning: GPUs of unlike kinds (L4, T4) share each batch")):
        monkeypatch.setattr(torch.cuda, "get_device_name", names.__getitem__)
        _warn_of_unlike_gpus(2, torch.device("cuda"))
        assert capsys.readouterr().out.startswith(told)
    _warn_of_unlike_gpus(2, CPU)


def test_each_of_several_processes_has_a_gpu_of_its_own() -> None:
    assert Ranks(3, 4, local=3).device(torch.device("cuda")) == torch.device("cuda", 3)
    assert Ranks(3, 4, local=3).device(CPU) == CPU
    assert ALONE.device(torch.device("cuda")) == torch.device("cuda")
