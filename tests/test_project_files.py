"""Files that GitHub and pre-commit read: they can be read, and what they name exists here."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.docs.checked import _check_make, _check_module
from tests.fixtures.bundle import Exported
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


def pins(lock: str) -> set[str]:
    """Each name with version and marker of a lock as `uv pip compile` writes it."""
    return set(re.findall(r"^(\S+==.*\S) \\$", lock, flags=re.MULTILINE))


def test_uv_sync_wants_the_versions_of_the_lock() -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]["constraint-dependencies"]
    lock = (ROOT / "requirements.lock").read_text()
    assert len(wanted) == len(set(wanted)) == lock.count("==") - lock.count(" == ")
    assert set(wanted) == pins(lock), "pyproject.toml has not what requirements.lock says; run `make lock`"


@pytest.mark.slow
def test_uv_locks_the_versions_of_the_lock(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    command = [sys.executable, "-m", "uv", "lock", "--python", sys.executable]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    locked = tomllib.loads((tmp_path / "uv.lock").read_text())["package"]
    found = {f"{each['name']}=={each['version']}" for each in locked if each["name"] != PROJECT["name"]}
    assert found == {each.partition(" ;")[0] for each in pins((ROOT / "requirements.lock").read_text())}


def test_programs_that_commands_run_come_with_the_extra_of_a_checkout() -> None:
    """An environment of `uv sync` has no pip of its own, as one of `python -m venv` has."""
    code = "".join(path.read_text() for path in (ROOT / "commands").rglob("*.py"))
    run = set(re.findall(r'sys\.executable, "-m", "(\w+)"', code))
    assert {"dvc", "pip"} <= run
    named = {re.split(r"[\[>=]", each)[0] for each in PROJECT["optional-dependencies"]["project"]}
    assert run | {"setuptools"} <= named, "setuptools, by which `birdcache kaggle` has pip build a wheel"


DOCKERFILE = ROOT / ".ci/Dockerfile"
image = SimpleNamespace(**runpy.run_path(str(ROOT / ".ci/image.py")))


@pytest.mark.parametrize("target", ["predict", "project"])
def test_the_dockerfile_copies_what_exists_and_ends_as_another_user(target: str) -> None:
    found = image.instructions(target)
    assert {word for word, _ in found} <= image.KNOWN
    copied = [source for word, rest in found if word == "COPY" for source in image.sources(rest)]
    assert len(copied) > 3
    assert not [source for source in copied if not (ROOT / source).exists()]
    assert [rest for word, rest in found if word == "USER"] == ["birdcache"]
    assert not re.search(r"://|\b\w+\.(?:org|io|dev)\b", DOCKERFILE.read_text())


def test_the_image_has_nothing_that_git_ignores_but_what_is_listed() -> None:
    ignored = {line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines() if not line.startswith("!")}
    listed = set(DOCKERFILE.with_name("Dockerfile.dockerignore").read_text().splitlines())
    small = {
        "*.egg-info",
        "__pycache__",
        ".mypy_cache",
        ".pytest_cache",
        ".ruff_cache",
        "params.yaml.bak",
        "uv.lock",
        "tmp",
    }
    assert ignored - listed <= small | {"dvc_plots", "teachers/*"}
    assert {".venv", "data"} <= listed
    assert "--exclude=./.venv" in image.ignored()


def test_the_packages_of_a_change_of_code_are_not_installed_again() -> None:
    for target in ("predict", "project"):
        words = [f"{word} {rest}" for word, rest in image.instructions(target)]
        installs = next(place for place, each in enumerate(words) if "pip install" in each or "make setup" in each)
        code = next(
            place
            for place, each in enumerate(words)
            if each.startswith("COPY") and each.endswith((" . .", " birdcache birdcache"))
        )
        assert installs < code


def test_without_cuda_all_but_its_packages_and_torch_are_taken_from_the_lock(tmp_path: Path) -> None:
    command = ["make", "--dry-run", "--always-make", ".venv/ready", "TORCH_INDEX=URL"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    (filtering,) = re.findall(r"awk .* requirements\.lock >\.venv/packages\.txt", printed)
    out = tmp_path / "packages.txt"
    subprocess.run(["bash", "-c", filtering.replace(".venv/packages.txt", str(out))], cwd=ROOT, check=True)
    lock = (ROOT / "requirements.lock").read_text()
    names, kept = (set(re.findall(r"^([\w.-]+)==", text, flags=re.MULTILINE)) for text in (lock, out.read_text()))
    cuda = {name for name in names if re.match(r"nvidia|cuda|triton", name)}
    assert len(cuda) > 10
    assert names - kept == cuda | {"torch", "torchvision"}
    blocks = [block for block in re.split(r"\n(?=\S)", lock) if block.partition("==")[0] in kept]
    assert out.read_text().splitlines() == "\n".join(blocks).splitlines()
    versions = re.findall(r"^(torch(?:vision)?==\S+)", lock, flags=re.MULTILINE)
    (choosing,) = re.findall(r"\$\((awk '/\^torch.*? requirements\.lock)\)", printed)
    chosen = subprocess.run(["bash", "-c", choosing], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert chosen.split() == versions
    assert len(versions) == 2


@pytest.mark.slow
def test_the_steps_of_the_image_that_predicts_run(tmp_path: Path) -> None:
    tried = ["unshare", "--mount", "true"]
    if os.geteuid() or not shutil.which("unshare") or subprocess.run(tried, check=False).returncode:
        pytest.skip("only root may see the disk changed")
    command = [sys.executable, str(ROOT / ".ci/image.py"), "predict"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if "wrong fs type" in done.stderr:
        pytest.skip("no overlay over this disk")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert done.stdout.endswith(f"birdcache {PROJECT['version']}\n")


@pytest.mark.slow
def test_the_sample_for_other_systems_is_made_and_predicted(exported: Exported, tmp_path: Path) -> None:
    runpy.run_path(str(ROOT / ".ci/sample.py"))["fill"](tmp_path / "sample", exported.root)
    command = [sys.executable, str(ROOT / ".ci/try_wheel.py"), "sample"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("12 detections, largest difference 0\n")
    assert len(list((tmp_path / "sample").glob("birdcache-*.whl"))) == 1
