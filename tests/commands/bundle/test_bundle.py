"""Opening a bundle, and running it where torch is not installed."""

from __future__ import annotations

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from commands.bundle.format import DESCRIPTION, MODEL, SUMS, is_bundle
from commands.bundle.read import open_bundle
from commands.errors import CommandError
from commands.export.describe import RUNTIME, write_sums
from tests.commands.conftest import Exported
from tests.tiny import ROOT

# a Python in which only what the extra `runtime` names can be imported, and what these need themselves
ONLY = """
import sys
ALLOWED = set({allowed!r})
class Nothing:
    def find_spec(self, name, path=None, target=None):
        root = name.partition(".")[0]
        if "site-packages" in str(path or "") or root in ALLOWED or root in sys.stdlib_module_names:
            return None
        raise ModuleNotFoundError(f"No module named {{name!r}}", name=root)
sys.meta_path.insert(0, Nothing())
import cli
cli.main(sys.argv[1:])
assert not {{"torch", "timm", "zarr", "dvc", "pandas", "sklearn"}} & sys.modules.keys()
"""
OURS = {
    "cli",
    "errors",
    "lifeline",
    "progress",
    "params",
    "figures",
    "cache",
    "commands",
    "pipeline",
    "schema",
    "train",
}


@pytest.fixture
def bundle(exported: Exported, tmp_path: Path) -> Path:
    """A copy of the bundle."""
    return shutil.copytree(exported.bundle, tmp_path / "x.bundle")


def modules_of_runtime() -> set[str]:
    """What can be imported once the extra `runtime` is installed: its packages and all they need."""
    top = {name for name, places in importlib.metadata.packages_distributions().items() for _ in places}
    packages = importlib.metadata.packages_distributions()
    pending, seen = [re.split(r"[<>=]", each)[0] for each in RUNTIME], set[str]()
    while pending:
        name = pending.pop().lower().replace("_", "-")
        if name in seen:
            continue
        seen.add(name)
        for each in importlib.metadata.requires(name) or []:
            if "extra ==" not in each:
                pending.append(re.split(r"[ <>=!~;\[(]", each)[0])
    return {module for module in top if {each.lower().replace("_", "-") for each in packages[module]} & seen}


def test_a_bundle_runs_where_nothing_but_the_runtime_is_installed(exported: Exported, tmp_path: Path) -> None:
    allowed = sorted(OURS | modules_of_runtime())
    assert "torch" not in allowed
    arguments = ["predict", "chorus/test_soundscapes", "--model", str(exported.bundle), "--out", str(tmp_path)]
    command = [sys.executable, "-c", ONLY.format(allowed=allowed), *arguments, "--format", "csv,raven,audacity,kaggle"]
    done = subprocess.run(
        command,
        cwd=exported.root,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "submission.csv").read_text().count("\n") == 5


def test_trained_models_say_what_they_miss_where_there_is_no_torch(exported: Exported, tmp_path: Path) -> None:
    allowed = sorted(OURS | modules_of_runtime())
    arguments = ["predict", "chorus/test_soundscapes", "--model", "models", "--out", str(tmp_path)]
    command = [sys.executable, "-c", ONLY.format(allowed=allowed), *arguments]
    done = subprocess.run(
        command, cwd=exported.root, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert re.search(r"models: is no bundle, and trained models need \w+, which is not installed", done.stderr)


def test_requirements_are_those_of_the_extra(exported: Exported) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["optional-dependencies"]["runtime"] == list(RUNTIME)
    assert (exported.bundle / "requirements.txt").read_text().split() == list(RUNTIME)


@pytest.mark.parametrize("name", [MODEL, DESCRIPTION, "labels.csv"])
def test_a_bundle_with_a_changed_byte_is_refused(bundle: Path, name: str) -> None:
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    with pytest.raises(CommandError, match=rf"{name}: has other bytes than SHA256SUMS promises"):
        open_bundle(bundle)


def test_a_bundle_without_one_of_its_files_is_refused(bundle: Path) -> None:
    (bundle / "labels.csv").unlink()
    with pytest.raises(CommandError, match=r"labels.csv: is missing; copy the bundle anew"):
        open_bundle(bundle)
    (bundle / SUMS).unlink()
    with pytest.raises(CommandError, match=r"SHA256SUMS: cannot be read"):
        open_bundle(bundle)


def test_sums_must_name_the_graph(bundle: Path) -> None:
    lines = (bundle / SUMS).read_text().splitlines(keepends=True)
    (bundle / SUMS).write_text("".join(line for line in lines if MODEL not in line))
    with pytest.raises(CommandError, match=r"names no model.onnx"):
        open_bundle(bundle)


def test_a_bundle_of_another_version_is_refused(bundle: Path) -> None:
    content = json.loads((bundle / DESCRIPTION).read_text())
    (bundle / DESCRIPTION).write_text(json.dumps(content | {"version": 2}))
    write_sums(bundle)
    with pytest.raises(CommandError, match=r"it is of another version: export it again"):
        open_bundle(bundle)


def test_a_gpu_that_cannot_be_used_is_not_replaced_in_silence(bundle: Path) -> None:
    with pytest.raises(CommandError, match=r"--device cuda: this ONNX Runtime cannot use a GPU"):
        open_bundle(bundle, "cuda")
    assert open_bundle(bundle, "auto").device == "cpu"


def test_a_folder_of_models_is_no_bundle(exported: Exported) -> None:
    assert is_bundle(exported.bundle)
    assert not is_bundle(exported.root / "models")
