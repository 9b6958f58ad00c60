"""The training loop: one epoch after another, each followed by a validation and one printed line."""

import time
from collections.abc import Iterator
from functools import partial
from itertools import islice

import numpy as np
import torch
from safetensors.torch import load, save

from birdcache.errors import TrainError
from birdcache.params.recipe import Recipe
from birdcache.progress import Advance, no_progress
from train.augment.batch import StepInputs
from train.augment.training_batches import TrainingBatches
from train.data.batch_plan import Planner
from train.data.loader import DeviceClock
from train.loop.checkpoint import STATE, Checkpoint
from train.loop.distributed import ALONE, Ranks
from train.loop.graph import Recorder, StepGraph
from train.loop.history import DivergenceCheck, Epoch, History
from train.loop.optim import learning_rate, make_recordable, set_rate
from train.loop.resume import Saver
from train.loop.step import TrainingStep
from train.loop.validation import Validation
from train.model.classifier import Classifier
from train.model.weight_file import check_values
from train.model.weights import weights_bytes


class Trainer:
    """Trains one model on one fold; `name` is that of the training in messages, such as `base-0`.

    With a recorder, steps are recorded and replayed.
    """

    def __init__(
        self,
        model: Classifier,
        batches: TrainingBatches,
        recipe: Recipe,
        device: torch.device,
        ranks: Ranks = ALONE,
        name: str = "training",
        recorder: Recorder | None = None,
    ) -> None:
        planner = batches.planner
        self.training_step = TrainingStep(model, planner.class_counts, recipe, device, ranks, planner.teacher)
        self.history, self.name = History.start(recipe, device), name
        self._batches, self._recipe, self._device = batches, recipe, device
        self._rank, self._world = ranks.rank, ranks.world
        self._draws: bool | None = None  # whether steps draw random numbers, as for dropout; None before the first
        self._steps = -(-len(batches) // recipe.optimiser.accumulate)  # of an epoch
        self._next_waits: DeviceClock | None = None
        self._coming: Iterator[tuple[list[StepInputs], float]] | None = None  # what the next epoch begins with
        self._graph: StepGraph | None = None
        if recorder:
            training_step = self.training_step  # alone: what the graph holds must not hold this trainer
            make_recordable(training_step.optimiser)
            self._graph = StepGraph(lambda inputs: training_step.learn(batches.transform(inputs)), recorder)
        self._start_epoch()

    def run(
        self, validation: Validation, saver: Saver | None = None, advance: Advance = no_progress
    ) -> Iterator[Epoch]:
        """Train the epochs that are left; yields what each did.

        Ends early after `patience` epochs without a better one; the schedule of the learning rate is as if it did not.
        `advance` counts the clips trained on or scored, of all processes.

        A TrainError if an epoch has no batch, the loss is not finite, or the saver stops the training.
        """
        if not len(self._batches):
            raise TrainError(
                f"{self.name}: an epoch draws only one clip per process, but batch norm needs two; "
                "add recordings or raise sampling.clips_per_epoch"
            )
        while not self.history.ended:
            epoch = self._epoch(validation, saver, advance)
            epoch = self.history.add(epoch, weights_bytes(self.training_step.kept))
            self._start_epoch()
            yield epoch
            if saver:
                saver.after_epoch(self, self.history.ended)

    def checkpoint(self) -> Checkpoint:
        """The state that `resume` continues from; all of several processes must call it.

        A TrainError if the loss is not finite.
        """
        self._divergence.check()
        tensors, numbers = self.training_step.state()
        totals = self.history.totals
        totals.device_s, totals.busy_s = self._waits.total_s(), self._busy.total_s()
        tensors["loss"] = totals.loss.cpu()
        files = {STATE: save(tensors), **self.history.files()}
        return Checkpoint({"learner": numbers, "course": self.history.record()}, files)

    def resume(self, checkpoint: Checkpoint) -> None:
        """Continue from a checkpoint of the same training."""
        tensors = load(checkpoint.files[STATE])
        check_values(f"{self.name}: its checkpoint", tensors, "remove it")
        self.training_step.resume(tensors, checkpoint.facts["learner"])
        self.history.resume(checkpoint.facts["course"], checkpoint.files, tensors["loss"].to(self._device))
        self._coming = self._next_waits = None
        if self._graph:
            self._graph.forget()
        self._start_epoch()

    def clips(self, validation: Validation) -> tuple[int, int]:
        """Clips that have been trained on or scored, and those of the whole training, of all processes."""
        done, trained, windows = len(self.history.epochs), self._batches.planner.clips, validation.windows
        scored = len(validation.clips) + (len(windows.clips) if windows else 0)
        of_epoch = [trained + scored * self.history.validates(number) for number in range(self._recipe.epochs)]
        return sum(of_epoch[:done]) + self.history.totals.clips, sum(of_epoch)

    @property
    def position(self) -> str:
        """Progress in words."""
        epochs, done = self._recipe.epochs, len(self.history.epochs)
        if self.history.ended:
            return f"after epoch {done}, its last"
        return f"in epoch {done + 1} of {epochs}, after step {self.history.totals.steps} of {self._steps}"

    def _epoch(self, validation: Validation, saver: Saver | None, advance: Advance) -> Epoch:
        number, totals = len(self.history.epochs), self.history.totals
        begin = time.perf_counter() - totals.elapsed_s
        if self.training_step.begin_epoch(frozen=number < self._recipe.optimiser.freeze_epochs) and self._graph:
            self._graph.forget()
        for group, waited_s in self._coming or self._groups(number, totals.steps, self._waits):
            rate = self._set_rate(number, totals.steps)
            self._busy.begin()
            loss = self._seeded_step(number, totals.steps, group)
            self._busy.end()
            clips = self._world * sum(inputs.size for inputs in group)
            totals.add(loss, clips, waited_s)
            advance(clips)
            totals.elapsed_s = time.perf_counter() - begin
            self._divergence.after_step(loss, rate)
            if saver:
                saver.after_step(self)
        # the last check of the loss has waited for the device, so this is the time of the whole epoch
        totals.elapsed_s = time.perf_counter() - begin
        self._coming = None
        if number + 1 < self._recipe.epochs:  # the first batches of the next epoch are ready when this one is measured
            self._next_waits = DeviceClock(self._device)
            self._coming = self._groups(number + 1, 0, self._next_waits)
        measure = partial(self._measured, validation, advance)
        return self._epoch_record(number, saver.interruptible(self, measure) if saver else measure())

    def _seeded_step(self, epoch: int, step: int, group: list[StepInputs]) -> torch.Tensor:
        """A step whose random numbers follow from its place; without any, as the first step shows, seeding is left."""
        if self._draws is not False:
            self._seed(epoch, step)
        before = self._random_state() if self._draws is None else None
        if self._graph:
            loss = self._graph(*group)
            self.training_step.follow()
        else:
            loss = self.training_step.step(*map(self._batches.transform, group))
        if before is not None:
            self._draws = not torch.equal(before, self._random_state())
        return loss

    def _random_state(self) -> torch.Tensor:
        return torch.cuda.get_rng_state(self._device) if self._device.type == "cuda" else torch.get_rng_state()

    def _measured(self, validation: Validation, advance: Advance) -> dict[str, float]:
        self.training_step.end_epoch()
        if not self.history.validates(len(self.history.epochs)):
            return {}
        return validation.metrics(self.training_step.kept, f"{self._where}, validation", advance)

    def _start_epoch(self) -> None:
        """Set up the epoch that is under way, or the next one."""
        number, totals = len(self.history.epochs), self.history.totals
        self._where = f"{self.name}, epoch {number + 1}"
        self._waits = self._next_waits or DeviceClock(self._device, totals.device_s)
        self._busy, self._next_waits = DeviceClock(self._device, totals.busy_s), None
        # none of it may refer to this trainer: a cycle would keep store, model and optimiser in memory
        recordings = partial(recordings_of, self._batches.planner, self._recipe.optimiser.accumulate, number)
        self._divergence = DivergenceCheck(self._where, self._steps, recordings, totals.steps, self.training_step.scale)

    def _epoch_record(self, number: int, metrics: dict[str, float]) -> Epoch:
        """The record of the epoch that has just ended."""
        totals, on_gpu = self.history.totals, self._device.type == "cuda"
        taught = float(self.training_step.taught) / totals.clips
        self.training_step.taught.zero_()
        return Epoch(
            number,
            float(totals.loss) / totals.clips,
            metrics,
            totals.clips / totals.elapsed_s,
            totals.waited_s / totals.elapsed_s,
            self._set_rate(number, self._steps - 1),
            self._waits.total_s() / totals.elapsed_s if on_gpu else None,
            self._busy.total_s() / totals.elapsed_s,
            elapsed_s=totals.elapsed_s,
            teacher_loss=taught,
        )

    def _groups(self, epoch: int, done: int, waits: DeviceClock) -> Iterator[tuple[list[StepInputs], float]]:
        """The inputs of each step of an epoch that is left."""
        size = self._recipe.optimiser.accumulate
        return grouped(self._batches.inputs(epoch, done * size, waits), size)

    def _seed(self, epoch: int, step: int) -> None:
        """Let dropout and stochastic depth draw by place: a resumed training drops what it would have dropped."""
        place = (self._recipe.seed, epoch, step, self._rank)
        torch.manual_seed(int(np.random.SeedSequence(place).generate_state(1, np.uint64)[0]))

    def _set_rate(self, epoch: int, step: int) -> float:
        optimiser = self._recipe.optimiser
        rate = learning_rate(epoch * self._steps + step, self._steps, self._recipe.epochs, optimiser)
        set_rate(self.training_step.optimiser, rate)
        return rate


def recordings_of(planner: Planner, size: int, epoch: int, step: int) -> list[str]:
    """The recordings that went into a step, which is of `size` batches."""
    batches = range(step * size, min((step + 1) * size, len(planner)))
    return list(dict.fromkeys(name for number in batches for name in planner.recordings(epoch, number)))


def grouped(batches: Iterator[tuple[StepInputs, float]], size: int) -> Iterator[tuple[list[StepInputs], float]]:
    """Batches in groups of `size`, the last perhaps smaller, each with the seconds waited for all of them."""
    while group := list(islice(batches, size)):
        yield [batch for batch, _ in group], sum(waited_s for _, waited_s in group)
