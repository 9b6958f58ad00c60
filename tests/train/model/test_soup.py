"""Soups are means of state dicts, of the last epochs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from birdcache.params.recipe import Member, Recipe, resolve_recipe
from birdcache.params.views import MelView
from cache.store import Store
from cache.tables import FOLDS
from tests.train.easy import CPU, Training, easy_store
from train.data.examples import Examples
from train.data.member import ResolvedMember
from train.loop import run
from train.loop.run import Run, RunFolders
from train.loop.trainer import Trainer
from train.model.classifier import Classifier, build_model
from train.model.weights import mean_bytes, read_model, read_sidecar


def trained(member: Member, seed: int, batches: int = 1) -> Classifier:
    """A model whose batch norm has seen some batches."""
    torch.manual_seed(seed)
    model = build_model(member, 3, 32, pretrained=False)
    model.train()
    for _ in range(batches):
        model(torch.randn(4, 1, 32, 40))
    return model


def mean_state(states: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return load(mean_bytes([save(state) for state in states]))


def test_weights_and_running_statistics_are_averaged_and_counts_kept(member: Member) -> None:
    states = [trained(member, seed, batches=seed).state_dict() for seed in (1, 2, 5)]
    soup = mean_state(states)
    assert set(soup) == set(states[0])
    kinds = {"running_mean": 0, "num_batches_tracked": 0, "weight": 0}
    for name, tensor in soup.items():
        assert tensor.dtype == states[-1][name].dtype
        each = np.stack([state[name].numpy() for state in states])
        if name.endswith("num_batches_tracked"):
            assert tensor.item() == 5
        else:
            assert tensor.numpy() == pytest.approx(each.astype(np.float64).mean(axis=0), abs=1e-7)
        kinds |= {kind: count + name.endswith(kind) for kind, count in kinds.items()}
    assert min(kinds.values()) > 0


def test_the_mean_of_one_is_itself(member: Member) -> None:
    state = trained(member, 1).state_dict()
    soup = mean_state([state])
    assert all(torch.equal(soup[name], tensor) for name, tensor in state.items())


def test_halves_are_averaged_in_double_precision() -> None:
    ones = torch.tensor([60000.0, 1.0], dtype=torch.float16)
    soup = mean_state([{"weight": ones}] * 3)
    assert soup["weight"].dtype == torch.float16
    assert soup["weight"].tolist() == [60000, 1]


@pytest.fixture(scope="module")
def training(
    make_store: Callable[..., Store], view: MelView, examples_of: Callable[..., Examples], member: Member
) -> Training:
    store = easy_store(make_store, view)
    return Training(store, examples_of(store, (0, 1, 2, 3) * 2), member)


def test_a_soup_of_epochs_is_the_mean_of_the_last_ones(training: Training, recipe: Recipe) -> None:
    changes = {"epochs": 4, "normalise": "clip", "weights": "soup", "soup_epochs": 3}
    _, weights = training.run(resolve_recipe(recipe, changes))
    for number, left in enumerate(weights):
        last = [load(each["last"]) for each in weights[max(0, number - 2) : number + 1]]
        soup = load(left["soup"])
        for name, tensor in soup.items():
            expected = torch.stack([state[name].double() for state in last]).mean(dim=0)
            if tensor.is_floating_point():
                assert torch.allclose(tensor.double(), expected, atol=1e-7)
            else:
                assert torch.equal(tensor, last[-1][name])
    assert weights[-1]["soup"] != weights[-1]["last"]
    assert weights[0]["soup"] == mean_bytes([weights[0]["last"]])


def test_without_soup_none_is_made(training: Training, recipe: Recipe) -> None:
    _, weights = training.run(resolve_recipe(recipe, {"epochs": 1, "soup_epochs": 1}))
    assert set(weights[0]) == {"last", "best"}


def test_a_training_by_soup_keeps_predicts_and_measures_its_soup(
    training: Training, recipe: Recipe, resolved: ResolvedMember, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    FOLDS.path.write_text("recording,fold\n")
    changed = resolve_recipe(recipe, {"epochs": 3, "normalise": "clip", "weights": "soup", "soup_epochs": 2})
    torch.manual_seed(1)
    model = build_model(training.member, 4, 32, pretrained=False)
    trainer = Trainer(model, training.batches(changed), changed, CPU, name="tiny-0")
    member = resolved.model_copy(update={"recipe": changed})
    place = RunFolders("tiny-0", tmp_path / "models", tmp_path / "report")
    monkeypatch.setattr(run, "open_log", lambda folder: nullcontext())
    Run(member, 0, place).train(trainer, training.validation(changed))
    sidecar = read_sidecar(place.folder)
    soup = read_model(place.folder, sidecar, "soup", CPU)
    scores, loss = training.validation(changed).predict(soup)
    with np.load(place.folder / "predictions.npz") as content:
        assert content["scores"] == pytest.approx(scores, abs=1e-6)
    assert sidecar.metrics["soup"]["loss"] == pytest.approx(loss)
    assert sidecar.metrics["soup"] != sidecar.metrics["last"]
    assert set(sidecar.sha256) == {"last", "best", "soup"}
