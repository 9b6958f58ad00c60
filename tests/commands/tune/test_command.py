"""`birdcache tune` on the tiny project."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from ruamel.yaml import YAML

from birdcache import cli
from birdcache.errors import TrainError
from birdcache.params import load as params
from birdcache.params.recipe import resolve_recipe
from tests.conftest import TinyProject
from tests.fixtures import tiny
from train.data.member import read_member
from train.tune.search import Search

KEYS = {
    "epochs": {"low": 2, "high": 3, "log": False},
    "optimiser.lr": {"low": 1e-3, "high": 2e-2, "log": True},
    "sampling.weighted": {"choices": [True, False]},
}


@pytest.fixture
def project(tiny_project: TinyProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the tiny project without models, reports and audio, and with a small search."""
    root = tmp_path / "copy"
    shutil.copytree(tiny_project.root, root, ignore=shutil.ignore_patterns("models", "chorus", "reports"))
    monkeypatch.chdir(root)
    change(tune={"trials": 2, "fold": 1, "keys": KEYS})
    return root


def change(**sections: dict[str, Any]) -> None:
    """Change keys of sections of params.yaml."""
    raw = YAML(typ="safe", pure=True).load(Path("params.yaml").read_text())
    for section, keys in sections.items():
        raw[section] |= keys
    tiny.write_params(Path("params.yaml"), raw)


def rejected(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit, match="1"):
        cli.main(["tune", *arguments])
    return capsys.readouterr().err


def test_a_search_ends_with_a_table_a_picture_and_yaml_for_the_member(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.main(["tune", "base"])
    told = capsys.readouterr().out
    assert "base, fold 1: 2 trials over epochs, optimiser.lr, sampling.weighted for macro_roc_auc" in told
    assert "trial 1 tries the member's current values" in told
    lines = re.findall(r"^trial +(\d)/2  macro_roc_auc (\S+)  in \d+ s  \[(.*)\]", told, flags=re.MULTILINE)
    assert [line[0] for line in lines] == ["1", "2"]
    assert lines[0][2] == "epochs 3  optimiser.lr 0.01  sampling.weighted True"
    table = pd.read_csv("reports/tune/base.csv")
    assert list(table.columns) == ["trial", "state", "macro_roc_auc", "epochs_run", "seconds", *KEYS, "why"]
    assert table["macro_roc_auc"].tolist() == pytest.approx([float(line[1]) for line in lines], abs=1e-4)
    assert (project / "reports/tune/base.png").read_bytes().startswith(b"\x89PNG")
    assert not (project / "models").exists(), "the weights are thrown away"
    assert table["epochs_run"].tolist() == table["epochs"].tolist()
    best: Any = table.loc[table["macro_roc_auc"].argmax()]
    merit = f"macro_roc_auc {best['macro_roc_auc']:.4f}"
    assert f"best: trial {best['trial']} of 2, {merit}; with its current values (trial 1): " in told
    apply(told, "base")
    recipe, before = params.load().recipe_of("base"), read_member("base").recipe
    tried = {"optimiser": {"lr": best["optimiser.lr"]}, "sampling": {"weighted": bool(best["sampling.weighted"])}}
    assert recipe == resolve_recipe(before, tried | {"epochs": int(best["epochs"])})


def apply(told: str, member: str) -> None:
    """Paste what a search has printed into params.yaml, as a user would."""
    _, rule, pasted = told.partition(f"under members.{member}:\n")
    assert rule
    override = YAML(typ="safe", pure=True).load(pasted)["override"]
    assert pasted.startswith("    override:\n")
    raw = YAML(typ="safe", pure=True).load(Path("params.yaml").read_text())
    raw["members"][member]["override"] = override
    tiny.write_params(Path("params.yaml"), raw)


@pytest.mark.slow
def test_the_same_command_again_trains_nothing_and_more_trials_go_on(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.main(["tune", "base", "--trials", "1", "--fold", "0"])
    first = capsys.readouterr().out
    cli.main(["tune", "base", "--trials", "1", "--fold", "0"])
    second = capsys.readouterr().out
    assert "1 trial is already done and will not run again" in second
    assert "trial  1" not in second
    assert second.partition("best:")[2] == first.partition("best:")[2]
    change(tune={"seed": 5})
    cli.main(["tune", "base", "--trials", "1", "--fold", "0"])
    told = capsys.readouterr().out
    assert "trial  1/1" in told


def test_an_override_that_the_member_has_stays_in_what_is_to_be_pasted(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = {"optimiser.lr": {"choices": [0.02, 0.03]}, "sampling.clips_per_epoch": {"choices": [None, 4]}}
    change(tune={"trials": 1, "keys": keys}, folds={"seed": 1})
    cli.main(["tune", "pcen"])
    told = capsys.readouterr().out
    assert "current values" not in told, "its rate is not among the choices"
    before = params.load().recipe_of("pcen")
    apply(told, "pcen")
    table = pd.read_csv("reports/tune/pcen.csv", keep_default_na=False)
    clips = table["sampling.clips_per_epoch"][0]
    tried = {"clips_per_epoch": int(clips) if clips else None}
    expected = resolve_recipe(before, {"optimiser": {"lr": table["optimiser.lr"][0]}, "sampling": tried})
    assert params.load().recipe_of("pcen") == expected
    assert expected.augment.gain_db == 0.0


def test_a_stopped_search_says_how_to_go_on_and_what_it_has(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_trial = Search.run_trial

    def stopped(search: Any, study: Any, after_epoch: Any) -> Any:
        if search.outcomes(study):
            raise KeyboardInterrupt
        return run_trial(search, study, after_epoch)

    monkeypatch.setattr(Search, "run_trial", stopped)
    change(tune={"keys": {"optimiser.lr": KEYS["optimiser.lr"]}})
    cli.main(["tune", "base"])
    told = capsys.readouterr().out
    assert "stopped; run the same command to continue" in told
    assert "best: trial 1 of 1" in told


def test_a_search_without_a_finished_trial_ends_with_a_message(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> float:
        raise TrainError("the loss became nan")

    monkeypatch.setattr(Search, "_train", broken)
    with pytest.raises(SystemExit, match="1"):
        cli.main(["tune", "base"])
    told = capsys.readouterr()
    assert "trial  1/2  failed: the loss became nan  [epochs 3  optimiser.lr 0.01" in told.out
    assert "base: no trial has finished; the lines above say why" in told.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["owl"], r"'owl': params\.yaml names no such member; choose one of base, pcen"),
        (["base", "--fold", "7"], r"--fold 7: must be from 0 to 1 \(folds\.count"),
        (["base", "--trials", "0"], r"--trials 0: must be at least 1"),
    ],
)
def test_what_does_not_exist_is_refused_by_name(
    project: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert re.search(said, rejected(capsys, *arguments))


def test_a_search_for_nothing_is_refused(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(tune={"keys": {}})
    assert "tune.keys is empty; name keys of the recipe" in rejected(capsys, "base")


def test_values_that_this_member_cannot_have_are_refused_before_any_trial(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = {"augment.gain_db": {"low": 0.0, "high": 6.0, "log": False}, "optimiser.lr": {"choices": [0.1, 1e-9]}}
    change(tune={"keys": keys})
    said = rejected(capsys, "pcen")
    assert "tune.keys: 2 values are unfit for member pcen" in said
    assert "tune.keys.augment.gain_db.high = 6.0: members.pcen: augment.gain_db = 6 has no meaning on the PCEN" in said
    assert (
        "tune.keys.optimiser.lr.choices.1 = 1e-09: members.pcen.override.optimiser.min_lr = 1e-06: must be at" in said
    )


@pytest.mark.parametrize(
    ("command", "member"),
    [
        ("tune", {"override": {"batch_size": 6}}),
        ("batch", {"dropout": 0.3}),
        ("batch", {"override": {"clip_s": 0.5}}),
    ],
)
def test_parameters_that_the_member_s_file_does_not_know_yet_are_noticed(
    project: Path, capsys: pytest.CaptureFixture[str], command: str, member: dict[str, Any]
) -> None:
    raw = YAML(typ="safe", pure=True).load(Path("params.yaml").read_text())
    raw["members"]["base"] |= member
    tiny.write_params(Path("params.yaml"), raw)
    with pytest.raises(SystemExit, match="1"):
        cli.main([command, "base"])
    assert "base.json: params.yaml has changed since; run `dvc repro member@base`" in capsys.readouterr().err
