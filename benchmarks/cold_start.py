"""Cold start of one placement in a new process: seconds to the first batch, and memory."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import torch

from benchmarks.stores import BATCH, draw_batches, forget_pages
from birdcache.params.sections import MachineParams
from cache.store import Store
from train.data.frames import open_frames

BATCHES = 100
RESET_PEAK = "5"  # see proc(5), /proc/[pid]/clear_refs


def measure(store: Store, machine: MachineParams) -> dict[str, float]:
    """Measure the placement of `machine` in a new process.

    Returns
    -------
    cold_start_s : from opening the store, with none of its files in the page cache, to the first batch of values.
    from_disk_crops_per_s : clips per second afterwards, over a hundred batches.
    memory_mb : peak of the additional memory, including mapped pages of the page cache.
    private_mb : the part of it that is not shared.
    """
    forget_pages(store)
    command = [sys.executable, "-m", "benchmarks.cold_start", str(store.path), machine.model_dump_json()]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return {name: float(value) for name, value in json.loads(done.stdout).items()}


def main() -> None:
    """Measure the store and the section `machine` (JSON) given as arguments; print JSON."""
    path, machine, cpu = Path(sys.argv[1]), MachineParams.model_validate_json(sys.argv[2]), torch.device("cpu")
    torch.set_num_threads(1)
    Path("/proc/self/clear_refs").write_text(RESET_PEAK)
    before = memory_mb()
    begin = time.perf_counter()
    store = Store(path)
    frames, _ = open_frames(store, cpu, machine)
    for number, (row_B, position_BT) in enumerate(draw_batches(store, BATCHES)):
        frames.finish(frames.stage(row_B, position_BT))
        if number == 0:
            cold_start_s = time.perf_counter() - begin
    rate = (BATCHES - 1) * BATCH / (time.perf_counter() - begin - cold_start_s)
    after = memory_mb()
    memory = {"memory_mb": after["VmHWM"] - before["VmRSS"], "private_mb": after["RssAnon"] - before["RssAnon"]}
    print(json.dumps({"cold_start_s": cold_start_s, "from_disk_crops_per_s": rate, **memory}))


def memory_mb() -> dict[str, float]:
    """This process's memory as the kernel counts it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = (line.split() for line in lines if line.endswith(" kB"))
    return {name.rstrip(":"): int(kilobytes) * 1024 / 1e6 for name, kilobytes, _ in fields}


if __name__ == "__main__":
    main()
