"""The wheel owns one name: beside packages that are called like parts of the project once were, all work."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.fixtures.bundle import Exported
from tests.fixtures.tiny import ROOT

TYPED = """
import birdcache

def longest(path: str, label: str) -> float:
    found = birdcache.load(path).predict("x.ogg", threshold=0.5)
    return max((each.end_s - each.start_s for each in found.detections if each.label == label), default=0.0)
"""
OTHERS = "import schema, progress.bar; schema.Schema(int).validate(3); progress.bar.Bar('x', max=2)"
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "birdcache", "cache", "commands", "pipeline", "train")


def run(*command: str | Path, ok: bool = True, folder: Path | None = None) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [*map(str, command)],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) is ok, done.stdout
    return done.stdout


def build_wheel(folder: Path) -> Path:
    """Build it from a copy: setuptools leaves files behind."""
    source = folder / "source"
    source.mkdir()
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.mark.slow
def test_wheel_works_beside_packages_of_other_names_and_leaves_them_whole(exported: Exported, tmp_path: Path) -> None:
    wheel = build_wheel(tmp_path)
    with zipfile.ZipFile(wheel) as file:
        names = file.namelist()
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"birdcache"}
    assert "birdcache/py.typed" in names
    assert {f"birdcache/page/site/{name}" for name in ("index.html", "worker.js", "page.css")} <= set(names)

    clean = tmp_path / "clean"
    python, command = clean / "bin/python", clean / "bin/birdcache"
    uv = (sys.executable, "-m", "uv")
    run(*uv, "venv", "--quiet", "--python", sys.executable, clean)
    run(*uv, "pip", "install", "--quiet", "--python", python, "schema", "progress", wheel)
    run(python, "-c", OTHERS, folder=tmp_path)
    dawn = exported.root / "chorus/test_soundscapes/dawn.ogg"
    run(command, "predict", dawn, "--model", exported.bundle, "--threshold", "0", folder=tmp_path)
    assert (tmp_path / "detections/detections.csv").read_text().count("\n") > 4
    typed, mypy = tmp_path / "typed.py", (sys.executable, "-m", "mypy", "--strict", "--python-executable", python)
    typed.write_text(TYPED)
    assert "Success" in run(*mypy, typed.name, folder=tmp_path)
    typed.write_text(TYPED.replace("each.label ==", "each.file + 1 ==") + "birdcache.load(1)\n")
    wrong = run(*mypy, typed.name, ok=False, folder=tmp_path)
    assert re.findall(r"\[(\S+)\]$", wrong, re.MULTILINE) == ["operator", "arg-type"], wrong
    assert "works inside a checkout" in run(command, "plan", ok=False, folder=tmp_path)
    missing = run(command, "page", exported.bundle, "--runtime", "none.tgz", ok=False, folder=tmp_path)
    assert "npm pack onnxruntime-web" in missing

    run(*uv, "pip", "uninstall", "--quiet", "--python", python, "birdcache")
    run(python, "-c", OTHERS, folder=tmp_path)
    assert not list(clean.glob("lib/*/site-packages/birdcache*"))
