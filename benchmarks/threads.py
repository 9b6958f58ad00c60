"""Training on CPUs with the project's waiting threads and heap, relative to torch as it comes.

Two processes train member `base` of the shipped parameters on made-up recordings; one of them leaves out what others do
before they import torch (`birdcache.process.prepare_for_torch`). They take turns, each for some seconds, and rest in
between. Ratios of clips per second, medians over the rounds:

`idle`: with nothing beside them. `busy_one`: beside one busy process. `busy_all`: beside as many as there are cores.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from benchmarks.timing import ROOT, SHIPPED, parser_of, report
from birdcache.process import WAITS

MEGABYTES = 50  # of the store
TRAIN = "from benchmarks.threads import train_in_turns; train_in_turns()"
ARMS = {
    "plain": f"from birdcache import process; process.prepare_for_torch = lambda: None; {TRAIN}",
    "ours": TRAIN,
}
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
BESIDE = {"idle": 0, "busy_one": 1, "busy_all": CORES}
BUSY = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: sum(range(10**6))"


def main() -> None:
    """Measure, print a table, write JSON if asked."""
    parser = parser_of(__doc__ or "")
    parser.add_argument("--seconds", type=float, default=6.0, help="length of a turn")
    parser.add_argument("--backbone", default="", help="default: that of member `base`")
    arguments = parser.parse_args()
    numbers: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        write(Path(folder))
        arms = {name: stack.enter_context(training(code, folder, arguments.backbone)) for name, code in ARMS.items()}
        for name, count in BESIDE.items():
            with busy(count):
                rates = [[turn(arm, arguments.seconds) for arm in arms.values()] for _ in range(arguments.rounds)]
            plain_R, ours_R = np.transpose(rates)
            numbers |= {f"{name}_plain_clips_per_s": float(np.median(plain_R))}
            numbers |= {f"{name}_clips_per_s": float(np.median(ours_R)), name: float(np.median(ours_R / plain_R))}
    report(numbers, arguments.json)


@contextmanager
def training(code: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process that trains when it is told to, in an environment that says nothing of threads or memory."""
    prefixes = ("OMP_", "MALLOC_", "GLIBC_TUNABLES")
    environment = {name: value for name, value in os.environ.items() if name not in WAITS}
    environment = {name: value for name, value in environment.items() if not name.startswith(prefixes)}
    command = [sys.executable, "-c", code, *arguments]
    environment["PYTHONPATH"] = str(ROOT)
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    ) as process:
        turn(process, 0.0)
        yield process
        process.stdin.close()  # type: ignore[union-attr]


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Processes beside these that compute all the time."""
    processes = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def turn(process: subprocess.Popen[str], seconds: float) -> float:
    """Clips per second of one turn."""
    assert process.stdin
    assert process.stdout
    process.stdin.write(f"{seconds}\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def write(folder: Path) -> None:
    """The store that is trained on."""
    from benchmarks.stores import write_store
    from birdcache.params import load as parameters

    write_store(folder, parameters.load(SHIPPED).spectrograms["mel"], "none", MEGABYTES)


def train_in_turns(arguments: Sequence[str] = sys.argv[1:]) -> None:
    """In a process of its own: train for as many seconds as each line of standard input says, and print clips/s."""
    import torch

    from benchmarks.laps import start
    from benchmarks.splits import made_up_split
    from birdcache.params import load as parameters
    from cache.store import Store
    from train.data.frames import HostFrames

    folder, backbone = arguments
    store, device = Store(Path(folder) / "none.zarr"), torch.device("cpu")
    split = made_up_split(store, HostFrames(store, device), parameters.load(SHIPPED), device, {}, backbone)
    training_step, batches = start(split)
    endless = itertools.chain.from_iterable(map(batches.epoch, itertools.count()))
    for line in sys.stdin:
        begin, clips = time.perf_counter(), 0
        while not clips or time.perf_counter() - begin < float(line):
            batch, _ = next(endless)
            training_step.step(batch)
            clips += len(batch.clips)
        print(clips / (time.perf_counter() - begin), flush=True)


if __name__ == "__main__":
    main()
