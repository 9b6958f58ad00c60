"""Processes that train one model together (data parallel): who each is, and what they tell each other.

Each computes the gradient of its share of every batch; torch's DistributedDataParallel averages the gradients. They
talk by gloo on CPUs and by NCCL on GPUs, one GPU each. B batch of all processes, b one process's share of it.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from birdcache.errors import TrainError
from train.data.random import Ints


@dataclass(frozen=True)
class Ranks:
    """This process's number among all that train together; `local` is its number on its machine, and of its GPU."""

    rank: int
    world: int
    local: int = 0

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes files."""
        return self.rank == 0

    def share(self, index: Ints) -> Ints:
        """This process's part of a batch: all parts are of one size, and a rest that cannot be shared is left out."""
        each = len(index) // self.world
        return index[self.rank * each : (self.rank + 1) * each]

    def span(self, count: int) -> slice:
        """This process's part of `count` things in a row; all parts together are all things."""
        return slice(self.rank * count // self.world, (self.rank + 1) * count // self.world)

    def check_batch(self, batch_size: int) -> None:
        """Refuse a batch that does not come apart into equal shares of two clips or more.

        Raises
        ------
        TrainError
            Since the processes' gradients would not count alike, or batch norm have a single clip.
        """
        if batch_size % self.world or batch_size < 2 * self.world:
            raise TrainError(
                f"params.yaml: batch_size = {batch_size}: {self.world} processes share each batch out evenly and need "
                f"two clips each; make it a multiple of {self.world} from {2 * self.world} on, or change "
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
        """The highest of the processes' values: what each wants becomes what all do."""
        if self.world == 1:
            return value
        values = torch.tensor([value], device=device)
        distributed.all_reduce(values, distributed.ReduceOp.MAX)
        return int(values)

    def from_first(self, content: bytes, device: torch.device) -> bytes:
        """The first process's bytes, in all processes."""
        if self.world == 1:
            return content
        size = self.highest(len(content) if self.leads else 0, device)
        sent = torch.frombuffer(bytearray(content) if self.leads and size else bytearray(size or 1), dtype=torch.uint8)
        sent = sent.to(device)
        distributed.broadcast(sent, 0)
        return sent.cpu().numpy().tobytes()[:size]

    def average_buffers(self, model: nn.Module) -> None:
        """Make the running statistics of batch norm the mean of the processes', of which each saw its own shares."""
        for buffer in model.buffers():
            if self.world > 1 and buffer.is_floating_point():
                distributed.all_reduce(buffer)
                buffer /= self.world


ALONE = Ranks(0, 1)


@contextmanager
def concatenated(kind: torch.device, meeting: str = "env://") -> Iterator[Ranks]:
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
