"""Files that GitHub and pre-commit read: they can be read, and what they name exists here."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.docs.checked import _check_make, _check_module
from tests.fixtures.tiny import ROOT

GITHUB = sorted((ROOT / ".github").rglob("*.yml"))
HOOKS = ROOT / ".pre-commit-config.yaml"
WORKFLOWS = [path for path in GITHUB if path.parent.name == "workflows"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def read(path: Path) -> dict[str, Any]:
    found = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    assert isinstance(found, dict), path
    return found


def steps() -> Iterator[dict[str, Any]]:
    for path in WORKFLOWS:
        for job in read(path)["jobs"].values():
            yield from job["steps"]


def commands() -> list[list[str]]:
    """The words of each command that a workflow or a hook runs."""
    lines = [line for step in steps() for line in step.get("run", "").splitlines()]
    lines += [hook["entry"] for repo in read(HOOKS)["repos"] for hook in repo["hooks"]]
    return [shlex.split(line) for line in lines]


@pytest.mark.parametrize("path", [*GITHUB, HOOKS, ROOT / "CITATION.cff"], ids=lambda path: path.name)
def test_a_file_is_yaml_and_names_no_address(path: Path) -> None:
    assert read(path)
    assert not re.search(r"://|\b\w+\.(?:org|io|dev)\b", path.read_text(encoding="utf-8"))


def test_workflows_and_hooks_run_what_exists() -> None:
    found = commands()
    assert ["make", "lint"] in found
    assert ["make", "test"] in found
    for program, *rest in found:
        if program == "make":
            _check_make(rest, partly=False)
        elif rest[:1] == ["-m"] and rest[1] != "pip":
            _check_module(rest[1], rest[2:])
        for word in (program, *rest):
            script = re.search(r"\.ci/[\w.]+$", word)
            assert script is None or (ROOT / script[0]).is_file(), word
            tool = re.fullmatch(r"\.venv/bin/(\w+)", word)
            assert tool is None or tool[1] == "python" or f'"{tool[1]}>=' in (ROOT / "pyproject.toml").read_text(), word


def test_workflows_may_only_read_and_use_actions_of_github_itself() -> None:
    for path in WORKFLOWS:
        assert read(path)["permissions"] == {"contents": "read"}
    used = [step["uses"] for step in steps() if "uses" in step]
    assert len(used) > 4
    assert not [each for each in used if not re.fullmatch(r"actions/[a-z-]+@v\d+", each)]


def test_workflows_try_the_oldest_and_the_newest_python() -> None:
    (bounds,) = re.findall(r">=3\.(\d+),<3\.(\d+)", PROJECT["requires-python"])
    oldest, newest = f"3.{bounds[0]}", f"3.{int(bounds[1]) - 1}"
    job = read(ROOT / ".github/workflows/checks.yml")["jobs"]["linux"]
    assert job["strategy"]["matrix"]["python"] == [oldest, newest]


def test_hooks_use_the_tools_of_the_environment() -> None:
    (repo,) = read(HOOKS)["repos"]
    assert repo["repo"] == "local"
    for hook in repo["hooks"]:
        assert hook["language"] == "system"
        assert hook["entry"].startswith(".venv/bin/")


def test_the_citation_names_the_version_and_licence_of_the_project() -> None:
    citation = read(ROOT / "CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])


@pytest.mark.parametrize("name", ["bug.yml", "idea.yml"])
def test_forms_have_what_github_asks_for(name: str) -> None:
    form = read(ROOT / ".github/ISSUE_TEMPLATE" / name)
    assert {"name", "description", "body"} <= form.keys()
    names = [field["id"] for field in form["body"]]
    assert len(set(names)) == len(names)
    assert all(field["type"] == "textarea" and field["attributes"]["label"] for field in form["body"])


@pytest.mark.slow
def test_the_sample_for_other_systems_is_made_and_predicted(tmp_path: Path) -> None:
    for script in ("sample.py", "try_wheel.py"):
        done = subprocess.run(
            [sys.executable, str(ROOT / ".ci" / script), "sample"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("12 detections, largest difference 0\n")
    assert len(list((tmp_path / "sample").glob("birdcache-*.whl"))) == 1
