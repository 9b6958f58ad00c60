"""Builds of a store that are killed at random moments, by SIGKILL: all processes at once, or DVC alone.

A build is killed one to four times, and then runs to its end. The store must be that of an undisturbed build to the
last byte, and nothing temporary may be left. When only DVC is killed, its stage and the stage's workers must end by
themselves: two builds would otherwise write side by side.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import numpy as np

from cache.store import Store
from tests.torture.outcome import Outcome
from tests.torture.projects import (
    contents,
    copy_project,
    finish,
    in_shared_memory,
    make_project,
    processes_of,
    start,
    strays,
)

NAME = "kills of a build"
STAGE = ("pipeline.spectrograms", "mel")
BEGUN = " to write, "  # what the stage says when it begins to decode
MOST_KILLS = 4  # of one build
WITH_WORKERS = 0.25  # share of builds that two worker processes decode for; in the others the stage does it itself
END_S = 10.0  # that what was started may outlive the one that started it


@dataclass
class Totals:
    """What happened so far."""

    killed: int = 0
    lost: int = 0
    differing: int = 0
    strays: int = 0
    survivors: int = 0
    builds: int = 0
    resumed: int = 0
    processes: set[int] = field(default_factory=set)
    worst: list[str] = field(default_factory=list)

    def note(self, what: str) -> None:
        """Remember a failure."""
        self.worst.append(what)


def trial(tried: int = 200, seed: int = 1) -> Outcome:
    """Kill builds `tried` times in all."""
    rng, totals = np.random.default_rng(seed), Totals()
    with tempfile.TemporaryDirectory() as name:
        project = make_project(Path(name) / "project")
        undisturbed = {
            workers: copy_project(project, Path(name) / f"undisturbed-{workers}", workers) for workers in (1, 2)
        }
        build_s = {workers: _timed_build(root) for workers, root in undisturbed.items()}
        expected, recordings = contents(undisturbed[1]), _recordings(undisturbed[1])
        while totals.killed < tried:
            workers = int(rng.choice([1, 2], p=[1 - WITH_WORKERS, WITH_WORKERS]))
            root = copy_project(project, Path(name) / f"killed-{totals.killed}", workers)
            for _ in range(min(int(rng.integers(1, MOST_KILLS + 1)), tried - totals.killed)):
                _kill_one(root, rng, build_s[workers], totals)
            _compare(root, expected, recordings, totals)
            shutil.rmtree(root)
    figure = (
        f"{totals.lost} recordings lost, {totals.differing} stores differ, {totals.strays} stray files, "
        f"{totals.survivors} processes survive; of {totals.builds} builds {totals.resumed} went on from finished parts"
    )
    return Outcome(NAME, tried, len(totals.worst), totals.worst[0] if totals.worst else "", figure)


def _timed_build(root: Path) -> float:
    """Build undisturbed; seconds from the first decoded file to the end."""
    running = start(root, *STAGE)
    _wait_for_begin(root, running)
    begin = time.monotonic()
    finish(running)
    return time.monotonic() - begin


def _kill_one(root: Path, rng: np.random.Generator, build_s: float, totals: Totals) -> None:
    """Run a build and kill it: mostly while it decodes and writes, at times while it starts."""
    running, whole_group = start(root, *STAGE), rng.random() < 0.5
    session = running.pid or 0
    if rng.random() < 0.9:
        _wait_for_begin(root, running)
    time.sleep(rng.uniform(0, build_s))
    totals.processes |= {*processes_of(session)}
    if not running.is_alive():
        return  # it was faster: no kill
    for process in (totals.processes & {*processes_of(session)}) if whole_group else [session]:
        _kill(process)
    running.join()
    totals.killed += 1
    _wait_for_the_end(session, totals)


def _wait_for_the_end(session: int, totals: Totals) -> None:
    """Wait until no process of a session is left; those that outlive it by too much are a failure."""
    deadline = time.monotonic() + END_S
    while (left := processes_of(session)) and time.monotonic() < deadline:
        time.sleep(0.02)
    if left:
        totals.survivors += len(left)
        totals.note(f"{len(left)} processes outlived DVC by {END_S:g} s")
        for process in left:
            _kill(process)


def _kill(process: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


def _wait_for_begin(root: Path, running: ForkServerProcess) -> None:
    log = root / "log"
    while running.is_alive() and not (log.is_file() and BEGUN in log.read_text()):
        time.sleep(0.002)


def _compare(root: Path, expected: dict[str, bytes], recordings: int, totals: Totals) -> None:
    """Let the build run to its end, and compare its stores with those of an undisturbed one."""
    totals.builds += 1
    totals.resumed += any((root / ".birdcache/pool").glob("*/*/rows.json"))
    running = start(root, *STAGE)
    running.join()
    if running.exitcode:
        totals.note(f"the next build failed: {(root / 'log').read_text().strip()[-300:]}")
        return
    lost, left = recordings - _recordings(root), strays(root) + in_shared_memory(totals.processes)
    totals.lost += lost
    totals.strays += len(left)
    if lost:
        totals.note(f"{lost} recordings are lost")
    if contents(root) != expected:
        totals.differing += 1
        totals.note("the store differs from that of an undisturbed build")
    if left:
        totals.note(f"left behind: {', '.join(left[:5])}")


def _recordings(root: Path) -> int:
    return len(Store(root / "data/cache/mel.zarr"))
