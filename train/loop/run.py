"""One training from its first epoch to its files: weights, sidecar, predictions, metrics."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load

from birdcache.arrays import Floats64
from birdcache.errors import TrainError, os_trouble
from birdcache.files import file_sha256, sha256_hex
from birdcache.params.sections import MachineParams
from birdcache.progress import Progress, no_progress
from birdcache.stage import clear
from cache import tables
from train.data.member import ResolvedMember
from train.loop.checkpoint import forget_checkpoints, key_of
from train.loop.distributed import ALONE, Ranks
from train.loop.finished import FinishedTraining
from train.loop.graph import recorder_for
from train.loop.history import Epoch
from train.loop.resume import Saver, checkpoints_root
from train.loop.split import TrainingSplit, open_split
from train.loop.trainer import Trainer
from train.loop.validation import Validation, split_lines
from train.model.weights import Sidecar, weights_bytes, write_model
from train.paths import MODELS, TRAINING_REPORTS, TRAININGS
from train.score.predictions import write_predictions

if TYPE_CHECKING:
    from dvclive.live import Live


@dataclass(frozen=True)
class RunFolders:
    """The folders of a training: one of weights and predictions, one of metrics."""

    name: str  # of the training in messages, such as base-0
    folder: Path
    report: Path


def place_of(member: str, fold: int) -> RunFolders:
    """The folders of stage `train@<member>-<fold>`."""
    name = f"{member}-{fold}"
    return RunFolders(name, MODELS / member / str(fold), TRAINING_REPORTS / name)


@dataclass(frozen=True)
class Run:
    """A training with the files that it writes; of several processes only the leading one writes."""

    member: ResolvedMember
    fold: int
    place: RunFolders
    leads: bool = True

    def train(self, trainer: Trainer, validation: Validation, saver: Saver | None = None) -> None:
        """Train, print and log every epoch, write the weights and the predictions for the validation fold.

        With a saver the training resumes from its newest checkpoint, and logs all epochs again: what was logged before
        the interruption is gone.
        """
        with ExitStack() as stack:
            if saver:
                stack.enter_context(saver.resuming(trainer))
            live = stack.enter_context(open_log(self.place.report)) if self.leads else None
            if live:
                for epoch in trainer.history.epochs:
                    log_epoch(live, epoch)
            done, total = trainer.clips(validation)
            progress = stack.enter_context(Progress(total, self.place.name, "clips", done=done)) if self.leads else None
            for epoch in trainer.run(validation, saver, progress.update if progress else no_progress):
                if progress:
                    progress.say("\n".join([epoch.line(self.member.recipe.epochs), *epoch.remarks]))
                if live:
                    log_epoch(live, epoch)
        self._write_results(trainer, validation)

    def _write_results(self, trainer: Trainer, validation: Validation) -> None:
        """Write the results of a training that has ended; the weights that the recipe keeps give the predictions."""
        kind, history, model = self.member.recipe.weights, trainer.history, trainer.training_step.kept
        weights, metrics, examples = history.weights(weights_bytes(model)), history.metrics(), validation.examples
        model.load_state_dict(load(weights[kind]))
        scores_NK, loss = validation.predict(model)
        metrics[kind] = validation.measured(model, scores_NK, loss)
        if not self.leads:
            return
        sidecar = Sidecar(
            labels=list(examples.labels),
            fold=self.fold,
            member=self.member,
            folds_sha256=file_sha256(tables.FOLDS.path),
            sha256={kind: sha256_hex(content) for kind, content in weights.items()},
            metrics=metrics,
        )
        write_model(self.place.folder, weights, sidecar)
        write_predictions(self.place.folder, examples.names, scores_NK)


def train(
    member: ResolvedMember,
    fold: int,
    place: RunFolders,
    machine: MachineParams,
    device: torch.device,
    ranks: Ranks = ALONE,
) -> None:
    """Train a member on a fold, as one of several processes or alone."""
    train_split(open_split(member, fold, machine, ranks.device(device), ranks), place, machine)


def train_split(split: TrainingSplit, place: RunFolders, machine: MachineParams) -> None:
    """Train on a split, resume from a checkpoint, or take what the same training has left before."""
    recipe, ranks, fingerprint = split.member.recipe, split.ranks, split.fingerprint()
    results, checkpoints = {"model": place.folder, "report": place.report}, checkpoints_root(machine)
    finished = FinishedTraining(TRAININGS / place.folder / key_of(fingerprint), results)
    known = finished.is_intact()
    if ranks.leads:
        clear(*results.values())
    if known:
        if ranks.leads:
            finished.restore()
            print(f"{place.name}: was trained before; taken from {finished.folder} (to train again, remove it)")
        return
    ranks.check_batch(recipe.batch_size)
    model = split.model()
    recorder = recorder_for(recipe, machine, split.device, ranks)
    trainer = Trainer(model, split.batches(model), recipe, split.device, ranks, place.name, recorder)
    print(f"{place.name}: {trainer.training_step.line}")
    print("\n".join(split_lines(split.trained, split.validated, recipe, split.windows)))
    saver = Saver(checkpoints / place.folder, fingerprint, machine, ranks, split.device)
    Run(split.member, split.fold, place, ranks.leads).train(trainer, split.validation(), saver)
    if ranks.leads:
        try:
            finished.keep()
        except OSError as error:  # the results are written: a copy of them is no reason to fail
            print(f"warning: {place.name}: is not kept in case a change is undone: {os_trouble(error)}")
        forget_checkpoints(checkpoints, place.folder / key_of(fingerprint))


def open_log(folder: Path) -> Live:
    """Open DVCLive's log; a TrainError if the git repository has no commit yet, which DVCLive needs."""
    from dvclive.live import Live  # here, since benchmarks of training run where DVC is not installed
    from scmrepo.exceptions import SCMError

    try:
        return Live(str(folder), dvcyaml=None, save_dvc_exp=False, report=None)
    except SCMError as error:
        raise TrainError(f"git: {error}; make a first commit: `git add --all && git commit`") from error


def log_epoch(live: Live, epoch: Epoch) -> None:
    """Write an epoch's numbers for `dvc metrics`, `dvc plots` and `dvc exp show`."""
    live.log_metric("train/loss", epoch.train_loss)
    if epoch.teacher_loss:
        live.log_metric("train/teacher_loss", epoch.teacher_loss)
    for name, value in epoch.metrics.items():
        live.log_metric(f"validation/{name.replace('.', '/')}", value)  # a dot would begin a file's suffix
    live.log_metric("learning_rate", epoch.learning_rate)
    live.log_metric("clips_per_s", epoch.clips_per_s)
    live.log_metric("epoch_s", epoch.elapsed_s)
    live.log_metric("waiting_share", epoch.waiting)
    live.log_metric("busy_share", epoch.busy)
    if epoch.device_waiting is not None:
        live.log_metric("device_waiting_share", epoch.device_waiting)
    live.next_step()  # type: ignore[no-untyped-call]


def logged_path(report: Path, metric: str) -> Path:
    """The file of a metric in a training's log."""
    return report / "plots" / "metrics" / f"{metric}.tsv"


def logged(report: Path, metric: str) -> Floats64:
    """A metric after each epoch of a training; NaN after epochs without a validation, if it is of one."""
    by_epoch = pd.read_csv(logged_path(report, metric), sep="\t", index_col="step").iloc[:, -1]
    return by_epoch.reindex(range(by_epoch.index[-1] + 1)).to_numpy(np.float64)
