"""Parallel work: processes of this machine (loky, by joblib), or workers of a Dask cluster, by the same call.

Tasks that leave their work to a decoder's process are run by threads instead: another process around each would take
longer to start than it takes to read a thousand headers.

Tasks go to Dask directly: joblib's own Dask backend (1.6) waits for ever on a task that Dask has given up, such as one
whose workers ran out of memory, and puts several short tasks together, so that the longest no longer come first.
"""

import importlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import joblib

from birdcache.errors import PipelineError
from birdcache.params.sections import MachineParams
from birdcache.process import exit_with_parent, is_alive

Task = tuple[Callable[..., Any], tuple[Any, ...]]
ALL = -1
SHARED_MEMORY = Path("/dev/shm")  # of Linux
AHEAD = 2  # tasks per thread that a cluster knows at a time, so that no worker waits for its next one
ANSWER_S = 10  # that a scheduler and its first worker may take
ANY_PORT = "127.0.0.1:0"  # of the dashboard; the usual 8787 may be taken
IMPORTS = "import pipeline.builder.worker, pipeline.dataset.scan"


def run_unordered(tasks: Iterable[Task], machine: MachineParams, decoding: bool = False) -> Iterator[Any]:
    """Run (function, arguments) tasks in parallel; yields results as they come.

    A PipelineError if the backend is dask and it is not installed, its scheduler does not answer, or it gives a task
    up.

    Parameters
    ----------
    tasks : in the order in which they are handed out.
    machine : workers (0 = one per core, or all of the cluster), backend, scheduler.
    decoding : whether all that they do is wait for `birdcache.audio.decoder.decoder`; such tasks are all known at once.
    """
    if machine.backend == "loky" and decoding:
        yield from _in_threads(tasks, machine.workers or joblib.cpu_count())
    elif machine.backend == "loky":
        calls = (joblib.delayed(function)(*arguments) for function, arguments in tasks)
        mortal = {"initializer": exit_with_parent, "initargs": (os.getpid(),)}
        yield from joblib.Parallel(machine.workers or ALL, return_as="generator_unordered", **mortal)(calls)
    else:
        with _cluster(machine) as client:
            yield from _on_cluster(client, iter(tasks), at_once=machine.workers if machine.scheduler else 0)


_threads = cache(ThreadPoolExecutor)  # they live as long as this process, and so do their decoders


def _in_threads(tasks: Iterable[Task], count: int) -> Iterator[Any]:
    futures = [_threads(count).submit(function, *arguments) for function, arguments in tasks]
    try:
        yield from (future.result() for future in as_completed(futures))
    finally:
        for future in futures:
            future.cancel()


def sweep_after(ended: int) -> None:
    """Remove what loky has left in shared memory for a process, if that was killed together with all its workers."""
    if is_alive(ended):
        return  # or another process has its id by now
    for folder in {SHARED_MEMORY, Path(tempfile.gettempdir())}:
        for path in folder.glob(f"sem.loky-{ended}-*"):
            path.unlink(missing_ok=True)
        for path in folder.glob(f"joblib_memmapping_folder_{ended}_*"):
            shutil.rmtree(path, ignore_errors=True)


def _on_cluster(client: Any, tasks: Iterator[Task], at_once: int) -> Iterator[Any]:
    """Keep so many tasks with the cluster; 0 = `AHEAD` for each of its threads, which may come and go."""
    dask = _distributed()
    running = dask.as_completed([], loop=client.loop)

    def hand_out() -> None:
        wanted = at_once or AHEAD * max(1, sum(client.nthreads().values()))
        for function, arguments in islice(tasks, max(0, wanted - running.count())):
            running.add(client.submit(function, *arguments, pure=False))

    hand_out()
    for future in running:
        try:
            result = future.result()
        except (dask.CancelledError, dask.KilledWorker, ImportError) as error:
            raise PipelineError(
                f"the dask cluster gave a task up ({type(error).__name__}: {error}); see its workers' output; what was "
                f"finished is kept, so run the stage again"
            ) from error
        yield result
        hand_out()


@contextmanager
def _cluster(machine: MachineParams) -> Iterator[Any]:
    """A client of the cluster at machine.scheduler, or of one of this machine's cores that ends with it."""
    dask, address = _distributed(), machine.scheduler
    with ExitStack() as stack:
        cluster = address or stack.enter_context(
            dask.LocalCluster(n_workers=machine.workers or None, threads_per_worker=1, dashboard_address=ANY_PORT)
        )
        try:
            client = stack.enter_context(dask.Client(cluster, timeout=ANSWER_S))
            client.wait_for_workers(1, timeout=ANSWER_S)
            # one that cannot import what tasks do would lose its workers, and the tasks with them
            client.run_on_scheduler(exec, IMPORTS)
            client.run(exec, IMPORTS)
        except (OSError, ValueError) as error:
            raise PipelineError(
                f"params.yaml: machine.scheduler: no worker answers at {address!r} ({error}); start `dask scheduler` "
                f"there and `dask worker` with its address, or leave it empty for a cluster of this machine"
            ) from error
        except ImportError as error:
            raise PipelineError(
                f"params.yaml: machine.scheduler: the cluster at {address!r} cannot run this project ({error}); "
                f"install the project for its scheduler and workers too, in the same versions"
            ) from error
        yield client


def _distributed() -> Any:
    """The package, which only those need who have a cluster."""
    try:
        return importlib.import_module("distributed")
    except ImportError:
        raise PipelineError(
            'params.yaml: machine.backend is dask, which is not installed; pip install "birdcache[dask]", or use loky'
        ) from None
