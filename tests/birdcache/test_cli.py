"""`birdcache info`, `predict` and `doctor` on the tiny project."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from birdcache import cli
from tests.conftest import TinyProject
from tests.fixtures.tiny import ROOT


def test_info_tells_what_a_store_holds(tiny_project: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["info", str(tiny_project.root / "data/cache/pcen.zarr")])
    told = capsys.readouterr().out
    for expected in (
        "recordings     18",
        'kind           "pcen"',
        "n_mels         32",
        '"gain": 0.98',
    ):
        assert expected in told


def test_a_reader_that_stops_early_sees_no_traceback(tiny_project: TinyProject) -> None:
    store = tiny_project.root / "data/cache/mel.zarr"
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [sys.executable, "-m", "birdcache.cli", "info", str(store)]
    done = subprocess.run(command, cwd=ROOT, stdout=write_end, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (0, "")


def test_info_names_a_store_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="1"):
        cli.main(["info", str(tmp_path)])
    assert str(tmp_path) in capsys.readouterr().err


def test_predict_gives_the_scores_of_the_predict_stage(tiny_project: TinyProject, tmp_path: Path) -> None:
    """The same windows by another way: from the file instead of from the store."""
    root, out = tiny_project.root, tmp_path / "found"
    soundscape = root / "chorus/test_soundscapes/dawn.ogg"
    cli.main(["predict", str(soundscape), "--model", str(root / "models"), "--out", str(out), "--threshold", "0"])
    found = pd.read_csv(out / "detections.csv").pivot_table(index="end_s", columns="label", values="score")
    wanted = pd.read_csv(root / "reports/submission.csv").drop(columns="row_id")
    assert list(found.index) == [5, 10, 15, 20]
    np.testing.assert_allclose(found[wanted.columns].to_numpy(), wanted.to_numpy(), atol=1e-3)


def test_predict_lists_a_bad_file_and_scores_the_others(
    tiny_project: TinyProject, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tiny_project.root
    shutil.copy(root / "chorus/train_audio/lowton/XC0.ogg", tmp_path / "good.ogg")
    (tmp_path / "bad.ogg").write_bytes(b"no audio")
    out = tmp_path / "found"
    with pytest.raises(SystemExit, match="1"):
        cli.main(
            ["predict", str(tmp_path), "--model", str(root / "models/base/0"), "--out", str(out), "--threshold", "0"]
        )
    assert "bad.ogg" in capsys.readouterr().err
    table = pd.read_csv(out / "detections.csv")
    assert set(table["file"]) == {str(tmp_path / "good.ogg")}
    assert table["end_s"].max() == pytest.approx(1.5)
    refused = pd.read_csv(out / "refused.csv")
    assert refused[["file", "code"]].to_numpy().tolist() == [[str(tmp_path / "bad.ogg"), "not-audio"]]


@pytest.mark.parametrize(
    ("files", "model", "named"), [(["none.ogg"], "models", "none.ogg"), (["."], "chorus", "chorus")]
)
def test_predict_refuses_what_is_not_there(
    tiny_project: TinyProject,
    files: list[str],
    model: str,
    named: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tiny_project.root)
    with pytest.raises(SystemExit, match="1"):
        cli.main(["predict", *files, "--model", model, "--out", "unused"])
    assert named in capsys.readouterr().err


def test_doctor_finds_a_ready_machine(
    tiny_project: TinyProject, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".dvc").mkdir()
    shutil.copy(tiny_project.root / "params.yaml", tmp_path)
    (tmp_path / "dvc.yaml").touch()
    for command in (
        ["init", "-q"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a", "--allow-empty"],
    ):
        subprocess.run(["git", *command], check=True)
    cli.main(["doctor"])
    told = capsys.readouterr().out
    assert "OGG Vorbis" in told
    assert "bad" not in [line.split()[0] for line in told.splitlines() if line.strip()]


def test_doctor_says_what_is_wrong_and_how_to_mend_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="1"):
        cli.main(["doctor"])
    told = capsys.readouterr().out
    assert "no DVC project here" in told
    assert "birdcache init" in told
