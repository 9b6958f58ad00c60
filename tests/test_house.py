"""Tests of the house itself: who imports whom, how long files are, and that dvc.yaml says what each stage reads."""

from __future__ import annotations

import ast
import re
import shutil
import statistics
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from birdcache.code import PACKAGES
from birdcache.errors import StoreError
from tests.conftest import STAGES, TinyProject
from tests.fixtures.stages import run_stage
from tests.fixtures.tiny import ROOT

BELOW = {  # birdcache <- cache <- {pipeline, train} <- commands
    "birdcache": {"birdcache"},
    "cache": {"birdcache", "cache"},
    "pipeline": {"birdcache", "cache", "pipeline"},
    "train": {"birdcache", "cache", "train"},
    "commands": {"birdcache", "cache", "pipeline", "train", "commands"},
}
KNOWN: dict[str, set[str]] = {}  # file: packages that it imports although they lie above it
AUDIO_LIBRARIES = {"soundfile", "soxr"}
LONGEST, MEDIAN = 320, 160  # lines of a file
PIPELINES = (ROOT / "dvc.yaml", ROOT / "optional/dvc.yaml")
DVC: dict[str, Any] = {}
for pipeline in PIPELINES:
    DVC |= YAML(typ="safe", pure=True).load(pipeline.read_text())["stages"]
FOUND_IN_THE_ROOT_ALONE = {".github", ".pre-commit-config.yaml", "CITATION.cff"}  # by GitHub and by pre-commit
OUTS = ("outs", "metrics", "plots")
FILES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


@cache
def imported_modules(path: Path) -> frozenset[str]:
    """Names of modules, and of what is taken out of them, also inside functions and for types alone."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


def imported_files(path: Path) -> set[Path]:
    names = [module.replace(".", "/") for module in imported_modules(path) if module.split(".")[0] in PACKAGES]
    paths = [ROOT / f"{name}.py" for name in names] + [ROOT / name / "__init__.py" for name in names]
    return {each for each in paths if each.is_file() and each.stat().st_size}


def roots(path: Path) -> set[str]:
    return {module.split(".")[0] for module in imported_modules(path)}


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_what_lies_below_them(package: str) -> None:
    above = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        if wrong := roots(path) & set(PACKAGES) - BELOW[package]:
            above[path.relative_to(ROOT).as_posix()] = wrong
    assert above == {file: wrong for file, wrong in KNOWN.items() if file.startswith(f"{package}/")}


def test_no_two_files_import_each_other_not_even_through_others() -> None:
    def reached(start: Path) -> set[Path]:
        pending, seen = [start], set[Path]()
        while pending:
            new = imported_files(pending.pop()) - seen
            seen |= new
            pending += new
        return seen

    assert not [path.relative_to(ROOT).as_posix() for path in FILES if path in reached(path)]


def test_pipeline_never_imports_torch_and_train_never_an_audio_library() -> None:
    assert not [path for path in FILES if path.is_relative_to(ROOT / "pipeline") and roots(path) & {"torch", "timm"}]
    assert not [path for path in FILES if path.is_relative_to(ROOT / "train") and roots(path) & AUDIO_LIBRARIES]


def test_only_the_tables_read_our_csv_files() -> None:
    for path in FILES:
        calls = re.findall(r"pd\.read_csv\(.*", path.read_text())
        assert path == ROOT / "cache/csv_files.py" or all('sep="\\t"' in call for call in calls), path


def test_only_params_parses_yaml_of_the_pipeline() -> None:
    for path in FILES:
        if path.relative_to(ROOT).parts[0] in ("cache", "pipeline", "train"):
            assert not roots(path) & {"yaml", "ruamel"}, path


def test_files_stay_short() -> None:
    lines = {path: path.read_text().count("\n") for path in FILES if path.stat().st_size}
    assert not {path: count for path, count in lines.items() if count > LONGEST}
    assert statistics.median(lines.values()) < MEDIAN
    for path in [each for package in PACKAGES for each in (ROOT / package).glob("*/templates/*")]:
        assert path.read_text().count("\n") <= LONGEST, path


def test_the_root_and_the_pipeline_stay_easy_to_survey() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    entries = {name.split("/")[0] for name in listed.split()}
    assert len(entries - FOUND_IN_THE_ROOT_ALONE) <= 24
    assert (ROOT / "dvc.yaml").read_text().count("\n") < 200


def test_commands_of_stages_hold_nothing_from_params_yaml() -> None:
    for name, stage in DVC.items():
        assert re.fullmatch(r"python -m [\w.]+", stage.get("do", stage)["cmd"]), name


def test_no_out_with_a_name_of_params_yaml_in_it_is_removed_by_dvc_before_its_stage_has_checked_the_name() -> None:
    entries = [entry for stage in DVC.values() for kind in OUTS for entry in stage.get("do", stage).get(kind, [])]
    named = [entry for entry in entries if "${" in (entry if isinstance(entry, str) else next(iter(entry)))]
    assert len(named) > 15
    assert not [entry for entry in named if isinstance(entry, str) or not next(iter(entry.values())).get("persist")]


def test_no_stage_depends_on_the_machine() -> None:
    for name, stage in DVC.items():
        assert not any(entry.startswith("machine") for entry in stage.get("do", stage).get("params", [])), name


# what dvc.yaml declares, and what the stages of the tiny project read


def stage_definition(stage: str) -> dict[str, Any]:
    entry = DVC[stage.partition("@")[0]]
    definition: dict[str, Any] = entry.get("do", entry)
    return definition


def resolved(entry: str, stage: str) -> str:
    """An entry of dvc.yaml with its templates filled in for one stage of the tiny project."""
    key = stage.partition("@")[2]
    member, _, fold = key.rpartition("-")
    values = {
        "key": key,
        "item.member": member,
        "item.fold": fold,
        "item.view": {"base": "mel", "pcen": "pcen"}.get(key, ""),
        "data.root": "chorus",
        "data.annotations": "annotations",
    }
    return re.sub(r"\$\{(.*?)\}", lambda match: values[match[1]], entry)


def paths(stage: str, *kinds: str) -> set[str]:
    """Paths of one stage's dependencies (deps), or of what it writes (outs, metrics, plots)."""
    entries = [entry for kind in kinds for entry in stage_definition(stage).get(kind, [])]
    return {resolved(entry if isinstance(entry, str) else next(iter(entry)), stage) for entry in entries}


def within(name: str, folders: set[str]) -> bool:
    return any(name == folder or name.startswith(f"{folder}/") for folder in folders)


# chorus: every audio file is compared with its SHA-256 in data/tables/audio.csv or soundscapes.csv;
# data/cache: the stores are compared with their digest in data/stores or data/members, or with predictions in models/
PINS = {
    "spectrograms": {"chorus"},
    "report": {"chorus", "data/cache"},
    **{key: {"data/cache"} for key in ("member", "train", "predict", "submit", "evaluate")},
}
ORDER = {"data/checked.txt", "data/sources", "data/teachers"}  # read by nobody: stages `check` and `source` run first
# read by a stage if params.yaml names a list of species, or members of some classes
IF_NAMED = {"submit": {"species"}, "evaluate": {"species"}, "member": {"data/tables/labels.csv"}}
ALWAYS = {"params.yaml", ".birdcache"}  # keys have a test of their own; the pool and checkpoints belong to the machine


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_opens_nothing_that_it_does_not_declare(stage: str, tiny_project: TinyProject) -> None:
    declared = paths(stage, "deps", "outs", "metrics", "plots") | ALWAYS | PINS.get(stage.partition("@")[0], set())
    files = {name for name in tiny_project.opened[stage] if not name.endswith("/")}
    files = {re.sub(r"/\.([^/]+)\.new/", r"/\1/", name) for name in files}  # before it takes its place
    assert not {name for name in files if not within(name, declared)}


@pytest.mark.parametrize("stage", ["member@base", "predict", "report"])
def test_a_stage_refuses_a_store_that_is_not_the_one_it_depends_on(
    stage: str, tiny_project: TinyProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny_project.root, tmp_path / "project", symlinks=True)
    monkeypatch.chdir(tmp_path / "project")
    for file in Path("data/stores").glob("mel*"):
        file.write_text("0" * 64 + "\n")
    module, arguments = STAGES[stage]
    with pytest.raises(
        StoreError, match=r"data/cache/mel\S*\.zarr: is not the store whose digest stands in data/stores"
    ):
        run_stage(module, *arguments)


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_opens_all_that_it_depends_on(stage: str, tiny_project: TinyProject) -> None:
    opened = {name.rstrip("/") for name in tiny_project.opened[stage]}
    deps = {dep for dep in paths(stage, "deps") if not dep.startswith("data/code/")}
    deps -= IF_NAMED.get(stage.partition("@")[0], set())
    deps = {dep for dep in deps if not within(dep, ORDER)}
    assert not {dep for dep in deps if not any(within(name, {dep}) for name in opened)}


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_declares_exactly_the_params_that_it_reads(stage: str, tiny_project: TinyProject) -> None:
    declared = {resolved(entry, stage) for entry in stage_definition(stage).get("params", [])}
    read = {key for key in tiny_project.reads[stage] if not key.startswith("machine.")}
    undeclared = {key for key in read if not any(key == entry or key.startswith(entry + ".") for entry in declared)}
    assert not undeclared
    unread = {entry for entry in declared if not any(key == entry or key.startswith(entry + ".") for key in read)}
    assert not unread
