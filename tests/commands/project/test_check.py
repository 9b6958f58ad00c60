"""Stage `check`: a member that cannot be built, or cannot process its clips, is refused before anything is decoded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from birdcache.errors import CommandError, TrainError
from birdcache.params import load as parameters
from birdcache.params.recipe import Member, Recipe
from birdcache.params.views import View
from commands.project import check
from commands.project.ladder import check_rungs
from tests.fixtures import tiny
from train.paths import CHECKED


def write(root: Path, base: dict[str, Any]) -> None:
    raw = tiny.tiny_params("chorus")
    raw["members"]["base"] |= base
    tiny.write_params(root / "params.yaml", raw)


def test_a_view_whose_numbers_do_not_go_together_is_refused(tmp_path: Path) -> None:
    raw = tiny.tiny_params("chorus")
    raw["views"]["mel"] |= {"n_fft": 512, "n_mels": 256}
    tiny.write_params(tmp_path / "params.yaml", raw)
    with pytest.raises(CommandError, match=r"^params\.yaml: views\.mel: \d+ of 256 mel bins .* hold no FFT bin"):
        check.check_params(parameters.load(tmp_path / "params.yaml"))


def test_all_members_that_fail_are_named_at_once(tmp_path: Path) -> None:
    raw = tiny.tiny_params("chorus")
    for name in ("base", "pcen"):
        raw["members"][name]["backbone"] = f"{name}net"
    tiny.write_params(tmp_path / "params.yaml", raw)
    with pytest.raises(CommandError, match=r"(?s)members\.base: .*basenet.*\nparams\.yaml: members\.pcen: .*pcennet"):
        check.check_params(parameters.load(tmp_path / "params.yaml"))


def test_what_it_writes_does_not_depend_on_the_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written = []
    for base in ({}, {"backbone": "test_resnet", "dropout": 0.3}):
        write(tmp_path, base)
        check.main()
        written.append(CHECKED.read_bytes())
    assert written[0] == written[1]


def test_students_and_rungs_are_tried_too_and_networks_that_are_alike_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[float] = []

    def refuse(key: str, member: Member, recipe: Recipe, views: Mapping[str, View]) -> list[str]:
        tried.append(recipe.clip_s)
        raise TrainError(f"params.yaml: {key}: no")

    monkeypatch.setattr("train.model.check.check_member", refuse)
    raw = tiny.tiny_params("chorus")
    rounds = raw["student"]["rounds"]
    rounds["first"]["override"], rounds["second"]["override"] = {"epochs": 5}, {"clip_s": 2.0}
    raw["ladder"]["rungs"] = {"same": raw["members"]["base"], "other": raw["members"]["base"] | {"dropout": 0.5}}
    tiny.write_params(tmp_path / "params.yaml", raw)
    loaded = parameters.load(tmp_path / "params.yaml")
    _, problems = check.tried(loaded)
    names = ["members.base", "members.pcen", "student.rounds.second, member base"]
    assert problems == [f"params.yaml: {name}: no" for name in names]
    assert tried == [1.0, 1.0, 2.0]
    with pytest.raises(CommandError, match=r"^params\.yaml: ladder\.rungs\.other: no\n.*ladder\.rungs\.same: no$"):
        check_rungs(loaded)
