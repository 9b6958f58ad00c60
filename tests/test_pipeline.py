"""The whole pipeline on a tiny project, from OGG to submission."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from birdcache.errors import TrainError
from birdcache.params.load import load
from cache.store import Store
from tests.conftest import TinyProject
from tests.fixtures.tiny import SPECIES
from train.data.examples import read_examples, read_labels
from train.loop.run import open_log
from train.model.weights import read_model, read_sidecar
from train.paths import split_run


def test_training_learns_three_tones(tiny_project: TinyProject) -> None:
    metrics = json.loads((tiny_project.root / "reports/metrics.json").read_text())
    assert metrics["out_of_fold"]["ensemble"]["macro_roc_auc"] > 0.7
    assert metrics["out_of_fold"]["ensemble"]["classes_scored"] == len(SPECIES)
    assert set(metrics["out_of_fold"]) == set(metrics["soundscapes"]) == {"base", "pcen", "ensemble"}


def test_the_submission_has_the_columns_and_rows_of_kaggle(tiny_project: TinyProject) -> None:
    submission = pd.read_csv(tiny_project.root / "reports/submission.csv")
    assert list(submission.columns) == ["row_id", "midton", "lowton", "higton"]
    assert list(submission["row_id"]) == ["dawn_5", "dawn_10", "dawn_15", "dawn_20"]
    scores = submission.drop(columns="row_id").to_numpy()
    assert np.isfinite(scores).all()
    assert ((scores >= 0) & (scores <= 1)).all()


def test_every_recording_is_predicted_once_per_member(tiny_project: TinyProject) -> None:
    expected = sorted(pd.read_csv(tiny_project.root / "data/tables/recordings.csv")["recording"])
    for member in ("base", "pcen"):
        predicted: list[str] = []
        for fold in (0, 1):
            with np.load(tiny_project.root / f"models/{member}/{fold}/predictions.npz") as content:
                predicted += content["recording"].tolist()
        assert sorted(predicted) == expected


def test_the_saved_weights_give_the_saved_predictions(
    tiny_project: TinyProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    from train.data.frames import HostFrames
    from train.loop.validation import Validation

    monkeypatch.chdir(tiny_project.root)
    folder, device = Path("models/base/0"), torch.device("cpu")
    sidecar = read_sidecar(folder)
    model = read_model(folder, sidecar, sidecar.member.recipe.weights, device)
    store = Store(Path("data/cache/mel.zarr"), load().spectrograms["mel"])
    examples, folds = read_examples(store, read_labels())
    fold = examples.subset(folds == 0)
    frames = HostFrames(store, device)
    scores, _ = Validation(fold, frames, sidecar.member.view, sidecar.member.recipe, device, 64).predict(model)
    with np.load(folder / "predictions.npz") as content:
        np.testing.assert_allclose(content["scores"], scores, atol=1e-5)


def test_every_epoch_is_logged_for_dvc(tiny_project: TinyProject) -> None:
    report = tiny_project.root / "reports/train/base-0"
    curve = pd.read_csv(report / "plots/metrics/validation/macro_roc_auc.tsv", sep="\t")
    assert list(curve["step"]) == [0, 1, 2]
    metrics = json.loads((report / "metrics.json").read_text())
    assert {"loss", "accuracy", "macro_roc_auc", "cmap", "macro_f1"} <= set(metrics["validation"])
    assert 0 <= metrics["waiting_share"] < 1


def test_the_sidecar_holds_no_path_or_time_of_this_machine(tiny_project: TinyProject) -> None:
    text = (tiny_project.root / "models/base/0/model.json").read_text()
    assert str(tiny_project.root) not in text
    assert json.loads(text)["labels"] == sorted(SPECIES)


def test_a_git_repository_without_a_commit_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TrainError, match="git commit"):
        open_log(tmp_path / "report")


@pytest.mark.parametrize("run", ["base", "base-", "-0", "base-x"])
def test_a_run_that_is_not_member_and_fold_is_refused(run: str) -> None:
    with pytest.raises(TrainError, match="base-0"):
        split_run(run)
