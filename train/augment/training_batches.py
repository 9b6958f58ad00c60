"""The training batches of a fold: planned, staged if the device does not hold the store, and finished on the device.

B clip, X sounds of a batch, T frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from birdcache.params.views import each_of
from train.augment.batch import Batch, BatchTransform, StepInputs
from train.augment.ops import to_device
from train.data.batch_plan import BatchPlan, Planner
from train.data.columns import mapped, part
from train.data.frames import NOTHING, DeviceFrames, Frames, Uploaded
from train.data.loader import DeviceClock, ahead

if TYPE_CHECKING:
    from train.augment.kernel import Kernel

KNOWN = frozenset(  # augmentations of the kernel or of what follows it; a recipe with others gets torch's operations
    ("gain_db", "time_shift_s", "mixup", "sumix", "cutmix", "eq", "background", "noise", "spec_augment", "windows",
     "windows_override", "mixstyle", "reverse", "lowpass", "distance", "tempo", "shorter")
)  # fmt: skip


class TrainingBatches:
    """The training batches of a fold, drawn by (seed, epoch, index).

    The plan of an epoch lies on the device. If a GPU's memory holds the store too, nothing else is copied; else a
    thread stages frames ahead of their use, in one copy a batch.
    """

    def __init__(self, planner: Planner, frames: Frames, augment: BatchTransform) -> None:
        self.planner, self.augment, self._frames = planner, augment, frames
        self._teacher = planner.teacher if planner.teacher and planner.teacher.output else None
        self._stages_windows = self._teacher is not None and not isinstance(self._teacher.frames, DeviceFrames)
        is_resident = augment.full and not self._stages_windows
        self._resident = frames if is_resident and isinstance(frames, DeviceFrames) else None
        has_known = KNOWN.issuperset(type(augment.recipe.augment).model_fields)
        self._uses_kernel = augment.device.type == "cuda" and len(each_of(augment.view)) == 1 and has_known

    def __len__(self) -> int:
        """Batches of an epoch."""
        return len(self.planner)

    def inputs(
        self, epoch: int, first: int = 0, waits: DeviceClock | None = None
    ) -> Iterator[tuple[StepInputs, float]]:
        """The inputs of an epoch's batches from number `first` on, each with the seconds spent waiting for its data.

        A thread plans, pins and copies to the device meanwhile, from now on, whether they are asked for or not: capture
        a CUDA graph in mode `thread_local`.
        """
        if self._resident:
            pieces = ((self.numbers(plan), NOTHING) for plan in self.planner.pieces(epoch, first))
            return self._cut(ahead(pieces, waits, count=1))
        coming = ahead(self._staged(epoch, first), waits)
        return ((self._received(inputs, staged), took_s) for (inputs, staged), took_s in coming)

    def _received(self, inputs: StepInputs, staged: Uploaded) -> StepInputs:
        if self._teacher is None or not self._stages_windows:
            return inputs._replace(codes=self._frames.codes(staged))
        clips, windows = staged.beside
        told = inputs.teacher._replace(codes=self._teacher.frames.codes(windows))
        return inputs._replace(codes=self._frames.codes(clips), teacher=told)

    def _cut(self, pieces: Iterator[tuple[tuple[StepInputs, Any], float]]) -> Iterator[tuple[StepInputs, float]]:
        for (numbers, _), waited_s in pieces:
            for rows in self._batches(numbers):
                yield part(numbers, rows), waited_s
                waited_s = 0.0

    def transform(self, inputs: StepInputs) -> Batch:
        """Gather, mix and present the clips of a batch, and what a teacher says of them.

        On a GPU a function of the inputs and of the memory that holds the store: it copies nothing to the device, waits
        for nothing, and its shapes are those of the inputs, so that a CUDA graph can hold it together with the step.
        """
        batch = self._made(inputs)
        return replace(batch, taught=self._teacher.taught(inputs.teacher)) if self._teacher else batch

    def _made(self, inputs: StepInputs) -> Batch:
        if self._uses_kernel:
            try:
                return self._by_kernel(inputs)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:  # no Triton, no compiler, or none for this GPU; torch meets all other errors
                self._uses_kernel = False
                why = " ".join(str(error).split())[:200]
                print(f"batches are made by torch, one operation after another, since Triton cannot be used: {why}")
        if self._resident is None:
            return self.augment(self._frames.decode(inputs.codes), inputs)
        place_XT = self.planner.places(inputs.sounds, self._resident.padding)
        return self.augment(self._frames.decode(self._resident.gather(place_XT)), inputs)

    @cached_property
    def _kernel(self) -> Kernel:
        from train.augment.kernel import Kernel  # Triton is not there for every system

        augment, padding, recipe = self.augment, self._resident.padding if self._resident else None, self.augment.recipe
        of_all = recipe.of_all_clips.augment
        is_changed = any(each.probability for each in (of_all.mixstyle, of_all.reverse, of_all.tempo))
        finishes = recipe.channels == ["level"] and recipe.normalise == "clip" and not is_changed
        of_recipe = augment.view, recipe, self._frames.quantizer, self.planner.sounds, padding, augment.noise
        return Kernel(*of_recipe, finishes, augment.dtype)

    def _by_kernel(self, inputs: StepInputs) -> Batch:
        codes = self._resident.stored if self._resident else inputs.codes[0]
        made = self._kernel(codes, inputs.sounds, inputs.effects, self.augment.tones(inputs.effects))
        return Batch(made, *inputs[3:6]) if self._kernel.finishes else self.augment.present(made, inputs)

    def epoch(self, epoch: int, first: int = 0) -> Iterator[tuple[Batch, float]]:
        """The batches of an epoch from number `first` on, each with the seconds spent waiting for its data."""
        for inputs, waited_s in self.inputs(epoch, first):
            yield self.transform(inputs), waited_s

    def read(self, plan: BatchPlan) -> tuple[Tensor, StepInputs]:
        """The stored values of planned clips and of their other sounds, as `augment` takes them, and their numbers."""
        staged = self._frames.stage(*self.planner.clips_of(plan, self.augment.full))
        return self._frames.finish(staged), self.numbers(plan)

    def _staged(self, epoch: int, first: int) -> Iterator[tuple[StepInputs, Uploaded]]:
        for plan in self.planner.pieces(epoch, first):
            numbers = self.numbers(plan)
            for rows in self._batches(numbers):
                each = part(plan, rows)
                staged = self._frames.stage(*self.planner.clips_of(each, self.augment.full))
                if self._teacher is not None and self._stages_windows:
                    staged = Uploaded(NOTHING.tensor, None, (staged, self._teacher.stage(each.teacher)))
                yield part(numbers, rows), staged

    def _batches(self, numbers: StepInputs) -> Iterator[slice]:
        """The rows of each batch."""
        for begin in range(0, numbers.size, self.planner.batch_size):
            yield slice(begin, begin + self.planner.batch_size)

    def numbers(self, plan: BatchPlan) -> StepInputs:
        """A plan on the device, without codes."""
        place = self._resident.place(plan.row, plan.first) if self._resident else plan.first
        sounds = np.stack([place, plan.frames, plan.start], axis=2)
        arrays: tuple[Any, ...] = (sounds, plan.effects, plan.targets, plan.weights, plan.importance, plan.teacher)
        return StepInputs((), *mapped(arrays, lambda array: to_device(array, self.augment.device)))
