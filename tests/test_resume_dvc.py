"""`dvc repro` that was interrupted in a training goes on in the middle of it, although DVC removes outputs first."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from tests.fixtures import tiny
from tests.test_dvc import copy_of_the_code, dvc

pytestmark = pytest.mark.slow

EPOCHS = 12
CHECKPOINTS = Path(".birdcache/checkpoints/models/base/0")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose training is the next stage; it saves after each step."""
    root = tmp_path / "project"
    root.mkdir()
    copy_of_the_code(root)
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost"]
    for arguments in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "start"]):
        subprocess.run([*git, *arguments], cwd=root, check=True)
    tiny.write_data(root / "chorus")
    raw = tiny.tiny_params("chorus")
    raw["views"], raw["members"] = {"mel": raw["views"]["mel"]}, {"base": raw["members"]["base"]}
    raw["folds"]["train"] = [0]
    raw["train"]["demo"]["epochs"] = EPOCHS
    raw["machine"]["save_every_s"] = 0.0
    tiny.write_params(root / "params.yaml", raw)
    dvc(root, "repro", "member@base", "folds")
    return root


def stopped_repro(root: Path, number: signal.Signals) -> str:
    """Run `dvc repro` and send a signal to the training in it after some steps; what was said."""
    environment = {**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for name in ("BIRDCACHE_POOL", "BIRDCACHE_CHECKPOINTS"):
        environment.pop(name, None)
    begun = max(checkpoints(root), default=0)
    with subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro", "train@base-0"],
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as running:
        deadline = time.monotonic() + 300
        while max(checkpoints(root), default=0) < begun + 4:
            assert running.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        (lock,) = (root / CHECKPOINTS).glob("*/lock")
        os.kill(int(lock.read_text()), number)
        said = running.communicate(timeout=300)[0]
    assert running.returncode != 0
    return said


def checkpoints(root: Path) -> list[int]:
    return [int(path.name) for path in (root / CHECKPOINTS).glob("*/[0-9]*")]


def test_repro_goes_on_with_a_training_that_was_stopped_or_killed(project: Path) -> None:
    said = stopped_repro(project, signal.SIGTERM)
    assert "error: base-0: stopped by SIGTERM in epoch" in said
    assert f"saved in {CHECKPOINTS}" in said
    assert "Traceback" not in said
    stopped_repro(project, signal.SIGKILL)
    told = dvc(project, "repro", "train@base-0")
    (first,) = re.findall(rf"base-0: resumes in epoch (\d+) of {EPOCHS}, after step", told)
    assert int(first) > 1
    assert [int(each) for each in re.findall(r"^epoch +(\d+)/", told, flags=re.MULTILINE)] == list(
        range(int(first), EPOCHS + 1)
    )
    curve = pd.read_csv(project / "reports/train/base-0/plots/metrics/validation/loss.tsv", sep="\t")
    assert list(curve["step"]) == list(range(EPOCHS)), "the epochs before the interruption are logged as well"
    assert not (project / CHECKPOINTS).exists()
    assert "up to date" in dvc(project, "repro", "train@base-0")
