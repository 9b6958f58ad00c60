"""Trainings that are killed by SIGKILL and run again: they must end as if nobody had killed them.

Each is killed once or twice, some time after a checkpoint that is drawn: often in the middle of an epoch, often while a
checkpoint is written. Weights, predictions, sidecar and every logged metric are compared, byte by byte.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests.torture.outcome import Outcome
from tests.torture.trainings import (
    CHECKPOINTS,
    TRAINING,
    copy_project,
    finish,
    kill_after,
    left_by,
    make_project,
    newest,
    start,
)

NAME = "killed trainings"
LONGEST_DELAY = 2.0  # after a checkpoint, in the time from one to the next


@dataclass
class Totals:
    """What happened so far."""

    killed: int = 0
    resumed: int = 0
    while_saving: int = 0
    worst: list[str] = field(default_factory=list)


def trial(tried: int = 10, seed: int = 1, project: Path | None = None) -> Outcome:
    """Kill so many trainings, each at a point of its own, and let them go on."""
    rng, totals = np.random.default_rng(seed), Totals()
    with tempfile.TemporaryDirectory() as name:
        project = project or make_project(Path(name) / "project")
        undisturbed = copy_project(project, Path(name) / "undisturbed")
        checkpoints, apart_s = _counted(undisturbed)
        expected = left_by(undisturbed)
        for number in range(tried):
            root = copy_project(project, Path(name) / f"killed-{number}")
            point = 1 + (number * (checkpoints - 1) + int(rng.integers(checkpoints - 1))) // tried
            for again in range(1 + number % 2):
                _kill(root, point + again, apart_s * float(rng.uniform(0, LONGEST_DELAY)), totals)
            _compare(root, expected, number, totals)
            shutil.rmtree(root)
    figure = (
        f"killed {totals.killed} times, {totals.while_saving} of them while saving; {totals.resumed} went on from a "
        f"checkpoint; {tried - len(totals.worst)} of {tried} left the {len(expected)} files of an undisturbed training"
    )
    return Outcome(NAME, tried, len(totals.worst), totals.worst[0] if totals.worst else "", figure)


def _counted(root: Path) -> tuple[int, float]:
    """Train undisturbed; how many checkpoints that wrote, and the seconds from one to the next."""
    running, times = start(root, *TRAINING), dict[int, float]()
    while running.poll() is None:
        times.setdefault(newest(root), time.monotonic())
        time.sleep(0.002)
    finish(running)
    return max(times), (times[max(times)] - times[1]) / (max(times) - 1)


def _kill(root: Path, point: int, delay_s: float, totals: Totals) -> None:
    if not kill_after(root, start(root, *TRAINING), point, delay_s):
        return
    totals.killed += 1
    totals.while_saving += any((root / CHECKPOINTS).glob("*/tmp-*"))


def _compare(root: Path, expected: dict[str, bytes], number: int, totals: Totals) -> None:
    """Let the training run to its end, without what DVC would have removed, and compare."""
    for folder in ("models", "reports/train", ".birdcache/trainings"):
        shutil.rmtree(root / folder, ignore_errors=True)
    running = start(root, *TRAINING)
    status, log = running.wait(), (root / "log").read_text()
    totals.resumed += ": resumes " in log
    found = left_by(root)
    if status:
        totals.worst.append(f"training {number} failed: {log.strip()[-300:]}")
    elif differing := sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name)):
        totals.worst.append(f"training {number} left another {', '.join(differing)}")
    elif (root / CHECKPOINTS).exists():
        totals.worst.append(f"training {number} left its checkpoints behind")
