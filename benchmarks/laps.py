"""Timed passes over batches, made of the same parts as stage `train`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from birdcache.params.recipe import resolve_recipe
from birdcache.params.sections import MachineParams
from train.augment.batch import Batch, StepInputs
from train.augment.training_batches import TrainingBatches
from train.loop.graph import StepGraph, recorder_for
from train.loop.optim import make_recordable
from train.loop.split import TrainingSplit
from train.loop.step import TrainingStep


def everything(label: str) -> dict[str, Any]:
    """Section `augment` with all augmentations at once; `label` is that of the recordings without birds."""
    return {
        "gain_db": 6.0,
        "time_shift_s": 2.0,
        "mixup": {"probability": 0.4},
        "sumix": {"probability": 0.3},
        "cutmix": {"probability": 0.3},
        "eq": {"probability": 0.5},
        "background": {"probability": 0.5, "label": label},
        "noise": {"probability": 0.5},
        "spec_augment": {"mel_masks": 3, "time_masks": 3, "probability": 0.5},
    }


def changed(split: TrainingSplit, changes: Mapping[str, Any], backbone: str | None = None) -> TrainingSplit:
    """The same data with overrides of the recipe, no pretrained weights, and another backbone if one is given."""
    update = {"pretrained": False, **({"backbone": backbone} if backbone else {})}
    member = split.member.model_copy(
        update={
            "recipe": resolve_recipe(split.member.recipe, changes),
            "member": split.member.member.model_copy(update=update),
        }
    )
    return replace(split, member=member)


def start(split: TrainingSplit) -> tuple[TrainingStep, TrainingBatches]:
    """A model with random weights, ready for steps, and its batches."""
    model = split.model()
    batches = split.batches(model)
    training_step = TrainingStep(model, batches.planner.class_counts, split.member.recipe, split.device, split.ranks)
    training_step.begin_epoch(frozen=False)
    return training_step, batches


def graphed(
    split: TrainingSplit, machine: MachineParams, training_step: TrainingStep, batches: TrainingBatches
) -> Callable[[StepInputs], torch.Tensor] | None:
    """Steps by a CUDA graph, as a training takes them; None where it takes them as they are."""
    recorder = recorder_for(split.member.recipe, machine, split.device, split.ranks)
    if recorder is None:
        return None
    make_recordable(training_step.optimiser)
    graph = StepGraph(lambda inputs: training_step.learn(batches.transform(inputs)), recorder)

    def take(inputs: StepInputs) -> torch.Tensor:
        loss = graph(inputs)
        training_step.follow()
        return loss

    return take


@dataclass(frozen=True)
class Lap:
    """Duration of one pass over some batches, the part of it spent waiting for data, and the number of clips."""

    seconds: float
    waited_s: float
    clips: int


def train_lap(training_step: TrainingStep, batches: Iterable[tuple[Batch, float]], device: torch.device) -> Lap:
    """Take a training step on each batch."""
    synchronise(device)
    begin, waited_s, clips = time.perf_counter(), 0.0, 0
    for batch, batch_waited_s in batches:
        training_step.step(batch)
        waited_s += batch_waited_s
        clips += len(batch.clips)
    synchronise(device)
    return Lap(time.perf_counter() - begin, waited_s, clips)


def data_lap(batches: Iterable[tuple[Batch, float]], device: torch.device) -> Lap:
    """Prepare each batch without training on it."""
    synchronise(device)
    begin, clips = time.perf_counter(), 0
    for batch, _ in batches:
        clips += len(batch.clips)
    synchronise(device)
    return Lap(time.perf_counter() - begin, 0.0, clips)


def synchronise(device: torch.device) -> None:
    """Wait until the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def device_name(device: torch.device) -> str:
    """Name of the device."""
    return torch.cuda.get_device_name() if device.type == "cuda" else f"cpu, {torch.get_num_threads()} threads"
