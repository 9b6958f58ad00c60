"""Starts the processes that `machine.processes` asks for; by hand, torchrun does the same."""

from __future__ import annotations

import logging
import os
import signal
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from torch.multiprocessing.spawn import ProcessExitedException, start_processes

from birdcache.errors import TrainError, report_problems
from birdcache.params.load import MachineParams
from birdcache.process import exit_with_parent
from train.loop.distributed import Ranks, concatenated

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def run_together(work: Callable[[Ranks], None], machine: MachineParams, kind: torch.device) -> None:
    """Do `work` in as many processes as the machine is to use: in this one, or in new ones that end with this one.

    Parameters
    ----------
    work : a function of a module, or a partial of one, which each process calls with its own number.
    kind : device that the processes are to use.

    Raises
    ------
    SystemExit
        With status 1, if a process failed; it has said why, once. The others are ended.
    TrainError
        If a process was killed.
    """
    count = processes(machine, kind)
    if count == 1 or "WORLD_SIZE" in os.environ:
        with concatenated(kind) as ranks:
            work(ranks)
        return
    logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.ERROR)  # ending the others is no news
    with tempfile.TemporaryDirectory() as folder:
        arguments = (os.getpid(), count, f"file://{folder}/meeting", kind, work)
        context = start_processes(_one_process, arguments, count, join=False)  # type: ignore[no-untyped-call]
        told: list[str] = []
        try:
            with _passing_on(context.processes, told):
                while not context.join():
                    pass
        except ProcessExitedException as error:
            _explain(error.error_index, [process.exitcode for process in context.processes], told)
            raise SystemExit(1) from error
        finally:
            for process in context.processes:
                process.kill()


@contextmanager
def _passing_on(processes: Sequence[Any], told: list[str]) -> Iterator[None]:
    """Pass a signal on as SIGTERM, so that a training can save; a second Ctrl-C ends all. `told` gets its name."""

    def hear(number: int, _: FrameType | None) -> None:
        told.append(signal.Signals(number).name)
        if told.count(signal.SIGINT.name) > 1:
            raise KeyboardInterrupt
        for process in processes:
            process.terminate()

    before = {number: signal.getsignal(number) or signal.SIG_DFL for number in SIGNALS}
    heard = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    for number in heard:
        signal.signal(number, hear)
    try:
        yield
    finally:
        for number in heard:
            signal.signal(number, before[number])


def processes(machine: MachineParams, kind: torch.device) -> int:
    """How many processes `machine.processes` stands for: 0 is one per GPU, and one without a GPU."""
    return machine.processes or (torch.cuda.device_count() if kind.type == "cuda" else 1)


def _one_process(
    number: int, starter: int, count: int, meeting: str, kind: torch.device, work: Callable[[Ranks], None]
) -> None:
    exit_with_parent(starter)  # nobody is left to look after what is killed
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C comes to all; the first process passes it on
    os.environ |= {"RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": str(count)}
    torch.set_num_threads(max(1, torch.get_num_threads() // count))
    try:
        report_problems(lambda: _join_and_work(meeting, kind, work))
    except Exception:
        traceback.print_exc()
        raise SystemExit(1) from None


def _join_and_work(meeting: str, kind: torch.device, work: Callable[[Ranks], None]) -> None:
    with concatenated(kind, meeting) as ranks:
        work(ranks)


def _explain(failed: int, exit_codes: list[int | None], told: list[str]) -> None:
    """Name a process that was killed: the one that failed first, or one that was not ended for its sake by SIGTERM."""
    if told and exit_codes[failed] == -signal.SIGTERM:
        raise TrainError(f"stopped by {told[0]} before the training began")
    for number, code in [(failed, exit_codes[failed]), *enumerate(exit_codes)]:
        if code is not None and code < 0 and (number == failed or -code != signal.SIGTERM):
            raise TrainError(
                f"process {number} of {len(exit_codes)} was killed by {signal.Signals(-code).name}; if memory ran out, "
                "lower machine.processes or batch_size"
            )
