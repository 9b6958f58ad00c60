"""Bookkeeping for a million recordings: planning, committing and opening synthetic stores, without any audio.

Each size has its own processes and temporary folder: N recordings, all of them in the pool, and 1 % new ones. Measured
are the seconds to read the table of recordings (`read_s`), to plan a store from nothing (`plan_s`) and with the pool
(`replan_s`), to commit a store (`commit_s`), to open it (`open_s`) and to find every recording in it (`rows_of_s`), and
the peak memory of any of the processes. `linear` is the largest growth of the first two, in CPU seconds, for ten times
the recordings: 10 is exactly linear. The others also grow with the number of parts, which stops growing at 100,000
recordings.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from benchmarks.timing import ROOT, parser_of, report

PLANS = 3  # plans per size; the fastest counts, since other work on a shared machine only ever adds time
SIZES = {"10k": 10_000, "100k": 100_000, "1m": 1_000_000}
WRITE = "from pathlib import Path; from benchmarks import synthetic; synthetic.write_project(Path(), {})"
Result = TypeVar("Result")


def main() -> None:
    """Measure every size, print a table, write JSON if asked."""
    parser = parser_of(__doc__ or "")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES), metavar="SIZE")
    parser.add_argument("--phase", choices=PHASES, help=argparse.SUPPRESS)  # for a new process
    arguments = parser.parse_args()
    if arguments.phase:
        print(json.dumps(PHASES[arguments.phase]() | {"peak_gb": peak_gb()}))
        return
    measured = {size: measure(SIZES[size]) for size in arguments.sizes}
    numbers = {f"{name}_{size}": value for size, each in measured.items() for name, value in each.items()}
    cpu_s = {size: each["planning_cpu_s"] for size, each in measured.items()}
    report(numbers | growth(cpu_s), arguments.json)


def measure(recordings: int) -> dict[str, float]:
    """All numbers of one size; of several plans, the fastest."""
    with tempfile.TemporaryDirectory() as folder:
        run(["-c", WRITE.format(recordings)], folder)
        phases = [*itertools.repeat("plan", PLANS - 1), *PHASES]
        results = [json.loads(run(["-m", "benchmarks.scale", "--phase", phase], folder)) for phase in phases]
    planned = min(results[:PLANS], key=lambda result: result["planning_cpu_s"])
    numbers: dict[str, float] = {
        name: value for result in (*results[PLANS:], planned) for name, value in result.items()
    }
    numbers["total_s"] = sum(numbers[name] for name in ("read_s", "plan_s", "replan_s", "commit_s"))
    return numbers | {"peak_gb": max(result["peak_gb"] for result in results)}


def run(arguments: Sequence[str], folder: str) -> str:
    """Run a new Python process with this project's modules in another folder; return its output."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout


def plan() -> dict[str, float]:
    """Read the table, plan from nothing, and plan again with 1 % new recordings."""
    from benchmarks.synthetic import DIGEST, VIEW
    from cache.pool import LocalPool
    from cache.tables import AUDIO
    from pipeline.builder.plan import plan_jobs
    from pipeline.spectrograms import read_sources

    begin_s = time.process_time()
    sources, read_s = timed(lambda: read_sources(AUDIO.at(Path("all.csv"))))
    jobs, plan_s = timed(lambda: plan_jobs(sources, VIEW, DIGEST, LocalPool(Path("empty"), DIGEST)))
    planning_cpu_s = time.process_time() - begin_s
    decoded = sum(len(job.new) for job in jobs)
    del jobs
    jobs, replan_s = timed(lambda: plan_jobs(sources, VIEW, DIGEST, LocalPool(Path("pool"), DIGEST)))
    numbers = {"read_s": read_s, "plan_s": plan_s, "replan_s": replan_s, "planning_cpu_s": planning_cpu_s}
    return numbers | {"to_decode": decoded, "to_decode_on_top": sum(len(job.new) for job in jobs)}


def commit() -> dict[str, float]:
    """Look up the parts of a planned store in the pool, without comparing bytes, and commit it."""
    from benchmarks.synthetic import DIGEST, QUANTIZER, VIEW
    from cache.pool import LocalPool
    from cache.store_writer import NamedPart, commit_store
    from cache.tables import AUDIO
    from pipeline.builder.plan import plan_jobs
    from pipeline.spectrograms import read_sources

    pool = LocalPool(Path("pool"), DIGEST)
    jobs = plan_jobs(read_sources(AUDIO.at(Path("old.csv"))), VIEW, DIGEST, pool)
    for part in pool.parts():
        pool.trust(part)

    def look_up_and_commit() -> None:
        found = [(job, pool.find(job.keys)) for job in jobs]
        parts = [NamedPart(job.name, part, tuple(each.sha256 for each in job.sources)) for job, part in found if part]
        commit_store(Path("mel.zarr"), VIEW, DIGEST, QUANTIZER, parts)

    return {"commit_s": timed(look_up_and_commit)[1], "parts": len(jobs)}


def open_store() -> dict[str, float]:
    """Open the store and find all recordings of the table in it."""
    from cache.store import Store
    from cache.tables import AUDIO, Col

    store, open_s = timed(lambda: Store(Path("mel.zarr")))
    audio = list(AUDIO.at(Path("all.csv")).read(Col.SHA256)[Col.SHA256])
    rows, rows_of_s = timed(lambda: store.rows_of(audio))
    return {"open_s": open_s, "rows_of_s": rows_of_s, "found": int((rows >= 0).sum())}


PHASES: dict[str, Callable[[], dict[str, float]]] = {"plan": plan, "commit": commit, "open": open_store}


def timed(do: Callable[[], Result]) -> tuple[Result, float]:
    """The result of a call, and its wall-clock seconds."""
    begin_s = time.perf_counter()
    result = do()
    return result, time.perf_counter() - begin_s


def peak_gb() -> float:
    """Peak memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def growth(cpu_s: Mapping[str, float]) -> dict[str, float]:
    """Ratios between neighbouring sizes, and the largest of them."""
    pairs = list(itertools.pairwise(cpu_s.items()))
    ratios = {f"cpu_{after}_vs_{before}": after_s / before_s for (before, before_s), (after, after_s) in pairs}
    return ratios | {"linear": max(ratios.values())} if ratios else {}


if __name__ == "__main__":
    main()
