"""What a training step no longer does, each beside the step as it was; on any device, in turns.

`in_place`: forward and backward with activations in place, as timm makes them / not in place.
`clones`: copies that autograd makes of in-place activations in a forward pass.
`running_mean`: timm's ModelEmaV3 / ours, `running_mean_ms` ours.
`seed_ms`: seeding a step, which is left out where nothing is drawn.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import timm
import torch
from timm.utils.model_ema import ModelEmaV3
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.timing import best, interleaved, parse_arguments, ratio, report
from birdcache.process import keep_heap
from train.loop.step import RunningMean
from train.model.classifier import Classifier

BACKBONE, CLIPS, MEL_BINS, FRAMES = "efficientnet_b0", 8, 128, 157


def main() -> None:
    """Measure, print a table, write JSON if asked."""
    arguments = parse_arguments(__doc__ or "")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    keep_heap()
    as_made = timm.create_model(BACKBONE, in_chans=1, num_classes=206).to(device)
    as_made = as_made.to(memory_format=torch.channels_last)
    plain = copy.deepcopy(as_made)
    in_place: list[Any] = [module for module in plain.modules() if getattr(module, "inplace", False)]
    for module in in_place:
        module.inplace = False
    images = torch.randn(CLIPS, 1, MEL_BINS, FRAMES, device=device).to(memory_format=torch.channels_last)
    model = Classifier(as_made, MEL_BINS).to(device)
    ours, timms = RunningMean(model, 0.999), ModelEmaV3(model, 0.999, use_warmup=True, warmup_power=0.75)
    arms: dict[str, Callable[[], None]] = {
        "in place": lambda: step(as_made, images),
        "not in place": lambda: step(plain, images),
        "timm": lambda: timms.update(model, step=100),
        "ours": lambda: ours.update(100),
        "seed": seed,
    }
    seconds = interleaved(arms, arguments.rounds)
    numbers = {
        "in_place": ratio(seconds["in place"], seconds["not in place"]),
        "clones": Clones.of(as_made, images) - Clones.of(plain, images),
        "running_mean": ratio(seconds["timm"], seconds["ours"]),
        "running_mean_ms": 1000 * best(seconds["ours"]),
        "seed_ms": 1000 * best(seconds["seed"]),
    }
    report(numbers, arguments.json)


def step(network: nn.Module, images: torch.Tensor) -> None:
    """Forward and backward; waits for the device."""
    network.zero_grad(set_to_none=True)
    network(images).square().mean().backward()
    if images.device.type == "cuda":
        torch.cuda.synchronize()


def seed() -> None:
    """As a step that draws is seeded."""
    torch.manual_seed(int(np.random.SeedSequence((1, 2, 3, 0)).generate_state(1, np.uint64)[0]))


class Clones(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts copies of whole tensors."""

    count: int = 0

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        """Count and call."""
        self.count += function.overloadpacket.__name__ == "clone"
        return function(*arguments, **(named or {}))

    @classmethod
    def of(cls, network: nn.Module, images: torch.Tensor) -> int:
        """Those of a forward pass."""
        with cls() as counted:
            network(images)
        return int(counted.count)


if __name__ == "__main__":
    main()
