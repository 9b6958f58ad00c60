"""`birdcache predict` gives what the stages give, by whatever blend and post-processing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

from birdcache import cli
from birdcache.files import checksummed_json, verified_json
from birdcache.formulas import unescaped
from birdcache.predict.clip_scores import read_clip_scores
from tests.conftest import TinyProject
from tests.fixtures.tiny import change_params
from train import predict, submit
from train.paths import ENSEMBLE, SCORES
from train.score.ensemble import Ensemble, read_ensemble, write_ensemble

SOUNDSCAPE = "chorus/test_soundscapes/dawn.ogg"


@pytest.fixture
def project(tiny_project: TinyProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the finished project, as the current directory."""
    root = tmp_path / "copy"
    shutil.copytree(tiny_project.root, root, ignore=shutil.ignore_patterns("train_audio"))
    monkeypatch.chdir(root)
    return root


def change(**sections: dict[str, Any]) -> None:
    """Change keys of params.yaml, and run the stages that read them."""
    change_params(**sections)
    predict.main()
    submit.main()


def detected(*arguments: str, model: str = "models") -> pd.DataFrame:
    """What the command writes."""
    cli.main(["predict", SOUNDSCAPE, "--model", model, "--out", "found", *arguments])
    return pd.read_csv("found/detections.csv")


def table_of(found: pd.DataFrame) -> pd.DataFrame:
    """Scores with a row for each window and a column for each label."""
    return found.pivot_table(index="end_s", columns="label", values="score")


def final_scores(ensemble: Ensemble) -> pd.DataFrame:
    """What the stages' scores of clips come to by an ensemble."""
    clips = read_clip_scores(SCORES)
    ends_s = [float(row_id.rpartition("_")[2]) for row_id in clips.row_ids]
    return pd.DataFrame(ensemble.final(clips.member_windows(), clips.windows), ends_s, ensemble.labels)


def test_every_step_is_the_same_as_in_the_stages(project: Path) -> None:
    label = read_ensemble(ENSEMBLE).labels[0]
    Path("species").mkdir(exist_ok=True)
    Path("species/marsh.csv").write_text(f"species,share\n{label},0.6\n")
    change(
        predict={"window_s": 4.0, "hop_s": 1.5, "shifts_s": [0.5, -1.0], "smoothing": 0.2, "file_max": 0.5}
        | {"species": "marsh.csv", "species_weight": 0.5},
        ensemble={"blend": "fitted", "calibration": "class"},
    )
    found = table_of(detected("--threshold", "0", "--species", "species/marsh.csv", "--species-weight", "0.5"))
    wanted = pd.read_csv("reports/submission.csv").drop(columns="row_id")
    assert list(found.index) == [4, 8, 12, 16, 20]
    np.testing.assert_allclose(found[wanted.columns].to_numpy(), wanted.to_numpy(), atol=1e-3)


def test_ranks_are_taken_over_all_windows_of_all_files(project: Path) -> None:
    ensemble = read_ensemble(ENSEMBLE).model_copy(update={"kind": "rank", "smoothing": 0.0})
    write_ensemble(Path("ranks.json"), ensemble)
    one = table_of(detected("--threshold", "0", "--ensemble", "ranks.json"))
    wanted = final_scores(ensemble)
    np.testing.assert_allclose(one[wanted.columns].to_numpy(), wanted.to_numpy(), atol=1e-3)
    shutil.copy(SOUNDSCAPE, "again.ogg")
    arguments = ["predict", SOUNDSCAPE, "again.ogg", "--model", "models", "--out", "two", "--threshold", "0"]
    cli.main([*arguments, "--ensemble", "ranks.json"])
    two = pd.read_csv("two/detections.csv")
    for name in (SOUNDSCAPE, "again.ogg"):
        each = table_of(two[two["file"] == name])
        assert each.max().max() < 1, "the best of eight windows shares its place with its copy"


def test_each_class_is_written_above_its_own_threshold(project: Path) -> None:
    ensemble = read_ensemble(ENSEMBLE)
    wanted = final_scores(ensemble)
    middle = wanted.median().to_numpy()
    write_ensemble(ENSEMBLE, ensemble.model_copy(update={"thresholds": middle.tolist()}))
    found = detected()
    pairs = set(zip(found["end_s"], found["label"], strict=True))
    above = wanted.to_numpy() >= middle
    assert 0 < above.sum() < above.size
    clear = np.abs(wanted.to_numpy() - middle) > 1e-3
    for (row, column), is_clear in np.ndenumerate(clear):
        if is_clear:
            assert ((wanted.index[row], wanted.columns[column]) in pairs) == above[row, column]


def test_one_member_of_an_ensemble_speaks_for_itself(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ensemble = read_ensemble(ENSEMBLE)
    write_ensemble(ENSEMBLE, ensemble.model_copy(update={"members": {"base": 0.0, "pcen": 1.0}}))
    found = table_of(detected("--threshold", "0", model="models/base"))
    assert "blend mean of base" in capsys.readouterr().out
    alone = ensemble.model_copy(update={"members": {"base": 1.0, "pcen": 0.0}})
    wanted = final_scores(alone)
    np.testing.assert_allclose(found[wanted.columns].to_numpy(), wanted.to_numpy(), atol=1e-3)


def test_models_without_an_ensemble_are_refused(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree("models", moved)
    with pytest.raises(SystemExit, match="1"):
        detected(model=str(moved))
    told = capsys.readouterr().err
    assert f"{moved}: no folder above it has data/ensemble.json" in told
    assert "run `dvc repro submit` in their project, or name the file with --ensemble FILE" in told
    assert not Path("found").exists()
    assert len(detected("--threshold", "0", "--ensemble", str(ENSEMBLE), model=str(moved))) > 0


def test_models_that_the_ensemble_leaves_out_are_refused(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_ensemble(ENSEMBLE, read_ensemble(ENSEMBLE).model_copy(update={"members": {"pcen": 1.0}}))
    with pytest.raises(SystemExit, match="1"):
        detected(model="models/base")
    assert "ensemble.json: blends no model of those found (base); run `dvc repro submit`" in capsys.readouterr().err


def test_silent_file_is_scored_and_named(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soundfile.write("silence.wav", np.zeros(10 * 16_000), 16_000)
    cli.main(["predict", "silence.wav", SOUNDSCAPE, "--model", "models", "--out", "found", "--threshold", "0"])
    found = pd.read_csv("found/detections.csv")
    assert found.groupby("file")["end_s"].nunique().to_dict() == {SOUNDSCAPE: 4, "silence.wav": 2}
    assert found["score"].between(0, 1).all()
    assert "warning: silence.wav: is silent; it is scored like any other" in capsys.readouterr().out


def test_file_names_and_labels_of_strangers_are_no_formulas(project: Path) -> None:
    shutil.copy(SOUNDSCAPE, "=1+1.ogg")
    cli.main(["predict", "=1+1.ogg", "--model", "models", "--out", "found", "--threshold", "0"])
    assert set(pd.read_csv("found/detections.csv")["file"]) == {"'=1+1.ogg"}
    assert set(pd.read_csv("found/detections.csv")["file"].map(unescaped)) == {"=1+1.ogg"}


def test_other_windows_can_be_asked_for(project: Path) -> None:
    assert sorted(set(detected("--threshold", "0", "--window", "2")["end_s"])) == [2 * n for n in range(1, 11)]


def test_members_and_folds_that_the_ensemble_does_not_name_are_left_out(project: Path) -> None:
    before = detected("--threshold", "0")
    shutil.copytree("models/base/0", "models/old/0")
    sidecar = verified_json(Path("models/old/0/model.json").read_bytes())
    sidecar["member"]["name"] = "old"
    Path("models/old/0/model.json").write_bytes(checksummed_json(sidecar))
    assert detected("--threshold", "0").equals(before)


def test_two_models_of_one_member_and_fold_are_refused(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree("models/base/0", "models/base/copy")
    with pytest.raises(SystemExit, match="1"):
        detected()
    assert "models/base/copy: is base on fold 0, and so is models/base/0; name one" in capsys.readouterr().err


def test_an_ensemble_of_other_labels_is_refused(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ensemble = read_ensemble(ENSEMBLE)
    write_ensemble(ENSEMBLE, ensemble.model_copy(update={"labels": ensemble.labels[::-1]}))
    with pytest.raises(SystemExit, match="1"):
        detected()
    assert "name the ensemble.json of these models" in capsys.readouterr().err


def test_a_named_ensemble_must_be_there(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="1"):
        detected("--ensemble", "none.json")
    assert "none.json: is missing" in capsys.readouterr().err
