"""What processes that were started together do in tests of how they end. Imports little, so that they start fast."""

from __future__ import annotations

import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

import torch

from birdcache.errors import TrainError
from birdcache.params import load as params
from birdcache.params.sections import MachineParams
from train.loop.distributed import Ranks, run_together

CPU = torch.device("cpu")


def two_processes(machine: MachineParams) -> MachineParams:
    """The machine, told to train in two processes on its CPU."""
    return machine.model_copy(update={"processes": 2, "device": "cpu"})


def fail(how: str, ranks: Ranks) -> None:
    """Fail in both processes or in the second one, while the first waits for it."""
    if how == "everywhere":
        raise TrainError("the loss is nan")
    if ranks.rank == 1 and how == "in one":
        raise TrainError("the disk of process 1 is gone")
    if ranks.rank == 1 and how == "by a mistake":
        raise ZeroDivisionError("of process 1")
    if ranks.rank == 1 and how.startswith("SIG"):
        os.kill(os.getpid(), signal.Signals[how])
    ranks.total(torch.zeros(3))


def write_id_and_wait(folder: Path, ranks: Ranks) -> None:
    """The first process sleeps, the second one waits for it."""
    (folder / f"{ranks.rank}").write_text(str(os.getpid()))
    if ranks.leads:
        time.sleep(300)
    ranks.total(torch.zeros(3))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are started without it
    run_together(partial(write_id_and_wait, Path(sys.argv[1])), two_processes(params.load().machine), CPU)
