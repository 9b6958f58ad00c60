"""The patches of docs/extend.md fit the code as it is, are as short as the page says, and do what it says."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from birdcache.params.recipe import merged
from tests.docs.blocks import Block, all_blocks
from tests.docs.conftest import copy_of_the_tree, run
from tests.fixtures import tiny

BLOCKS = [block for block in all_blocks() if block.page == "docs/extend.md"]
AUGMENTATION, LOSS = [block for block in BLOCKS if block.language == "diff"]
(VIEW,) = [block for block in BLOCKS if block.language == "yaml"]


def added_lines(patch: Block) -> list[str]:
    """The lines of Python that a patch adds or changes."""
    file, found = "", []
    for line in patch.text.splitlines():
        if line.startswith("+++ "):
            file = line
        elif line.startswith("+") and line[1:].strip() and file.endswith(".py"):
            found.append(line)
    return found


@pytest.fixture
def project(documented: Path, tmp_path: Path) -> Path:
    """A copy of the finished project, to be changed."""
    root = tmp_path / "birdcache"
    shutil.copytree(documented, root, symlinks=True)
    return root


def change_params(root: Path, changes: Mapping[str, Any]) -> None:
    raw = YAML(typ="safe", pure=True).load((root / "params.yaml").read_text())
    tiny.write_params(root / "params.yaml", merged(raw, changes))


@pytest.mark.parametrize(("patch", "most"), [(AUGMENTATION, 10), (LOSS, 6)], ids=str)
def test_a_patch_is_as_short_as_the_page_says(patch: Block, most: int) -> None:
    assert len(added_lines(patch)) == most


@pytest.mark.parametrize("patch", [AUGMENTATION, LOSS], ids=str)
def test_with_a_patch_the_shipped_params_are_still_right(patch: Block, tmp_path: Path) -> None:
    root = tmp_path / "birdcache"
    copy_of_the_tree(root)
    (root.parent / "patch.diff").write_text(patch.text)
    run(root, "git init -q && git apply -C1 ../patch.diff")
    run(root, "python -c 'from birdcache.params import load; load.load()'")


def test_augmentation_and_loss_do_what_they_say_and_train(project: Path) -> None:
    for patch in (AUGMENTATION, LOSS):
        (project.parent / "patch.diff").write_text(patch.text)
        run(project, "git apply -C1 --exclude=params.yaml ../patch.diff")  # which is a tiny one here
    for recipe in ("demo", "baseline"):
        change_params(project, {"train": {recipe: {"augment": {"pitch_bins": 0}}}})
    (project.parent / "tried.py").write_text(TRIED)
    lines = run(project, "python ../tried.py").splitlines()
    plain, moved = (float(line.partition(" ")[2]) for line in lines if line.startswith("loss-of-training "))
    assert 1 < plain < 5, "binary cross-entropy alone is below 1"
    assert 1 < moved < 5
    assert plain != moved


def test_the_view_makes_a_store_and_a_member_and_runs_nothing_else(project: Path) -> None:
    change_params(project, YAML(typ="safe", pure=True).load(VIEW.text))
    change_params(project, {"train": {"baseline": {"epochs": 2, "optimiser": {"warmup_epochs": 0}}}})
    said = run(project, "dvc repro train@trills-0")
    ran = [line for line in said.splitlines() if line.startswith("Running stage")]
    assert {line.split("'")[1] for line in ran} >= {"spectrograms@trills", "member@trills", "train@trills-0"}
    assert not [line for line in ran if "train@base" in line or "spectrograms@mel" in line]
    assert (project / "models/trills/0/model.json").is_file()


TRIED = """
import json, math, sys
from pathlib import Path

import torch
from ruamel.yaml import YAML

from train import fit, members
from train.augment.ops import move_bins
from train.model.losses import polynomial

rising = torch.arange(5.0).expand(2, 1, 3, 5)
moved = move_bins(rising, torch.tensor([0, 1]))
assert torch.equal(moved[0], rising[0])
assert moved[1, 0, 0].tolist() == [0, 0, 1, 2, 3]

found = polynomial(torch.tensor([[0.0, math.log(3)]]), torch.tensor([[1.0, 0.0]]), 4.0)
assert torch.allclose(found, torch.tensor([[2.0, 3.0]]))  # 4 times the distance from scores of 1/2 and 3/4

yaml = YAML()
raw = yaml.load(Path("params.yaml"))
for bins in (0, 3):
    raw["members"]["base"]["override"] = {
        "epochs": 1,
        "optimiser": {"warmup_epochs": 0},
        "loss": {"kind": "poly", "focal_gamma": 4.0},
        "augment": {"pitch_bins": bins},
    }
    yaml.dump(raw, Path("params.yaml"))
    for module, name in ((members, "base"), (fit, "base-0")):
        sys.argv = ["", name]
        module.main()
    print("loss-of-training", json.loads(Path("reports/train/base-0/metrics.json").read_text())["train"]["loss"])
"""
