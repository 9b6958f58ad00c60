"""A finished small project as a user would have it, which the tests of all pages share."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import TinyProject
from tests.fixtures import tiny

SLOW = os.environ.get("BIRDCACHE_DOCS") == "slow"
LONGEST_S = 3000 if SLOW else 120


@pytest.fixture(scope="session")
def documented(tiny_project: TinyProject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone with tiny data in which `dvc repro` has nothing to do, and data beside it as a user would bring it.

    Tests must not change what DVC watches; copy it first.
    """
    root = tmp_path_factory.mktemp("documented") / "birdcache"
    copy_of_the_tree(root)
    run(root, "git init -q && git add params.yaml && git commit -q -m shipped")  # `birdcache init` starts from it
    shutil.copytree(tiny_project.root, root, dirs_exist_ok=True)
    bring_data(root)
    raw = tiny.tiny_params("chorus")
    raw["train"] |= {"baseline": raw["train"]["demo"], "regularised": {"base": "baseline"}}  # names that pages use
    raw["student"]["soundscapes"] = "all"  # the only one has a truth
    for each in raw["student"]["rounds"].values():
        each |= {"threshold": 0.0, "override": {"epochs": 3}}
    tiny.write_params(root / "params.yaml", raw)
    run(root, "git add --all && git commit -q -m start && python -m birdcache.code && dvc commit -q -f dvc.yaml")
    run(root, "git add --all && git commit -q -m finished")
    return root


def copy_of_the_tree(root: Path) -> None:
    """The files that git tracks or would track, as they are now."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(listing, cwd=tiny.ROOT, capture_output=True, check=True, text=True).stdout
    for name in listed.rstrip("\0").split("\0"):
        if (tiny.ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(tiny.ROOT / name, root / name)


def bring_data(root: Path) -> None:
    """What the pages take for granted: the demo, a download of BirdCLEF, a folder for each class."""
    chorus = root / "chorus"
    shutil.copytree(chorus, root / "data/demo/dawn")
    shutil.copytree(chorus / "train_audio", root / "data/my-birds")
    with zipfile.ZipFile(root / "birdclef-2025.zip", "w") as archive:
        for file in sorted(chorus.rglob("*.*")):
            archive.write(file, file.relative_to(chorus))


def run(root: Path, commands: str) -> str:
    """Run commands as a user in the project would: `birdcache`, `dvc` and `python` are those of this environment.

    What `birdcache init` writes is made small afterwards, since it asks for a real training.
    """
    tools = root.parent / "bin"
    tools.mkdir(exist_ok=True)
    small = f'if [ "$1" = init ]; then "{sys.executable}" -m tests.docs.small; fi'
    for name, module, after in (("birdcache", "-m birdcache.cli", small), ("dvc", "-m dvc", ""), ("python", "", "")):
        (tools / name).write_text(f'#!/bin/sh\n"{sys.executable}" {module} "$@" || exit\n{after}\n')
        (tools / name).chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BIRDCACHE_")}
    environment |= {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    for who in ("AUTHOR", "COMMITTER"):
        environment |= {f"GIT_{who}_NAME": "test", f"GIT_{who}_EMAIL": "test@localhost"}
    done = subprocess.run(
        ["timeout", str(LONGEST_S), "bash", "-euo", "pipefail", "-c", commands],  # ends all that they have started
        cwd=root,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{commands}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout
