"""The whole step as one CUDA graph: its hundreds of kernels are launched at once instead of one after another.

The first steps run as they are, on a side stream; the next is recorded, and from then on replayed with each step's
inputs in the place of the recorded ones. The learning rate is a tensor, and random numbers follow from the seed and
offset of torch's own generator, which a replay reads: so a step gives the same with a graph and without.
"""

from collections.abc import Callable
from functools import cached_property, partial
from typing import TypeVar

import torch
from torch import Tensor

from birdcache.params.recipe import Recipe
from birdcache.params.sections import MachineParams
from train.augment.batch import StepInputs
from train.data.columns import mapped
from train.loop.distributed import Ranks
from train.loop.optim import is_recordable

WARM_UP = 3  # steps before the recorded one, in which libraries choose their algorithms and take their memory
T = TypeVar("T")


class Recorder:
    """Records CUDA graphs."""

    @cached_property
    def _stream(self) -> torch.cuda.Stream:
        return torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def aside(self, work: Callable[[], T]) -> T:
        """Run work on a side stream, as a recording needs it beforehand; each of both waits for the other."""
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            result = work()
        current.wait_stream(self._stream)
        return result

    def record(self, work: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """Record work without running it; returns what replays it, and the tensor that then holds its result.

        Other threads may use the device meanwhile.
        """
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            result = work()
        return graph.replay, result


class StepGraph:
    """Takes steps by a graph; if one cannot be recorded, it says so and takes them as they are.

    Parameters
    ----------
    work : a step on the inputs of a batch, always of the same shapes; returns its loss. It must not hold what holds
        this graph, or neither is freed in time.
    """

    def __init__(self, work: Callable[[StepInputs], Tensor], recorder: Recorder | None) -> None:
        self._work, self._recorder = work, recorder
        self.forget()

    def forget(self) -> None:
        """Begin again, since the step or the memory that it uses has changed."""
        self._done = 0
        self._inputs: StepInputs | None = None

    def __call__(self, inputs: StepInputs) -> Tensor:
        """Take a step; returns its loss, which the next step leaves as it is."""
        if self._recorder is None:
            return self._work(inputs)
        if self._done < WARM_UP:
            self._done += 1
            return self._recorder.aside(partial(self._work, inputs))
        if self._inputs is None:
            kept = mapped(inputs, torch.clone)
            try:
                self._replay, self._loss = self._recorder.record(partial(self._work, kept))
            except RuntimeError as error:
                print(f"no CUDA graph: it cannot be recorded ({str(error).splitlines()[0]})", flush=True)
                self._recorder = None
                return self._work(inputs)
            self._inputs = kept
        torch._foreach_copy_(_tensors(self._inputs), _tensors(inputs))
        self._replay()
        return self._loss.clone()


def recorder_for(recipe: Recipe, machine: MachineParams, device: torch.device, ranks: Ranks) -> Recorder | None:
    """What records steps: None on a CPU and as `machine.cuda_graph` says, and, with a line, for what no graph holds."""
    if device.type != "cuda" or machine.cuda_graph == "off":
        return None
    reasons = {
        f"{ranks.world} processes exchange messages": ranks.world > 1,
        "recompute: true": recipe.recompute,
        f"optimiser.accumulate: {recipe.optimiser.accumulate}": recipe.optimiser.accumulate > 1,
        f"optimiser.kind: {recipe.optimiser.kind}": not is_recordable(recipe.optimiser.kind),
    }
    if why := [reason for reason, applies in reasons.items() if applies]:
        print(f"no CUDA graph: {', '.join(why)}")
        return None
    return Recorder()


def _tensors(inputs: StepInputs) -> list[Tensor]:
    found: list[Tensor] = []
    mapped(inputs, found.append)
    return found
