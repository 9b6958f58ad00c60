"""Trial: data sets by strangers. All are refused with row numbers, or read right; nothing outside is opened.

Stage `recordings` runs on each kind of `tests.torture.hostile_kinds`, in a process of its own, with its decoder.
"""

from __future__ import annotations

import functools
import importlib
import os
import re
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from birdcache.errors import run_stage
from tests.fixtures.tiny import ROOT, tiny_params, write_params
from tests.torture.hostile import Kind, write_good, write_outside
from tests.torture.hostile_kinds import KINDS
from tests.torture.opens import kernel_watch, opened_files, watch_processes
from tests.torture.outcome import Outcome
from tests.torture.projects import SERVER

DEADLINE_S = 120
SYSTEM = ("/proc/", "/sys/", "/dev/shm", "/dev/null", "/dev/urandom")
LATE = -1
Spoil = Callable[[], None]


@dataclass(frozen=True)
class Run:
    """A run of the stage: exit status, what it said and opened, and what the kernel heard being opened outside."""

    project: Path
    status: int
    said: str
    opened: set[str]
    heard: tuple[str, ...]


def trial(tried: int = 0, spoil: Spoil | None = None, only: str = "") -> Outcome:
    """Run stage `recordings` on data sets.

    Parameters
    ----------
    tried : how many kinds, evenly spread; 0 is all.
    spoil : takes a protection away in the stage's process, to see that the trial notices.
    only : kinds whose names begin so.
    """
    names = [name for name in KINDS if name.startswith(only)]
    step = max(1, len(names) // tried) if tried else 1
    failures: list[str] = []
    files = 0
    with tempfile.TemporaryDirectory() as folder:
        for number, name in enumerate(names[::step]):
            problems, opened = _tried(Path(folder) / str(number), KINDS[name], spoil)
            files += opened
            failures += [f"{name}: {problem}" for problem in problems]
    chosen = [KINDS[name] for name in names[::step]]
    counts = {
        "refused": sum(kind.rule is not None for kind in chosen),
        "left out one file": sum(bool(kind.listed) for kind in chosen),
        "read right": sum(kind.rule is None and not kind.listed for kind in chosen),
    }
    told = ", ".join(f"{how} {count}" for how, count in counts.items())
    figure = f"{told}; {files:,} files opened, {sum('opened' in failure for failure in failures)} outside"
    return Outcome("strangers", len(chosen), len(failures), failures[0] if failures else "none", figure)


def _tried(folder: Path, kind: Kind, spoil: Spoil | None) -> tuple[list[str], int]:
    """What is wrong with what the stage did, and how many files it opened."""
    run = _run(folder, kind, spoil)
    problems = list(_wrong(kind, run))
    problems += [f"opened {path}" for path in sorted(_elsewhere(run) - _usual())]
    problems += [f"opened {path}, says the kernel" for path in sorted(set(run.heard))]
    return problems, len(run.opened)


@functools.cache
def _usual() -> set[str]:
    """What is opened elsewhere when all is as it should be."""
    with tempfile.TemporaryDirectory() as folder:
        return _elsewhere(_run(Path(folder), KINDS["as it should be"], None))


def _run(folder: Path, kind: Kind, spoil: Spoil | None) -> Run:
    """Make the data set and run the stage on it."""
    project, outside = folder / "project", folder / "outside"
    write_good(project / "chorus")
    write_outside(outside)
    kind.change(project / "chorus", outside)
    raw = tiny_params("chorus")
    raw["data"] |= {"soundscapes": "test_soundscapes", "soundscape_truth": "truth.csv", "soundscape_labels": None}
    raw["data"]["max_refused_share"] = 1.0
    raw["data"] |= kind.data
    write_params(project / "params.yaml", raw)
    with kernel_watch([outside, outside / "wren"]) as heard:
        running = SERVER.Process(target=_stage, args=(project, folder, spoil))
        running.start()
        running.join(DEADLINE_S)
        if running.exitcode is None:
            os.killpg(running.pid or 0, signal.SIGKILL)
    said = (project / "log").read_text(errors="replace")
    status = LATE if running.exitcode is None else running.exitcode
    return Run(project, status, said, opened_files(folder / "opens"), tuple(heard))


def _stage(project: Path, folder: Path, spoil: Spoil | None) -> None:
    """The stage in a process of its own, whose words go to the project's log."""
    os.setsid()
    os.chdir(project)
    log = os.open("log", os.O_WRONLY | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.environ.pop("BIRDCACHE_POOL", None)
    sys.argv = ["pipeline.recordings"]
    if spoil:
        spoil()
    (folder / "site").mkdir()
    watch_processes(folder / "site", folder / "opens")
    try:
        run_stage(importlib.import_module("pipeline.recordings").main)
    except Exception:
        traceback.print_exc()
        raise SystemExit(2) from None
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _wrong(kind: Kind, run: Run) -> Iterator[str]:
    """What the stage should have said or written, and has not."""
    said = run.said[-300:]
    if run.status not in (0, 1) or "Traceback" in run.said:
        yield f"ended with status {run.status}: {said}"
    elif kind.rule is not None and (run.status == 0 or kind.rule not in run.said):
        yield f"was not refused with {kind.rule!r}: {said}"
    elif kind.rule is None and run.status:
        yield f"was refused: {said}"
    elif kind.rule is None:
        wanted = {**kind.holds, "reports/data/refused.csv": kind.listed or "file,code,detail,hint\n"}
        for name, text in wanted.items():
            if text not in (run.project / name).read_text():
                yield f"{name} does not hold {text}"


def _elsewhere(run: Run) -> set[str]:
    """What was opened neither in the project nor of this code and its interpreter; numbers in names count alike."""
    ours = [
        os.path.realpath(place)
        for place in (run.project, run.project.parent / "site", ROOT, sys.prefix, sys.base_prefix)
    ]
    inside = tuple(f"{place}/" for place in ours)
    found = {path for path in run.opened if not path.startswith((*SYSTEM, *inside)) and path not in ours}
    return {re.sub(r"\d+", "0", path) for path in found}
