"""A stranger's params.yaml can neither run a command nor remove a folder: trick names, with real `dvc repro`."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures import tiny
from tests.test_dvc import copy_of_the_code, start_git

pytestmark = pytest.mark.slow

SHELL = "dawn; touch ../hacked; #"
OUTSIDE = "../../../outside"


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh clone, with a precious folder beside it."""
    root = tmp_path_factory.mktemp("house") / "clone"
    root.mkdir()
    copy_of_the_code(root)
    start_git(root)
    (root.parent / "outside.zarr").mkdir()
    for name in ("outside/0", "outside/1", "outside.zarr", "outside.bundle"):
        (root.parent / name).mkdir(parents=True, exist_ok=True)
        (root.parent / name / "precious").write_text(name)
    return root


def repro(root: Path, raw: dict[str, Any], *arguments: str) -> str:
    """What `dvc repro` prints with these params; it has to fail."""
    tiny.write_params(root / "params.yaml", raw)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [sys.executable, "-m", "dvc", "repro", *arguments]
    environment = {**os.environ, "PATH": path, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0, done.stdout
    return done.stdout + done.stderr


def everything_is_there(root: Path) -> None:
    for name in ("outside/0", "outside/1", "outside.zarr", "outside.bundle"):
        assert (root.parent / name / "precious").read_text() == name
    assert sorted(path.name for path in root.parent.iterdir()) == ["clone", "outside", "outside.bundle", "outside.zarr"]
    assert not (root / "hacked").exists()


def params() -> dict[str, Any]:
    raw = tiny.tiny_params("data/demo/dawn")
    raw["demo"] = tiny.shipped_params()["demo"]
    return raw


def test_names_of_the_demo(clone: Path) -> None:
    raw = params()
    dawn = raw["demo"].pop("dawn")
    names = [SHELL, OUTSIDE, "../..", "../tables", "$(touch ../hacked)", "a/../../../../outside"]
    raw["demo"] = {name: copy.deepcopy(dawn) for name in names}
    raw["data"]["root"] = f"data/demo/{OUTSIDE}"
    repro(clone, raw)
    everything_is_there(clone)
    for name in names:
        repro(clone, raw, "-s", f"demo@{name}")
        everything_is_there(clone)


@pytest.mark.parametrize("root", ["../outside", "/", "../..", "."])
def test_a_root_of_the_data_that_is_no_data(clone: Path, root: str) -> None:
    raw = params()
    raw["demo"] = {"../../../outside": raw["demo"]["dawn"]}
    raw["data"]["root"] = root
    repro(clone, raw)
    everything_is_there(clone)


@pytest.mark.parametrize("name", [SHELL, OUTSIDE])
@pytest.mark.parametrize("section", ["views", "members"])
def test_a_name_of_a_view_or_a_member(clone: Path, section: str, name: str) -> None:
    raw = params()
    first = next(iter(raw[section]))
    raw[section][name] = copy.deepcopy(raw[section][first])
    repro(clone, raw)
    everything_is_there(clone)
    stages = {"views": [f"spectrograms@{name}"], "members": [f"member@{name}", f"train@{name}-0"]}
    for stage in stages[section]:
        repro(clone, raw, "-s", stage)
        everything_is_there(clone)


@pytest.mark.parametrize("name", [SHELL, OUTSIDE])
def test_a_name_of_a_source(clone: Path, name: str) -> None:
    raw = params()
    raw["data"]["sources"] = {name: {"layout": "files", "root": "annotations", "label": "nocall"}}
    (clone.parent / "outside.txt").write_text("outside.txt")
    repro(clone, raw)
    repro(clone, raw, "-s", f"source@{name}")
    assert (clone.parent / "outside.txt").read_text() == "outside.txt"
    (clone.parent / "outside.txt").unlink()
    everything_is_there(clone)


def test_a_fold_that_is_no_number(clone: Path) -> None:
    raw = params()
    raw["folds"]["train"] = ["../../../outside/0", "0; touch ../hacked; #"]
    repro(clone, raw)
    for fold in raw["folds"]["train"]:
        repro(clone, raw, "-s", f"train@base-{fold}")
        everything_is_there(clone)


def test_names_of_the_optional_pipelines(clone: Path) -> None:
    raw = params()
    raw["export"]["name"] = "../../outside"
    member = copy.deepcopy(raw["members"]["base"])
    raw["ladder"]["rungs"] = {"../../../../outside": member, SHELL: member}
    raw["ladder"]["seeds"] = [0]
    raw["student"]["members"] = ["../../../../outside"]
    for stage in (
        "export",
        "ladder_rung@../../../../outside-0",
        f"ladder_rung@{SHELL}-0",
        "student_start@../../../../outside-0",
    ):
        repro(clone, raw, "-s", f"optional/dvc.yaml:{stage}")
        everything_is_there(clone)
    repro(clone, raw, "optional/dvc.yaml:export")
    everything_is_there(clone)
