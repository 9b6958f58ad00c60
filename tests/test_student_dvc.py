"""The noisy student's stages beside the others: who runs after whom, and what a changed round concerns.

DVC only reads the project; nothing is run.
"""

from __future__ import annotations

import subprocess
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from dvc.dependency import ParamsDependency
from dvc.repo import Repo

from tests.fixtures import tiny
from tests.test_dvc import copy_of_the_code


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """All stages of the project by name, and `graph`: DVC's, whose edges go from a stage to what it depends on."""
    root = tmp_path_factory.mktemp("graph")
    copy_of_the_code(root)
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    tiny.write_params(root / "params.yaml", tiny.tiny_params("chorus"))
    with warnings.catch_warnings(), Repo(root) as repo:
        warnings.simplefilter("ignore")  # of DVC's own libraries
        yield {stage.name: stage for stage in repo.index.stages} | {"graph": repo.index.graph}


def upstream(stages: dict[str, Any], name: str) -> set[str]:
    pending, found = [stages[name]], set[str]()
    while pending:
        for stage in stages["graph"].successors(pending.pop()):
            pending += [stage] if stage.name not in found else []
            found.add(stage.name)
    return found


def concerned(stages: dict[str, Any], key: str) -> set[str]:
    """Stages that depend on a key, or on part of what is below it; `check` reads all of it."""
    found = set()
    for name, stage in stages.items():
        for dep in [] if name in ("graph", "check") else stage.deps:
            if isinstance(dep, ParamsDependency) and any(f"{key}.".startswith(f"{each}.") for each in dep.params):
                found.add(name)
    return found


def names(in_round: str) -> set[str]:
    return {f"student@{in_round}-base-{fold}" for fold in (0, 1)}


def test_no_stage_of_the_root_depends_on_the_student(stages: dict[str, Any]) -> None:
    student = {name for name in stages if "student" in name or name.startswith("pseudo")}
    assert len(student) == 2 + 2 + 4 + 1
    for name in set(stages) - student - {"graph"}:
        assert not upstream(stages, name) & student, name


def test_rounds_follow_each_other(stages: dict[str, Any]) -> None:
    assert upstream(stages, "pseudo@first") >= {"student_start@base-0", "student_start@base-1", "train@base-0"}
    assert upstream(stages, "student@first-base-0") >= {"pseudo@first", "member@base", "spectrograms@mel"}
    assert upstream(stages, "pseudo@second") >= names("first") | {"pseudo@first"}
    assert upstream(stages, "student_report") >= names("second") | names("first")
    assert not upstream(stages, "student_report") & {"train@pcen-0", "member@pcen", "predict"}


@pytest.mark.parametrize(
    ("key", "labels", "trains"),
    [
        ("taught_by", True, False),
        ("folds", True, False),
        ("threshold", True, False),
        ("power", True, False),
        ("alpha", False, True),
        ("probability", False, True),
        ("share", False, True),
    ],
)
def test_a_changed_round_concerns_itself_and_those_after_it(
    stages: dict[str, Any], key: str, labels: bool, trains: bool
) -> None:
    expected = ({"pseudo@second"} if labels else set()) | (names("second") if trains else set())
    changed = concerned(stages, f"student.rounds.second.{key}")
    assert changed - {"student_report"} == expected
    for name in names("first") | {"pseudo@first"}:
        assert not upstream(stages, name) & changed


def test_the_margin_and_the_hop_concern_labels_alone(stages: dict[str, Any]) -> None:
    for key in ("least_gain", "gain_in", "hop_s", "soundscapes"):
        assert concerned(stages, f"student.{key}") == {"pseudo@first", "pseudo@second"}
