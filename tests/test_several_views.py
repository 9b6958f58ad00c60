"""A member that looks at several views, through all stages: resolved, trained, scored; of one file like the stage."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from birdcache import cli
from birdcache.errors import TrainError
from birdcache.params import load as params
from birdcache.params.views import MultiView
from tests.conftest import TinyProject
from tests.fixtures import tiny
from train.data.member import read_member
from train.members import resolve, stores_of
from train.model.classifier import choose_device
from train.model.weights import read_model, read_sidecar

TOGETHER: dict[str, Any] = {"more_views": ["pcen"], "override": {"normalise": "bins", "channels": ["level", "slope"]}}


def run(module: str, *arguments: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [module, *arguments])
        importlib.import_module(module).main()


@pytest.fixture(scope="module")
def project(tiny_project: TinyProject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny project, whose only member looks at mel and pcen; trained and scored."""
    root = tmp_path_factory.mktemp("several") / "project"
    shutil.copytree(tiny_project.root, root, symlinks=True)
    raw = YAML(typ="safe", pure=True).load((root / "params.yaml").read_text())
    raw["members"] = {"base": raw["members"]["base"] | TOGETHER}
    shutil.rmtree(root / "models")
    tiny.write_params(root / "params.yaml", raw)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        run("train.members", "base")
        for fold in raw["folds"]["train"]:
            run("train.fit", f"base-{fold}")
        run("train.predict")
        run("train.submit")
    return root


def test_its_model_is_told_by_its_sidecar_alone(project: Path) -> None:
    folder = project / "models/base/0"
    sidecar = read_sidecar(folder)
    assert sidecar.member.member.views == ["mel", "pcen"]
    assert isinstance(sidecar.member.view, MultiView)
    assert [each.kind for each in sidecar.member.view.views] == ["mel", "pcen"]
    model = read_model(folder, sidecar, "last", choose_device("cpu"))
    assert model.statistics.mean.shape == (4, 32)
    # of a mel view in dB, then of its slope, of PCEN, then of its slope
    assert (model.statistics.mean[0] < -10).all()
    assert (model.statistics.mean[2] > 0).all()


def test_it_is_trained_and_scored_like_any_other(project: Path) -> None:
    scores = np.load(project / "models/base/0/predictions.npz")["scores"]
    assert np.isfinite(scores).all()
    assert scores.std() > 0


def test_the_scores_of_a_file_are_those_of_the_stage(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`birdcache predict` decodes the soundscape itself; the stage reads it from the stores of both views."""
    monkeypatch.chdir(project)
    told = ["--model", "models", "--ensemble", "data/ensemble.json", "--out", "found", "--threshold", "0"]
    cli.main(["predict", "chorus/test_soundscapes/dawn.ogg", *told])
    found = pd.read_csv("found/detections.csv").pivot_table(index="end_s", columns="label", values="score")
    stage = pd.read_csv("reports/submission.csv", index_col="row_id")
    assert len(found) == len(stage) == 4
    np.testing.assert_allclose(found[list(stage.columns)].to_numpy(), stage.to_numpy(), atol=2e-4)


def test_a_changed_store_of_the_second_view_is_another_training(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    loaded = params.load()
    first, second = stores_of("base", loaded)
    resolved = resolve("base", loaded, first, second)
    assert resolved == read_member("base")
    assert resolve("base", loaded, first, first).store_digest != resolved.store_digest
    assert resolved.store_digest not in (first.digest, second.digest)


def test_a_second_store_of_another_geometry_is_refused(
    project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(project)
    loaded = params.load()
    first, second = stores_of("base", loaded)
    second.view = second.view.model_copy(update={"hop": 128})
    with pytest.raises(TrainError, match=r"pcen\.zarr: differs from data/cache/mel\.zarr in hop; run `dvc repro`"):
        resolve("base", loaded, first, second)


def test_a_second_store_that_changed_after_all_is_refused(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    path = Path("data/members/base.json")
    before = path.read_text()
    path.write_text(json.dumps(json.loads(before) | {"store_digest": "0" * 64}))
    try:
        with pytest.raises(
            TrainError, match=r"mel\.zarr, data/cache/pcen\.zarr: changed after member base was resolved"
        ):
            run("train.fit", "base-0")
    finally:
        path.write_text(before)


def test_the_picture_of_a_batch_names_view_and_channel(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from commands.inspect.batch import channel_names

    monkeypatch.chdir(project)
    cli.main(["batch", "base", "--clips", "2"])
    assert (project / "reports/batch/base.png").is_file()
    names = ["level of mel", "slope of mel", "level of pcen", "slope of pcen"]
    assert channel_names(read_member("base")) == names
