"""Stages that are stopped and run again: they go on where they were, and what else decides a training begins anew."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from birdcache.params import load as params
from birdcache.params.recipe import resolve_recipe
from tests.conftest import TinyProject
from tests.fixtures import tiny
from train import fit
from train.data.member import read_member
from train.data.sampling import PseudoClips
from train.ladder import members as ladder_members
from train.ladder import run as ladder_run
from train.loop import checkpoint
from train.loop.finished import FinishedTraining
from train.loop.resume import StoppedError
from train.loop.split import TrainingSplit, open_split
from train.loop.step import TrainingStep
from train.paths import TRAININGS

CHECKPOINTS = Path(".birdcache/checkpoints")
STEPS = 3  # of an epoch of the tiny project


@pytest.fixture
def project(tiny_project: TinyProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the tiny project without its models and audio."""
    root = tmp_path / "copy"
    shutil.copytree(tiny_project.root, root, ignore=shutil.ignore_patterns("models", "chorus", "train", "trainings"))
    monkeypatch.chdir(root)
    monkeypatch.delenv("BIRDCACHE_CHECKPOINTS", raising=False)
    return root


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Counts steps; at step `stop` of all, SIGTERM comes."""
    counted = {"done": 0, "stop": -1}
    step = TrainingStep.step

    def counting(training_step: TrainingStep, *group: Any) -> torch.Tensor:
        counted["done"] += 1
        if counted["done"] == counted["stop"]:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(training_step, *group)

    monkeypatch.setattr(TrainingStep, "step", counting)
    return counted


def run(stage: Callable[[], None], argument: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["stage", argument])
        stage()


def left() -> dict[str, bytes]:
    """What a training leaves, but for what the clock said and for the picture."""
    folders = (
        "models/base/0",
        "reports/train/base-0/plots/metrics/train",
        "reports/train/base-0/plots/metrics/validation",
    )
    return {str(path): path.read_bytes() for folder in folders for path in Path(folder).rglob("*") if path.is_file()}


def forgotten() -> None:
    """Remove what finished trainings left, and what is kept of them."""
    for folder in ("models/base/0", "reports/train/base-0", TRAININGS):
        shutil.rmtree(folder, ignore_errors=True)


def change_recipe(**keys: Any) -> None:
    """As stage `member` would, after a change of params.yaml."""
    path = Path("data/members/base.json")
    member = json.loads(path.read_text())
    member["recipe"] |= keys
    path.write_text(json.dumps(member))


def test_a_stage_that_is_stopped_twice_leaves_what_an_undisturbed_one_leaves(
    project: Path, steps: dict[str, int], capsys: pytest.CaptureFixture[str]
) -> None:
    run(fit.main, "base-0")
    expected, steps["done"] = left(), 0
    assert len(expected) > 8
    for stop, said in ((4, "in epoch 2 of 3, after step 1 of 3"), (5, "in epoch 2 of 3, after step 2 of 3")):
        forgotten()
        steps["stop"] = stop
        with pytest.raises(
            StoppedError, match=rf"base-0: stopped by SIGTERM {said}; saved in {CHECKPOINTS}/models/base/0/"
        ):
            run(fit.main, "base-0")
    forgotten()
    run(fit.main, "base-0")
    assert steps["done"] == 3 * STEPS, "no step is taken twice"
    assert left() == expected
    assert "base-0: resumes in epoch 2 of 3, after step 2 of 3" in capsys.readouterr().out
    assert not list(CHECKPOINTS.iterdir()), "a finished training needs none"


def test_changed_parameters_train_anew_and_the_old_ones_go_on_when_they_are_set_back(
    project: Path, steps: dict[str, int], capsys: pytest.CaptureFixture[str]
) -> None:
    before = Path("data/members/base.json").read_text()
    steps["stop"] = STEPS + 1
    with pytest.raises(StoppedError):
        run(fit.main, "base-0")
    change_recipe(seed=5)
    steps["done"], steps["stop"] = 0, -1
    run(fit.main, "base-0")
    assert steps["done"] == 3 * STEPS
    assert "an unfinished training with another recipe is kept in" in capsys.readouterr().out
    Path("data/members/base.json").write_text(before)
    run(fit.main, "base-0")
    assert steps["done"] == 3 * STEPS + 5, "five steps were left"


def test_a_change_that_is_undone_trains_nothing_again(
    project: Path, steps: dict[str, int], capsys: pytest.CaptureFixture[str]
) -> None:
    before = Path("data/members/base.json").read_text()
    run(fit.main, "base-0")
    expected = left()
    change_recipe(seed=5)
    Path("models/base/0/soup.safetensors").write_bytes(b"of an earlier recipe")
    run(fit.main, "base-0")
    assert steps["done"] == 6 * STEPS
    assert not Path("models/base/0/soup.safetensors").exists()
    assert left() != expected
    Path("data/members/base.json").write_text(before)
    capsys.readouterr()
    run(fit.main, "base-0")
    assert "base-0: was trained before; taken from .birdcache/trainings/models/base/0/" in capsys.readouterr().out
    assert left() == expected
    assert steps["done"] == 6 * STEPS


def test_a_kept_training_with_a_changed_byte_is_trained_again(project: Path, steps: dict[str, int]) -> None:
    run(fit.main, "base-0")
    expected = left()
    (kept,) = TRAININGS.rglob("last.safetensors")
    content = bytearray(kept.read_bytes())
    content[-1] ^= 1
    kept.unlink()
    kept.write_bytes(content)
    run(fit.main, "base-0")
    assert left() == expected
    assert steps["done"] == 6 * STEPS


def test_a_training_that_cannot_be_kept_has_ended_all_the_same(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_: FinishedTraining) -> None:
        raise OSError(28, "No space left on device", "kept")

    monkeypatch.setattr(FinishedTraining, "keep", full)
    run(fit.main, "base-0")
    assert Path("models/base/0/model.json").is_file()
    assert "warning: base-0: is not kept in case a change is undone: No space left" in capsys.readouterr().out


def test_the_three_newest_trainings_of_a_place_are_kept(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    for number in range(5):
        (tmp_path / "model/weights").write_text(str(number))
        FinishedTraining(tmp_path / f"kept/{number}", {"model": tmp_path / "model"}).keep()
        os.utime(tmp_path / f"kept/{number}/files.json", (number, number))
        (tmp_path / "model/weights").unlink()
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == ["2", "3", "4"]
    assert (tmp_path / "kept/3/model/weights").read_text() == "3"


def test_a_training_that_ended_but_was_not_written_trains_no_more(
    project: Path, steps: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(fit.main, "base-0")
    expected = left()
    forgotten()
    with monkeypatch.context() as patch:
        patch.setattr("train.loop.run.write_model", lambda *_: pytest.fail("killed"))
        with pytest.raises(pytest.fail.Exception):
            run(fit.main, "base-0")
    steps["done"] = 0
    run(fit.main, "base-0")
    assert steps["done"] == 0
    assert left() == expected


def test_a_stage_of_the_ladder_that_is_stopped_in_its_second_fold_does_not_train_the_first_again(
    project: Path, steps: dict[str, int]
) -> None:
    raw = tiny.tiny_params("chorus")
    raw["train"]["demo"] |= {"epochs": 1}
    raw["train"]["demo"]["optimiser"]["warmup_epochs"] = 0
    raw["ladder"] = {
        "seeds": [4, 5, 6],
        "folds": [0, 1],
        "rungs": {"base": raw["members"]["base"]},
        "ensemble": {},
        "ablations": {},
    }
    tiny.write_params(project / "params.yaml", raw)
    run(ladder_members.main, "")
    steps["stop"] = STEPS + 1
    with pytest.raises(StoppedError, match=r"base-4, fold 1: stopped by SIGTERM in epoch 1 of 1, after step 1 of 3"):
        run(ladder_run.main, "base-4")
    shutil.rmtree("data/ladder/models")
    shutil.rmtree("data/ladder/runs")
    run(ladder_run.main, "base-4")
    assert steps["done"] == 2 * STEPS
    assert {path.name for path in Path("data/ladder/runs/base-4").iterdir()} == {"0.npz", "1.npz"}
    assert not list(CHECKPOINTS.iterdir())


@pytest.fixture
def split(project: Path) -> TrainingSplit:
    return open_split(read_member("base"), 0, params.load().machine, torch.device("cpu"))


def with_pseudo(split: TrainingSplit, share: float) -> TrainingSplit:
    one = np.ones(1, np.int64)
    clips = PseudoClips(one, one, one, np.ones((1, 3), np.float32), np.ones(1), 0.5, share)
    return replace(split, pseudo=clips)


@pytest.mark.slow
def test_a_training_is_told_apart_by_each_thing_that_decides_it(split: TrainingSplit) -> None:
    member, plain = split.member, split.fingerprint()

    def with_member(**changes: Any) -> TrainingSplit:
        return replace(split, member=member.model_copy(update=changes))

    fewer = split.trained.subset(np.arange(3))
    changed = {
        "recipe": with_member(recipe=resolve_recipe(member.recipe, {"augment": {"gain_db": 1.0}})),
        "store": with_member(store_digest="0"),
        "pretrained weights": with_member(weights_sha256="0"),
        "teacher": with_member(teacher_digest="0"),
        "model": with_member(member=member.member.model_copy(update={"dropout": 0.9})),
        "view": with_member(view=member.view.model_copy(update={"hop": 99})),
        "recordings to train on": replace(split, trained=fewer),
        "recordings to validate on": replace(split, validated=fewer),
        "windows of soundscapes": replace(split, windows=fewer),
        "pseudo-labels": with_pseudo(split, 0.5),
        "store of soundscapes": replace(split, soundscapes_digest="1"),
    }
    for key, other in changed.items():
        found = other.fingerprint()
        assert {name for name in plain if found[name] != plain[name]} == {key}
    assert set(plain) - set(changed) == {"code", "torch", "timm"}
    assert (
        with_pseudo(split, 0.5).fingerprint()
        == with_pseudo(split, 0.5).fingerprint()
        != with_pseudo(split, 0.6).fingerprint()
    )


def test_labels_of_the_recordings_decide_too(split: TrainingSplit) -> None:
    primary = split.trained.primary.copy()
    primary[0] = (primary[0] + 1) % 3
    relabelled = replace(split, trained=replace(split.trained, primary=primary)).fingerprint()
    assert relabelled["recordings to train on"] != split.fingerprint()["recordings to train on"]


def test_another_machine_is_the_same_training(split: TrainingSplit) -> None:
    machine = params.load().machine.model_copy(update={"placement": "stream", "stream_gb": 1.0})
    assert open_split(split.member, 0, machine, torch.device("cpu")).fingerprint() == split.fingerprint()


def _edited(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> list[str]:
    """Let a file of the project end in another line; gives the list that the names of all files that are read go to."""
    read: list[str] = []
    read_bytes = Path.read_bytes

    def edited(path: Path) -> bytes:
        if path.suffix == ".py":
            read.append(path.relative_to(tiny.ROOT).as_posix())
        return read_bytes(path) + (text.encode() if path == tiny.ROOT / name else b"")

    monkeypatch.setattr(Path, "read_bytes", edited)
    return read


@pytest.mark.parametrize("name", ["train/augment/ops.py", "birdcache/params/views.py", "cache/store.py"])
def test_changed_code_is_another_training(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    before = checkpoint.environment()
    read = _edited(monkeypatch, name, "CHANGED = 1\n")
    after = checkpoint.environment()
    assert {key for key in before if before[key] != after[key]} == {"code"}
    assert {"train/augment/ops.py", "train/loop/trainer.py", "cache/store.py"} <= set(read)


def test_a_training_goes_on_after_a_comment_was_written_in_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    before = checkpoint.environment()
    _edited(monkeypatch, "train/augment/ops.py", "# a comment\n")
    assert checkpoint.environment() == before
