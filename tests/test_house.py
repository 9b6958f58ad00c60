"""Tests of the house itself: who imports whom, and that dvc.yaml says what each stage reads."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.conftest import STAGES, TinyProject
from tests.fixtures.tiny import ROOT

PACKAGES = ("cache", "pipeline", "train", "commands")
SCHEMA = {"params", "schema"}
ALLOWED = {
    "params": {"schema", "errors"},
    "schema": {"schema", "params"},
    "cache": {"cache", *SCHEMA, "errors"},
    "pipeline": {"pipeline", "cache", *SCHEMA, "errors", "lifeline", "progress", "figures"},
    "train": {"train", "cache", *SCHEMA, "errors", "lifeline", "progress", "figures"},
    "progress": set(),
    "figures": set(),
    "errors": {"lifeline"},
    "lifeline": set(),
}
AUDIO_LIBRARIES = {"soundfile", "soxr", "librosa"}
NOT_NUMBERS = {*SCHEMA, "errors", "lifeline", "progress", "figures"}  # a change in them changes no result
PIPELINES = [ROOT / "dvc.yaml", *sorted(ROOT.glob("*/dvc.yaml"))]
DVC: dict[str, Any] = {}
for pipeline in PIPELINES:
    DVC |= YAML(typ="safe", pure=True).load(pipeline.read_text())["stages"]


def modules_of(package: str) -> list[Path]:
    folder = ROOT / package
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [ROOT / f"{package}.py"]


def imported_modules(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def module_file(module: str) -> Path | None:
    path = ROOT / (module.replace(".", "/") + ".py")
    package = ROOT / module.replace(".", "/") / "__main__.py"
    return path if path.is_file() else package if package.is_file() else None


@pytest.mark.parametrize("package", ALLOWED)
def test_packages_import_only_what_lies_below_them(package: str) -> None:
    ours = set(ALLOWED) | set(PACKAGES) | {"cli"}
    for path in modules_of(package):
        roots = {module.split(".")[0] for module in imported_modules(path)}
        assert roots & ours <= ALLOWED[package], path


def test_pipeline_never_imports_torch_and_train_never_an_audio_library() -> None:
    for path in modules_of("pipeline"):
        assert not {module.split(".")[0] for module in imported_modules(path)} & {"torch", "timm"}, path
    for path in modules_of("train"):
        assert not {module.split(".")[0] for module in imported_modules(path)} & AUDIO_LIBRARIES, path


def test_tables_of_ours_are_read_as_they_were_written() -> None:
    for package in ("cache", "pipeline", "train", "commands"):
        for path in modules_of(package):
            raw = re.findall(r"pd\.read_csv\(.*", path.read_text())
            assert path == ROOT / "cache/csv_files.py" or all('sep="\\t"' in call for call in raw), path


def test_only_params_parses_yaml_of_the_pipeline() -> None:
    for package in ("cache", "pipeline", "train"):
        for path in modules_of(package):
            assert not any(module.split(".")[0] in ("yaml", "ruamel") for module in imported_modules(path)), path


def imported_files(entry: str) -> set[str]:
    """Files of the project that a module imports, directly or through others."""
    pending, seen = [entry], set[Path]()
    while pending:
        path = module_file(pending.pop())
        if path is None or path in seen or path.relative_to(ROOT).parts[0].removesuffix(".py") in NOT_NUMBERS:
            continue
        seen.add(path)
        pending += [module for module in imported_modules(path) if module.split(".")[0] in PACKAGES]
    return {path.relative_to(ROOT).as_posix() for path in seen if path.stem != "errors"}


def stage_definition(stage: str) -> dict[str, Any]:
    name = stage.partition("@")[0]
    definition: dict[str, Any] = DVC[name].get("do", DVC[name])
    return definition


@pytest.mark.parametrize("name", DVC)
def test_each_stage_depends_on_every_file_of_code_that_can_change_its_result(name: str) -> None:
    definition = stage_definition(name)
    module = re.match(r"python -m (\S+)", definition["cmd"])
    assert module is not None
    declared = {dep for dep in definition["deps"] if dep.endswith((".py", "/templates"))}
    code = imported_files(module[1])
    folders = {Path(file).with_name("templates") for file in code}
    assert declared == code | {folder.as_posix() for folder in folders if (ROOT / folder).is_dir()}


def resolved(entry: str, stage: str) -> str:
    """A params entry of dvc.yaml with its templates filled in for one stage of the tiny project."""
    key = stage.partition("@")[2]
    filled = entry.replace("${key}", key)
    return filled.replace("${item.view}", {"base": "mel", "pcen": "pcen"}.get(key, ""))


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_declares_exactly_the_params_that_it_reads(stage: str, tiny_project: TinyProject) -> None:
    declared = {resolved(entry, stage) for entry in stage_definition(stage).get("params", [])}
    read = {key for key in tiny_project.reads[stage] if not key.startswith("machine.")}
    undeclared = {key for key in read if not any(key == entry or key.startswith(entry + ".") for entry in declared)}
    assert not undeclared
    unread = {entry for entry in declared if not any(key == entry or key.startswith(entry + ".") for key in read)}
    assert not unread


def test_commands_of_stages_name_identity_only() -> None:
    for name, stage in DVC.items():
        command = stage.get("do", stage)["cmd"]
        assert re.fullmatch(r"python -m [\w.]+( \$\{key\})?", command), name


def test_no_stage_depends_on_the_machine() -> None:
    for name, stage in DVC.items():
        assert not any(entry.startswith("machine") for entry in stage.get("do", stage).get("params", [])), name


def test_files_stay_short() -> None:
    for package in (*ALLOWED, "commands", "cli"):
        for path in modules_of(package):
            assert path.read_text().count("\n") <= 300, path
    for path in (ROOT / "commands").glob("*/templates/*"):
        assert path.read_text().count("\n") <= 300, path
