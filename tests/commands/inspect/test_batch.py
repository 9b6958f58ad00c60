"""`birdcache batch` on the tiny project: the batch that it shows is the one that is trained on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from birdcache import cli
from birdcache.params import load as parameters
from commands.inspect.batch import first_batch, seen_title, stored_title
from tests.conftest import TinyProject
from train.data.member import read_member
from train.loop.split import TrainingSplit, open_split

EVERYTHING: dict[str, Any] = {
    "mixup": {"probability": 1.0, "third": 1.0},
    "background": {"probability": 1.0, "label": "midton"},
    "noise": {"probability": 1.0},
}


@pytest.fixture
def project(tiny_project: TinyProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the tiny project without models, reports and audio."""
    root = tmp_path / "copy"
    shutil.copytree(tiny_project.root, root, ignore=shutil.ignore_patterns("models", "chorus", "reports"))
    monkeypatch.chdir(root)
    return root


def split_with(augment: dict[str, Any]) -> TrainingSplit:
    """Fold 0 of member base, with other augmentations."""
    path = Path("data/members/base.json")
    member = json.loads(path.read_text())
    for name, changes in augment.items():
        member["recipe"]["augment"][name] |= changes
    path.write_text(json.dumps(member))
    return open_split(read_member("base"), 0, parameters.load().machine, torch.device("cpu"))


@pytest.mark.parametrize(("member", "clips", "shown"), [("base", "2", 2), ("pcen", "9", 4)])
def test_a_picture_of_the_first_clips_is_drawn(
    project: Path, capsys: pytest.CaptureFixture[str], member: str, clips: str, shown: int
) -> None:
    cli.main(["batch", member, "--clips", clips, "--epoch", "2", "--fold", "1"])
    told = capsys.readouterr().out
    path = f"reports/batch/{member}.png"
    assert f"{path}: {shown} of the 4 clips in the first batch of epoch 2, fold 1" in told
    assert (project / path).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["owl"], "'owl': params.yaml names no such member; choose one of base, pcen"),
        (["base", "--fold", "7"], "--fold 7: must be from 0 to 1 (folds.count"),
    ],
)
def test_what_does_not_exist_is_refused_by_name(
    project: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    with pytest.raises(SystemExit, match="1"):
        cli.main(["batch", *arguments])
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["data/folds.csv", "data/members/base.json", "data/cache/mel.zarr"])
def test_a_stage_that_has_not_run_is_named(project: Path, capsys: pytest.CaptureFixture[str], missing: str) -> None:
    path = project / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(SystemExit, match="1"):
        cli.main(["batch", "base"])
    assert f"{missing}: is missing; run `dvc repro member@base folds`" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--clips", "0"], ["--epoch", "0"]])
def test_clips_and_epochs_count_from_one(
    project: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    with pytest.raises(SystemExit, match="1"):
        cli.main(["batch", "base", *arguments])
    assert "both must be at least 1" in capsys.readouterr().err


def test_what_is_shown_is_what_is_trained_on_beside_what_is_stored(project: Path) -> None:
    split = split_with(EVERYTHING)
    look = first_batch(split, 1)
    trained_on, _ = next(split.batches(split.model()).epoch(1))
    for name in ("clips", "targets", "weights", "importance"):
        assert torch.equal(getattr(look.seen, name), getattr(trained_on, name)), name
    clips = split.batches(split.model()).planner.clips_of(look.plan)
    expected = split.frames.finish(split.frames.stage(*clips))
    assert np.array_equal(look.stored, expected[: len(look.stored)].numpy()), "before augmentation"


def test_titles_name_recordings_labels_targets_and_what_was_mixed_in(project: Path) -> None:
    split = split_with(EVERYTHING)
    look = first_batch(split, 0)
    names = {row: Path(name).name for row, name in zip(split.trained.rows, split.trained.names, strict=True)}
    for number in range(look.plan.size):
        own, partner, background, third = look.plan.row[number].tolist()
        assert stored_title(number, look, split).startswith(f"{names[own]} from ")
        seen = seen_title(number, look, split)
        assert f"mixed with {names[partner]} (" in seen
        assert f"%, and {names[third]} (" in seen
        assert seen.endswith(f"%, over {names[background]}, with noise")
        target = look.seen.targets[number]
        best = int(target.argmax())
        assert f"target {split.trained.labels[best]} {float(target[best]):.2f}" in seen


def test_a_clip_that_nothing_is_mixed_into_says_so(project: Path) -> None:
    split = split_with({"mixup": {"probability": 0.0}})
    assert seen_title(0, first_batch(split, 0), split).endswith("no other sound")
