"""Tasks run on loky and on Dask alike, and a cluster that fails says so instead of waiting for ever."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from birdcache.audio.decoder import decoder
from birdcache.audio.read import read_info
from birdcache.errors import PipelineError
from birdcache.params import load as parameters
from birdcache.params.sections import MachineParams
from pipeline.builder import parallel
from pipeline.builder.parallel import Task, run_unordered, sweep_after
from tests.fixtures.tiny import ROOT

MakeMachine = Callable[..., MachineParams]
DIVISIONS: list[Task] = [(divmod, (number, 7)) for number in range(20)]
QUOTIENTS = sorted(divmod(number, 7) for number in range(20))


def machine(**changes: object) -> MachineParams:
    return parameters.load(ROOT / "params.yaml").machine.model_copy(update={"workers": 1} | changes)


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Address of a scheduler with two workers that gives a task up when its worker dies once."""
    dask = pytest.importorskip("dask")
    distributed = pytest.importorskip("distributed")
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=parallel.ANY_PORT) as local,
    ):
        yield local.scheduler_address


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_loky_gives_every_result_for_one_and_two_workers() -> None:
    assert sorted(run_unordered(DIVISIONS, machine(workers=1))) == QUOTIENTS
    assert sorted(run_unordered(DIVISIONS, machine(workers=2))) == QUOTIENTS


def test_tasks_for_decoders_take_no_process_around_them_and_keep_their_decoders() -> None:
    assert sorted(run_unordered(DIVISIONS, machine(workers=2), decoding=True)) == QUOTIENTS
    assert set(run_unordered([(os.getpid, ())], machine(workers=2), decoding=True)) == {os.getpid()}
    first, second = (list(run_unordered([(decoder, ())], machine(), decoding=True)) for _ in range(2))
    assert first == second


def test_tasks_for_decoders_that_nobody_waits_for_are_not_begun() -> None:
    begun: list[int] = []

    def task(number: int) -> None:
        time.sleep(0.05)
        begun.append(number)

    next(run_unordered([(task, (number,)) for number in range(99)], machine(), decoding=True))
    list(run_unordered([(task, (99,))], machine(), decoding=True))
    assert begun[-1] == 99
    assert len(begun) < 9


def test_worker_ends_with_its_stage(tmp_path: Path) -> None:
    script = (
        "import pathlib; from birdcache.params import load as params\n"
        "from pipeline.builder.parallel import run_unordered\n"
        f"machine = params.load(pathlib.Path({str(ROOT / 'params.yaml')!r})).machine\n"
        "task = \"import os, time; open('{}', 'w').write(str(os.getpid())); time.sleep(60)\"\n"
        "tasks = [(exec, (task.format(number),)) for number in (0, 1)]\n"
        "list(run_unordered(tasks, machine.model_copy(update={'workers': 2})))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, env=environment) as stage:
        pids = [waited_for(tmp_path / name) for name in "01"]
        stage.kill()
    deadline = time.monotonic() + 10
    while any(map(is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_alive, pids))
    sweep_after(stage.pid)
    assert not [path for path in parallel.SHARED_MEMORY.iterdir() if f"-{stage.pid}-" in path.name]


def waited_for(path: Path) -> int:
    deadline = time.monotonic() + 60
    while not (path.is_file() and path.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return int(path.read_text())


def test_what_a_killed_build_left_in_shared_memory_is_removed_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "SHARED_MEMORY", tmp_path)
    gone, alive = 2**22 + 1, os.getpid()  # no process has an id above 2**22
    for pid in (gone, alive):
        (tmp_path / f"sem.loky-{pid}-abc").touch()
        (tmp_path / f"joblib_memmapping_folder_{pid}_abc_1").mkdir()
    (tmp_path / f"sem.other-{gone}-abc").touch()
    for pid in (gone, alive):
        sweep_after(pid)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {f"sem.loky-{alive}-abc", f"joblib_memmapping_folder_{alive}_abc_1", f"sem.other-{gone}-abc"}


def test_cluster_at_an_address_gives_every_result(cluster: str) -> None:
    assert sorted(run_unordered(DIVISIONS, machine(backend="dask", scheduler=cluster, workers=0))) == QUOTIENTS


def test_same_task_is_run_as_often_as_it_is_given(cluster: str, tmp_path: Path) -> None:
    tasks: list[Task] = [(tempfile.mkdtemp, ("", "", tmp_path))] * 3
    made = set(run_unordered(tasks, machine(backend="dask", scheduler=cluster)))
    assert made == {str(folder) for folder in tmp_path.iterdir()}
    assert len(made) == 3


def test_without_an_address_a_cluster_of_this_machine_runs_the_tasks_and_ends() -> None:
    pytest.importorskip("distributed")
    tasks: list[Task] = [(os.getpid, ()), (os.getpid, ()), *DIVISIONS]
    results = list(run_unordered(tasks, machine(backend="dask", workers=2)))
    pids = {result for result in results if isinstance(result, int)}
    assert os.getpid() not in pids
    assert sorted(result for result in results if isinstance(result, tuple)) == QUOTIENTS
    deadline = time.monotonic() + 10
    while any(map(is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_alive, pids))


@pytest.mark.parametrize("at_once", [1, 3])
def test_cluster_is_given_no_more_tasks_at_once_than_machine_workers_says(cluster: str, at_once: int) -> None:
    drawn: list[int] = []

    def tasks() -> Iterator[Task]:
        for number, task in enumerate(DIVISIONS):
            drawn.append(number)
            yield task

    for done, _ in enumerate(run_unordered(tasks(), machine(backend="dask", scheduler=cluster, workers=at_once))):
        assert len(drawn) <= done + at_once
    assert len(drawn) == len(DIVISIONS)


def test_all_threads_of_a_cluster_have_their_next_task_waiting(cluster: str) -> None:
    drawn: list[int] = []

    def tasks() -> Iterator[Task]:
        for number, task in enumerate(DIVISIONS):
            drawn.append(number)
            yield task

    next(iter(run_unordered(tasks(), machine(backend="dask", scheduler=cluster, workers=0))))
    assert len(drawn) == 2 * parallel.AHEAD


@pytest.mark.parametrize("backend", ["loky", "dask"])
def test_problem_of_a_task_arrives_as_it_was_raised(cluster: str, backend: str) -> None:
    tasks: list[Task] = [*DIVISIONS, (read_info, (Path("gone.ogg"),))]
    with pytest.raises(PipelineError, match=r"^gone\.ogg: cannot be read \(No such file"):
        list(run_unordered(tasks, machine(backend=backend, scheduler=cluster)))


def test_task_that_kills_its_worker_is_reported_instead_of_waited_for(cluster: str) -> None:
    tasks: list[Task] = [*DIVISIONS, (os._exit, (1,))]
    with pytest.raises(PipelineError, match=r"dask cluster gave a task up \(KilledWorker: .*run the stage again"):
        list(run_unordered(tasks, machine(backend="dask", scheduler=cluster)))


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "127.0.0.1:9", "somewhere"])
def test_scheduler_that_does_not_answer_is_named_soon(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    pytest.importorskip("distributed")
    assert parallel.ANSWER_S <= 10
    monkeypatch.setattr(parallel, "ANSWER_S", 0.5)
    started = time.monotonic()
    with pytest.raises(PipelineError, match=rf"machine\.scheduler: no worker answers at '{address}'.*`dask scheduler`"):
        list(run_unordered(DIVISIONS, machine(backend="dask", scheduler=address)))
    assert time.monotonic() - started < 5


def test_scheduler_without_workers_is_named_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(parallel, "ANSWER_S", 0.5)
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=parallel.ANY_PORT) as empty,
        pytest.raises(PipelineError, match=r"no worker answers at .*0/1 workers.*`dask worker`"),
    ):
        list(run_unordered(DIVISIONS, machine(backend="dask", scheduler=empty.scheduler_address)))


def test_cluster_that_cannot_import_the_project_is_told_apart(cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "IMPORTS", "import a_module_of_another_version")
    with pytest.raises(PipelineError, match=r"cannot run this project \(No module named .*install the project"):
        list(run_unordered(DIVISIONS, machine(backend="dask", scheduler=cluster)))


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(PipelineError, match=r'machine\.backend is dask.*pip install "birdcache\[dask\]", or use loky'):
        list(run_unordered(DIVISIONS, machine(backend="dask")))


def test_workers_import_what_their_tasks_need() -> None:
    space: dict[str, Any] = {}
    exec(parallel.IMPORTS, space)
    assert space["pipeline"].builder.worker.build_part
    assert space["pipeline"].dataset.scan.scan_files
