"""How processes that train together begin and end: all of them, with one error, and not without their starter."""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from ruamel.yaml import YAML

from birdcache.errors import TrainError
from birdcache.params.model import Params
from tests.conftest import TinyProject
from tests.fixtures import tiny
from tests.train.loop.joining import CPU, fail, two_processes
from train.loop.distributed import processes, run_together


@pytest.mark.parametrize(
    ("how", "said"),
    [
        pytest.param("everywhere", "error: the loss is nan", marks=pytest.mark.slow),
        pytest.param("in one", "error: the disk of process 1 is gone", marks=pytest.mark.slow),
        pytest.param("by a mistake", "ZeroDivisionError: of process 1", marks=pytest.mark.slow),
    ],
)
def test_a_failure_ends_all_processes_and_is_told_once(
    params: Params, capfd: pytest.CaptureFixture[str], how: str, said: str
) -> None:
    before = set(multiprocessing.active_children())  # workers that other tests left waiting
    with pytest.raises(SystemExit, match="1"):
        run_together(partial(fail, how), two_processes(params.machine), CPU)
    assert set(multiprocessing.active_children()) <= before
    told = capfd.readouterr().err
    assert told.count(said) == 1
    assert told.count("Traceback") == (how == "by a mistake")


@pytest.mark.slow
@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM"])
def test_a_killed_process_ends_the_other_and_is_named(params: Params, how: str) -> None:
    before = set(multiprocessing.active_children())  # workers that other tests left waiting
    with pytest.raises(TrainError, match=rf"process 1 of 2 was killed by {how}.*lower machine\.processes"):
        run_together(partial(fail, how), two_processes(params.machine), CPU)
    assert set(multiprocessing.active_children()) <= before


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_the_processes_end_with_the_one_that_started_them(tmp_path: Path, how: signal.Signals) -> None:
    command = [sys.executable, "-m", "tests.train.loop.joining", str(tmp_path)]
    with subprocess.Popen(command, cwd=tiny.ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as starter:
        try:
            wait_for(lambda: all((tmp_path / rank).is_file() and (tmp_path / rank).read_text() for rank in "01"))
            starter.send_signal(how)
            assert starter.wait(30) != 0
        finally:
            starter.kill()
    ids = [int((tmp_path / rank).read_text()) for rank in "01"]
    wait_for(lambda: not any(is_alive(each) for each in ids))


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_alive(number: int) -> bool:
    """Whether a process runs; one that has ended but that nobody has asked after yet does not."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("wanted", "kind", "gpus", "expected"), [(1, "cpu", 0, 1), (0, "cpu", 0, 1), (3, "cpu", 0, 3), (0, "cuda", 4, 4)]
)
def test_no_number_of_processes_means_one_per_gpu(
    params: Params, monkeypatch: pytest.MonkeyPatch, wanted: int, kind: str, gpus: int, expected: int
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    machine = params.machine.model_copy(update={"processes": wanted})
    assert processes(machine, torch.device(kind)) == expected


@pytest.fixture
def project(tiny_project: TinyProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the tiny project without its models."""
    ignored = shutil.ignore_patterns("models", "chorus", "train")
    shutil.copytree(tiny_project.root, tmp_path / "copy", ignore=ignored, symlinks=True)
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


def files_of(root: Path) -> set[str]:
    return {
        path.relative_to(root).as_posix()
        for folder in ("models", "reports/train/base-0")
        for path in (root / folder).rglob("*")
        if path.is_file()
    }


@pytest.mark.slow
@pytest.mark.parametrize("way", ["machine.processes", "torchrun"])
def test_a_stage_in_two_processes_writes_the_files_of_one(tiny_project: TinyProject, project: Path, way: str) -> None:
    if way == "machine.processes":
        raw = YAML(typ="safe", pure=True).load((project / "params.yaml").read_text())
        raw["machine"]["processes"] = 2
        tiny.write_params(project / "params.yaml", raw)
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"] if way == "torchrun" else []
    done = subprocess.run(
        [sys.executable, *start, "-m", "train.fit", "base-0"],
        env={**os.environ, "PYTHONPATH": str(tiny.ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    assert len(re.findall(r"^epoch   \d/3  loss ", done.stdout, flags=re.MULTILINE)) == 3, "only one process prints"
    expected = {name for name in files_of(tiny_project.root) if name.startswith(("models/base/0/", "reports/"))}
    assert files_of(project) == expected
    curve = pd.read_csv(project / "reports/train/base-0/plots/metrics/validation/loss.tsv", sep="\t")
    assert list(curve["step"]) == [0, 1, 2], "only one process writes"
    mine, other = (np.load(root / "models/base/0/predictions.npz") for root in (project, tiny_project.root))
    assert mine["recording"].tolist() == other["recording"].tolist()
    assert mine["scores"].shape == other["scores"].shape
    assert np.isfinite(mine["scores"]).all()
