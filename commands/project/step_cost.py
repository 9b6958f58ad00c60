"""What a member's training will cost: seconds on this machine, and how many clips a GPU's memory holds.

Sources: activations are what autograd saves for the backward pass (torch.autograd.graph.saved_tensors_hooks); AdamW
with a running mean keeps five copies of the weights with their gradient (Loshchilov & Hutter 2019).
"""

import time
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from birdcache.params.model import Params
from birdcache.params.views import multi_view
from birdcache.text import counted
from train.augment.normalise import channel_count
from train.model.classifier import build_model
from train.model.sizes import Clips

BATCH, STEPS = 8, 3
CLASSES = 2  # as good as any number for a cost
COPIES = 5  # of the weights: themselves, gradient, two moments, running mean
HALF = 0.5  # activations of a GPU's 16-bit numbers against float32 here
USABLE = 0.8  # of a GPU's memory; the rest is for its libraries, frames and fragments
GPUS_GB = (8, 16, 24, 80)


@dataclass(frozen=True)
class StepCost:
    """Cost of a training step, per clip."""

    clip_s: float  # seconds of computing on this machine
    activation_bytes: int  # of float32
    weight_bytes: int

    def clips_in(self, memory_gb: float) -> int:
        """Clips of one batch that a GPU with this memory holds, a multiple of 8."""
        left = memory_gb * 1e9 * USABLE - self.weight_bytes * COPIES
        return max(0, int(left / (self.activation_bytes * HALF)) // 8 * 8)


def measured_cost(params: Params, name: str) -> StepCost:
    """Train a member's network on noise for a few steps, and look at what they need."""
    member, recipe = params.members[name], params.recipe_of(name)
    view = multi_view([params.spectrograms[each] for each in member.views])
    clips, channels = Clips(view, recipe.clip_s), channel_count(view, recipe)
    model = build_model(member, CLASSES, view.n_mels, False, channels, clips).train()
    images_BCMT = torch.randn(BATCH, channels, *clips.size)
    saved: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    weights = {parameter.untyped_storage().data_ptr(): parameter.nbytes for parameter in model.parameters()}
    with saved_tensors_hooks(note, lambda tensor: tensor):
        model(images_BCMT)
    seconds = min(_step_s(model, images_BCMT) for _ in range(STEPS))
    activations = sum(size for pointer, size in saved.items() if pointer not in weights)
    return StepCost(seconds / BATCH, activations // BATCH, sum(weights.values()))


def _step_s(model: torch.nn.Module, images_BCMT: Tensor) -> float:
    """Seconds of a forward and a backward pass."""
    begin = time.perf_counter()
    logits = model(images_BCMT)
    (logits[0] if isinstance(logits, tuple) else logits).sum().backward()
    return time.perf_counter() - begin


def cost_lines(params: Params, recordings: int) -> list[str]:
    """Minutes of all folds on this machine, and batches of the first member that usual GPUs hold, as text."""
    folds, costs = params.folds, {name: measured_cost(params, name) for name in params.members}
    clips = recordings * (folds.count - 1) / folds.count * len(folds.train)
    seconds = sum(clips * params.recipe_of(name).epochs * cost.clip_s for name, cost in costs.items())
    name, cost = next(iter(costs.items()))
    batches = ", ".join(f"{cost.clips_in(memory_gb)} in {memory_gb} GB" for memory_gb in GPUS_GB)
    return [
        f"training takes about {seconds / 60:,.0f} minutes on this machine's processor, as measured now, for "
        f"{counted(len(folds.train), 'folds')}; fewer: folds.train, epochs",
        f"a GPU holds batches of about {batches} ({name}; batch_size, now {params.recipe_of(name).batch_size}); for "
        "twice the batch raise optimiser.lr by 1.4; with memory left, take a larger backbone or a longer clip_s",
    ]
