"""A tiny project whose stages trials run as DVC does, in processes of their own.

They are forked from a server that has imported the stages: importing takes a hundred times as long as what is tried.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import shutil
import sys
import traceback
from collections.abc import Iterable
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from birdcache.errors import run_stage
from tests.fixtures.tiny import tiny_params, write_data, write_params

STAGES = ["pipeline.recordings", "pipeline.spectrograms"]
STORES = ("mel.zarr", "mel-soundscapes.zarr")
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(STAGES)


def make_project(root: Path) -> Path:
    """Eighteen recordings and a soundscape, listed by stage `recordings`; returns the folder."""
    root.mkdir(parents=True)
    write_data(root / "chorus")
    write_params(root / "params.yaml", tiny_params("chorus"))
    finish(start(root, "pipeline.recordings"))
    return root


def copy_project(project: Path, to: Path, workers: int) -> Path:
    """A copy that shares the audio, has no store and no pool, and decodes with so many processes."""
    shutil.copytree(project, to, ignore=shutil.ignore_patterns("chorus", "cache", ".birdcache", "tmp", "log"))
    (to / "chorus").symlink_to(project / "chorus")
    params = tiny_params("chorus")
    params["machine"]["workers"] = workers
    write_params(to / "params.yaml", params)
    return to


def start(root: Path, module: str, *arguments: str) -> ForkServerProcess:
    """Start a stage below a stand-in for DVC, which leads a session of its own; the stage's words go to root/log."""
    running = SERVER.Process(target=_stand_in, args=(root, module, arguments))
    running.start()
    return running


def _stand_in(root: Path, module: str, arguments: tuple[str, ...]) -> None:
    """Like DVC: start the stage, wait for it, end with its status."""
    os.setsid()
    stage = os.fork()
    if not stage:
        os._exit(_run(root, module, arguments))
    _, status = os.waitpid(stage, 0)
    os._exit(os.waitstatus_to_exitcode(status) != 0)


def _run(root: Path, module: str, arguments: tuple[str, ...]) -> int:
    """Run a stage in this process; its exit status."""
    (root / "tmp").mkdir(exist_ok=True)
    log = os.open(root / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.chdir(root)
    os.environ |= {"DVC_STAGE": module, "TMPDIR": str(root / "tmp"), "OMP_NUM_THREADS": "1"}
    os.environ.pop("BIRDCACHE_POOL", None)
    sys.argv = [module, *arguments]
    try:
        run_stage(importlib.import_module(module).main)
        return 0
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def finish(running: ForkServerProcess) -> None:
    """Wait for the end of a stage that must succeed."""
    running.join()
    if running.exitcode:
        raise RuntimeError(f"a stage ended with status {running.exitcode}; see the folder's log")


def processes_of(session: int) -> list[int]:
    """Living processes of a session, without those that only wait to be noticed as dead."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, its_session = path.read_text().rpartition(")")[2].split()[:4]
        except OSError:  # it has just ended
            continue
        if int(its_session) == session and state not in "ZX":
            found.append(int(path.parent.name))
    return found


def in_shared_memory(processes: Iterable[int]) -> list[str]:
    """What loky made in shared memory for these processes and is still there."""
    marks = [f"{kind}{process}{end}" for process in processes for kind, end in (("loky-", "-"), ("folder_", "_"))]
    return [path.name for path in Path("/dev/shm").iterdir() if any(mark in path.name for mark in marks)]


def contents(root: Path) -> dict[str, bytes]:
    """Every file of the project's stores."""
    files = (path for store in STORES for path in (root / "data/cache" / store).rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def strays(root: Path) -> list[str]:
    """What an unfinished build may leave: drafts in the pool, half-written files, stores that are not in place."""
    pool, cache = root / ".birdcache/pool", root / "data/cache"
    expected = {*STORES, *(f".{store}.lock" for store in STORES)}
    found = [path for path in pool.rglob("*") if path.name.startswith(("tmp-", "."))]
    found += [path for path in cache.iterdir() if path.name not in expected]
    found += [*cache.rglob("*/.*"), *(root / "tmp").iterdir()]
    return sorted(path.relative_to(root).as_posix() for path in found)
