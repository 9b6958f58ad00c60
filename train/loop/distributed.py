"""Processes that train one model together (data parallel): their ranks, their messages, their start and end.

Each computes the gradient of its share of every batch; torch's DistributedDataParallel averages the gradients. They
talk by gloo on CPUs and by NCCL on GPUs, one GPU each. `machine.processes` says how many are started; torchrun does the
same by hand. B batch of all processes, b one process's share of it.
"""

import logging
import os
import signal
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.distributed.rendezvous import rendezvous
from torch.multiprocessing.spawn import ProcessExitedException, start_processes
from torch.nn.parallel import DistributedDataParallel

from birdcache.errors import TrainError, report_problems
from birdcache.params.sections import MachineParams
from birdcache.process import exit_with_parent
from train.data.batch_plan import Worker

SIGNALS = (signal.SIGTERM, signal.SIGINT)
T = TypeVar("T")


@dataclass(frozen=True)
class Ranks(Worker):
    """This process's number among all that train together; `local` is its number on its machine, and of its GPU."""

    local: int = 0

    @property
    def leads(self) -> bool:
        """True in the process that writes files."""
        return self.rank == 0

    def check_batch(self, batch_size: int) -> None:
        """Refuse a batch that does not come apart into equal shares of two clips or more.

        A TrainError, since the processes' gradients would differ in weight, or batch norm would see a single clip.
        """
        if batch_size % self.world or batch_size < 2 * self.world:
            raise TrainError(
                f"params.yaml: batch_size = {batch_size}: {self.world} processes share each batch evenly and need "
                f"two clips each; make it a multiple of {self.world}, at least {2 * self.world}, or change "
                "machine.processes"
            )

    def device(self, kind: torch.device) -> torch.device:
        """This process's own device of a kind."""
        return torch.device("cuda", self.local) if kind.type == "cuda" and self.world > 1 else kind

    def parallel(self, network: nn.Module, device: torch.device) -> nn.Module:
        """The network, with gradients that are averaged over the processes; all begin with the first one's weights."""
        if self.world == 1:
            return network
        gpus = [device] if device.type == "cuda" else None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch 2.14 has a new name for what 2.9 calls this
            # buffers are averaged before each validation instead of being sent at each step
            return DistributedDataParallel(network, gpus, broadcast_buffers=False, gradient_as_bucket_view=True)

    def whole(self, part: Tensor) -> Tensor:
        """Rows of all processes: (b, ...) -> (B, ...). Only this process's own rows carry a gradient."""
        if self.world == 1:
            return part
        parts = [torch.empty_like(part) for _ in range(self.world)]
        distributed.all_gather(parts, part.detach().contiguous())
        parts[self.rank] = part
        return torch.cat(parts)

    def total(self, values: Tensor) -> Tensor:
        """Sum of the processes' values, the same to the last bit in each process; `values` is overwritten."""
        if self.world > 1:
            distributed.all_reduce(values)
        return values

    def highest(self, value: int, device: torch.device) -> int:
        """The highest of the processes' values: the highest request is carried out by all."""
        if self.world == 1:
            return value
        values = torch.tensor([value], device=device)
        distributed.all_reduce(values, distributed.ReduceOp.MAX)
        return int(values)

    def from_first(self, value: T, device: torch.device) -> T:
        """The first process's value, in all processes."""
        sent = [value]
        if self.world > 1:
            distributed.broadcast_object_list(sent, 0, device=device)
        return sent[0]

    def average_buffers(self, model: nn.Module) -> None:
        """Make the running statistics of batch norm the mean of the processes', of which each saw its own shares."""
        for buffer in model.buffers():
            if self.world > 1 and buffer.is_floating_point():
                distributed.all_reduce(buffer)
                buffer /= self.world


ALONE = Ranks()


@contextmanager
def process_group(kind: torch.device, meeting: str = "env://") -> Iterator[Ranks]:
    """Meet the other processes that torchrun, or `launch`, started beside this one; without any, be alone.

    Only the first process prints. If some fail, the exception of the one that failed first leaves the block; the
    others, which may have failed only because it was gone, end with status 1 and without a word.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield ALONE
        return
    ranks = Ranks(int(os.environ["RANK"]), world, int(os.environ["LOCAL_RANK"]))
    store, _, _ = next(rendezvous(meeting, ranks.rank, world))
    try:
        _meet(ranks, ranks.device(kind), store)
        with Path(os.devnull).open("w") as nowhere, nullcontext() if ranks.leads else redirect_stdout(nowhere):
            yield ranks
    except Exception:
        if store.add("birdcache/failed", 1) > 1:
            raise SystemExit(1) from None
        raise
    distributed.destroy_process_group()


def _meet(ranks: Ranks, device: torch.device, store: Any) -> None:
    if device.type == "cpu":
        distributed.init_process_group("gloo", store=store, rank=ranks.rank, world_size=ranks.world)
        return
    if ranks.local >= (gpus := torch.cuda.device_count()):
        raise TrainError(f"more processes than GPUs ({gpus}) on this machine; set machine.processes: 0 for one per GPU")
    torch.cuda.set_device(device)
    distributed.init_process_group("nccl", store=store, rank=ranks.rank, world_size=ranks.world, device_id=device)


def run_together(work: Callable[[Ranks], None], machine: MachineParams, kind: torch.device) -> None:
    """Do `work` in as many processes as the machine is to use: in this one, or in new ones that end with this one.

    Parameters
    ----------
    work : a function of a module, or a partial of one, which each process calls with its own number.
    kind : device that the processes are to use.

    Raises
    ------
    SystemExit
        With status 1, if a process failed; it has printed the reason. The others are ended.
    TrainError
        If a process was killed.
    """
    count = processes(machine, kind)
    if count == 1 or "WORLD_SIZE" in os.environ:
        with process_group(kind) as ranks:
            work(ranks)
        return
    _warn_of_unlike_gpus(count, kind)
    # else it reports that the others were ended
    logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        arguments = (os.getpid(), count, f"file://{folder}/meeting", kind, work)
        context = start_processes(_one_process, arguments, count, join=False)  # type: ignore[no-untyped-call]
        signals: list[str] = []
        try:
            with handling_signals(partial(_forward, context.processes, signals)):
                while not context.join():
                    pass
        except ProcessExitedException as error:
            _explain(error.error_index, [process.exitcode for process in context.processes], signals)
            raise SystemExit(1) from error
        finally:
            for process in context.processes:
                process.kill()


def _warn_of_unlike_gpus(count: int, kind: torch.device) -> None:
    if kind.type != "cuda":
        return
    gpus = {torch.cuda.get_device_name(number) for number in range(min(count, torch.cuda.device_count()))}
    if len(gpus) > 1:
        print(
            f"warning: GPUs of unlike kinds ({', '.join(sorted(gpus))}) share each batch evenly, so the slowest sets "
            "the pace; name alike ones in CUDA_VISIBLE_DEVICES, or set machine.processes: 1"
        )


@contextmanager
def handling_signals(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle those signals that this process was not told to ignore, as a shell tells its background jobs."""
    before = {number: signal.getsignal(number) or signal.SIG_DFL for number in SIGNALS}
    handled = [number for number, own in before.items() if own is not signal.SIG_IGN]
    for number in handled:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, before[number])


def _forward(processes: Sequence[Any], received: list[str], number: int, _: FrameType | None) -> None:
    """Forward a signal as SIGTERM, so that trainings save; a second Ctrl-C ends all. Appends its name to `received`."""
    received.append(signal.Signals(number).name)
    if received.count(signal.SIGINT.name) > 1:
        raise KeyboardInterrupt
    for process in processes:
        process.terminate()


def processes(machine: MachineParams, kind: torch.device) -> int:
    """The number of processes that `machine.processes` stands for: 0 is one per GPU, and one without a GPU."""
    return machine.processes or (torch.cuda.device_count() if kind.type == "cuda" else 1)


def _one_process(
    number: int, starter: int, count: int, meeting: str, kind: torch.device, work: Callable[[Ranks], None]
) -> None:
    exit_with_parent(starter)  # nothing else ends it if the starter is killed
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C reaches all; the starter forwards it
    os.environ |= {"RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": str(count)}
    torch.set_num_threads(max(1, torch.get_num_threads() // count))

    def join_and_work() -> None:
        with process_group(kind, meeting) as ranks:
            work(ranks)

    try:
        report_problems(join_and_work)
    except Exception:
        traceback.print_exc()
        raise SystemExit(1) from None


def _explain(failed: int, exit_codes: list[int | None], signals: list[str]) -> None:
    """Name a process that was killed: the one that failed first, or one that was not ended by our SIGTERM."""
    if signals and exit_codes[failed] == -signal.SIGTERM:
        raise TrainError(f"stopped by {signals[0]} before the training began")
    for number, code in [(failed, exit_codes[failed]), *enumerate(exit_codes)]:
        if code is not None and code < 0 and (number == failed or -code != signal.SIGTERM):
            raise TrainError(
                f"process {number} of {len(exit_codes)} was killed by {signal.Signals(-code).name}; if memory ran out, "
                "lower machine.processes or batch_size"
            )
