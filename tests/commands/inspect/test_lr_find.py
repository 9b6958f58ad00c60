"""`birdcache lr-find` on the tiny project."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from birdcache import cli
from tests.conftest import TinyProject


@pytest.fixture
def project(tiny_project: TinyProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the tiny project without models, reports and audio."""
    root = tmp_path / "copy"
    shutil.copytree(tiny_project.root, root, ignore=shutil.ignore_patterns("models", "chorus", "reports"))
    monkeypatch.chdir(root)
    return root


def test_a_rate_is_suggested_with_a_picture_and_a_table(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["lr-find", "base", "--steps", "40", "--lowest", "1e-5", "--highest", "0.1", "--fold", "1"])
    told = capsys.readouterr().out
    found = re.search(
        r"suggested optimiser\.lr: (\S+), where the loss falls fastest \(the recipe's is 1\.0e-02\)", told
    )
    assert found is not None
    table = pd.read_csv(project / "reports/lr_find/base.csv")
    assert list(table.columns) == ["learning_rate", "loss", "smoothed"]
    assert table["learning_rate"].iloc[0] == pytest.approx(1e-5)
    assert table["learning_rate"].is_monotonic_increasing
    assert table["learning_rate"].min() <= float(found[1]) <= table["learning_rate"].max()
    assert (project / "reports/lr_find/base.png").read_bytes().startswith(b"\x89PNG")
    assert not (project / "models").exists(), "the weights are thrown away"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["owl"], r"'owl': params\.yaml names no such member; choose one of base, pcen"),
        (["base", "--fold", "7"], r"--fold 7: must be from 0 to 1 \(folds\.count"),
        (["base", "--lowest", "1"], r"must be above 0 and below --highest"),
        (["base", "--steps", "3"], r"--steps at least 10"),
    ],
)
def test_what_does_not_exist_is_refused_by_name(
    project: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    with pytest.raises(SystemExit, match="1"):
        cli.main(["lr-find", *arguments])
    assert re.search(said, capsys.readouterr().err)


@pytest.mark.parametrize("missing", ["data/folds.csv", "data/members/base.json", "data/cache/mel.zarr"])
@pytest.mark.parametrize("command", ["lr-find", "batch"])
def test_a_stage_that_has_not_run_is_named(
    project: Path, capsys: pytest.CaptureFixture[str], missing: str, command: str
) -> None:
    path = project / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(SystemExit, match="1"):
        cli.main([command, "base"])
    assert f"{missing}: is missing; run `dvc repro member@base folds`" in capsys.readouterr().err
