"""A tiny project whose training is a stage to kill: with dropout, a running mean of weights, a soup."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.fixtures.tiny import ROOT, tiny_params, write_data, write_params

STAGES = (("pipeline.recordings",), ("pipeline.spectrograms", "mel"), ("pipeline.folds",), ("train.members", "base"))
TRAINING = ("train.fit", "base-0")
CHECKPOINTS = Path(".birdcache/checkpoints/models/base/0")
LEFT = ("models/base/0", "reports/train/base-0/plots/metrics/train", "reports/train/base-0/plots/metrics/validation")
RECIPE: dict[str, Any] = {"epochs": 4, "weights": "soup", "soup_epochs": 2, "batch_size": 2}


def make_project(root: Path) -> Path:
    """A project that is ready to train member `base` on fold 0, with a checkpoint after every step."""
    root.mkdir(parents=True)
    write_data(root / "chorus")
    params = tiny_params("chorus")
    params["machine"] |= {"save_every_s": 0.0, "keep_checkpoints": 3}
    params["members"]["base"] |= {"dropout": 0.3, "drop_path": 0.2}
    params["train"]["demo"] |= RECIPE
    params["train"]["demo"]["optimiser"] |= {"ema_decay": 0.9}
    write_params(root / "params.yaml", params)
    for stage in STAGES:
        finish(start(root, *stage))
    return root


def copy_project(project: Path, to: Path) -> Path:
    """A copy without what a training leaves."""
    ignored = shutil.ignore_patterns("chorus", "models", "train", "trainings", "checkpoints", "log")
    shutil.copytree(project, to, ignore=ignored, symlinks=True)
    return to


def start(root: Path, module: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a stage in a session of its own; what it says goes to root/log."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    for name in ("BIRDCACHE_POOL", "BIRDCACHE_CHECKPOINTS"):
        environment.pop(name, None)
    command = [sys.executable, "-m", module, *arguments]
    with (root / "log").open("w") as log:
        return subprocess.Popen(
            command, cwd=root, env=environment, stdout=log, stderr=log, text=True, start_new_session=True
        )


def finish(running: subprocess.Popen[str]) -> None:
    """Wait for the end of a stage that must succeed."""
    if running.wait():
        raise RuntimeError(f"{running.args!r} ended with status {running.returncode}; see the folder's log")


def kill_after(root: Path, running: subprocess.Popen[str], checkpoint: int, delay_s: float) -> bool:
    """Kill a training some time after it has written a checkpoint; whether it was still at work."""
    while newest(root) < checkpoint and running.poll() is None:
        time.sleep(0.002)
    time.sleep(delay_s)
    was_running = running.poll() is None
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    return was_running


def newest(root: Path) -> int:
    """The number of the newest checkpoint, 0 if there is none."""
    found = (int(path.name) for path in (root / CHECKPOINTS).glob("*/[0-9]*") if path.name.isdigit())
    return max(found, default=0)


def left_by(root: Path) -> dict[str, bytes]:
    """What a training leaves, but for what the clock said and for the picture."""
    files = (path for folder in LEFT for path in (root / folder).rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}
