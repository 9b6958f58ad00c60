"""DVC's experiments in a temporary git repository: any key can be set, and a grid in a queue decodes nothing again."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures import tiny
from tests.test_dvc import copy_of_the_code, dvc

pytestmark = pytest.mark.slow

RATES = (0.003, 0.03)


def git(root: Path, *arguments: str) -> None:
    command = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost", *arguments]
    subprocess.run(command, cwd=root, check=True, capture_output=True)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A committed project with one view and one member, trained for one epoch; its recipe has a base."""
    root = tmp_path_factory.mktemp("project")
    copy_of_the_code(root)
    (root / ".gitignore").write_text((tiny.ROOT / ".gitignore").read_text())
    tiny.write_data(root / "chorus")
    raw = tiny.tiny_params("chorus")
    raw["views"], raw["members"] = {"mel": raw["views"]["mel"]}, {"base": raw["members"]["base"]}
    raw["folds"]["train"] = [0]
    raw["train"]["demo"] |= {"epochs": 1}
    raw["train"]["demo"]["optimiser"] |= {"warmup_epochs": 0, "schedule": "constant"}
    raw["train"]["mixing"] = {"base": "demo", "augment": {"mixup": {"probability": 0.5}}}
    raw["members"]["base"]["recipe"] = "mixing"
    tiny.write_params(root / "params.yaml", raw)
    git(root, "init", "-q")
    git(root, "add", "--all")
    git(root, "commit", "-q", "-m", "start")
    dvc(root, "repro", "train@base-0")
    git(root, "add", "--all")
    git(root, "commit", "-q", "-m", "trained")
    return root


def resolved(root: Path) -> dict[str, Any]:
    """The recipe that stage `member@base` has resolved."""
    recipe: dict[str, Any] = json.loads((root / "data/members/base.json").read_text())["recipe"]
    return recipe


@pytest.fixture(scope="module")
def queue(project: Path) -> str:
    """What DVC said while it ran a grid of two, each in a workspace of its own."""
    rates = ",".join(str(rate) for rate in RATES)
    pool = {"BIRDCACHE_POOL": str(project / ".birdcache/pool")}
    queued = dvc(
        project, "exp", "run", "--queue", "train@base-0", "-S", f"++members.base.override.optimiser.lr={rates}"
    )
    assert queued.count("Queued experiment") == 2
    return dvc(project, "exp", "run", "--run-all", **pool)


def test_a_grid_in_a_queue_trains_only_and_decodes_nothing(queue: str) -> None:
    ran = re.findall(r"Running stage '(\S+)'", queue)
    assert sorted(set(ran)) == ["check", "member@base", "spectrograms@mel", "train@base-0"]
    assert "data/cache/mel.zarr: 18 recordings" in queue, "linked from the pool"
    assert "to write" not in queue
    assert re.findall(r"epoch +1/1 .* lr (\S+)", queue) == ["3.0e-03", "3.0e-02"]


def test_the_experiments_are_told_apart_by_what_was_changed_and_what_came_of_it(project: Path, queue: str) -> None:
    shown = dvc(project, "exp", "show", "--only-changed", "--drop", "^(?!.*(lr$|roc_auc|Experiment)).*", "--csv")
    header, *rows = [row.split(",") for row in shown.strip().splitlines()]
    rate = header.index("members.base.override.optimiser.lr")
    assert {row[rate] for row in rows} == {"", *(str(rate) for rate in RATES)}
    assert "validation.macro_roc_auc" in header
    assert not any("data/" in name for name in header), "files are no columns"


def test_plots_of_experiments_name_what_they_show(project: Path, queue: str) -> None:
    names = dvc(project, "exp", "list", "--name-only").split()
    plots = json.loads(dvc(project, "plots", "diff", "HEAD", *names, "--json", "--split"))["data"]
    (loss,) = plots["reports/train/base-0/plots/metrics/validation/loss.tsv"]
    assert loss["revisions"] == ["HEAD", *names]
    told = loss["anchor_definitions"]
    assert told["<DVC_METRIC_TITLE>"] == "reports/train/base-0/plots/metrics/validation/loss.tsv"
    assert (told["<DVC_METRIC_X_LABEL>"], told["<DVC_METRIC_Y_LABEL>"]) == ("epoch, from 0", "loss")


def test_any_key_of_a_recipe_can_be_set(project: Path) -> None:
    """In the base of a recipe, in the recipe, which does not have it yet, and in a member's override."""
    before, expected = (project / "params.yaml").read_text(), {"lr": 0.004, "min_lr": 1e-5, "weight_decay": 0.5}
    try:
        base, recipe, member = "train.demo.optimiser", "+train.mixing.optimiser", "++members.base.override.optimiser"
        changes = [f"{base}.min_lr=1.0e-5", f"{recipe}.lr=0.004", f"{member}.weight_decay=0.5"]
        dvc(project, "exp", "run", "member@base", *(word for change in changes for word in ("-S", change)))
        assert {key: resolved(project)["optimiser"][key] for key in expected} == expected
    finally:
        (project / "params.yaml").write_text(before)


def test_a_key_that_a_recipe_leaves_to_its_base_needs_a_plus_and_dvc_says_so(project: Path) -> None:
    command = ["exp", "run", "--queue", "-S", "train.mixing.optimiser.lr=0.004"]
    with pytest.raises(AssertionError, match=r"To append to your config use \+train.mixing.optimiser.lr=0.004"):
        dvc(project, *command)
