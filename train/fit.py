"""Stage `train@<member>-<fold>`: train one member on one fold."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from dvclive.live import Live
from safetensors.torch import load
from scmrepo.exceptions import SCMError

import params as parameters
from cache.files import file_sha256, sha256_hex
from cache.store import Store
from errors import run_stage
from train import members
from train.batches import TrainingBatches
from train.checkpoint import Sidecar, write_model
from train.curves import draw_curves
from train.errors import TrainError
from train.examples import Examples, read_examples, read_labels
from train.loop import Epoch, Trainer
from train.members import ResolvedMember
from train.model import build_model, choose_device
from train.paths import FOLDS, MODELS, TRAINING_REPORTS, store_path
from train.residence import open_frames
from train.sampling import effective_counts
from train.validation import Validation

VALIDATION_BATCH = 64


def main() -> None:
    """Train the `<member>-<fold>` that the command line names; see `Run.folder` and `Run.report` for what it writes."""
    name, fold = split_run(sys.argv[1])
    machine = parameters.load().machine
    member = members.read_member(name)
    labels = read_labels()
    store = open_store(member)
    examples, folds = read_examples(store, labels)
    device = choose_device(machine.device)
    frames, line = open_frames(store, device, machine)
    print(line)
    run = Run(member, fold, labels, device)
    trained, validated = examples.subset(folds != fold), examples.subset(folds == fold)
    check_split(name, fold, trained, validated)
    batches = TrainingBatches(trained, frames, member.view, member.recipe, device)
    print_split(batches, trained, validated, labels)
    validation = Validation(validated, frames, member.view, member.recipe, device, VALIDATION_BATCH)
    run.train(batches, validation)


def split_run(run: str) -> tuple[str, int]:
    """'base-0' -> ('base', 0).

    Raises
    ------
    TrainError
        If it is not `<member>-<fold>`.
    """
    name, _, fold = run.rpartition("-")
    if not name or not fold.isdigit():
        raise TrainError(f"{run!r}: must be <member>-<fold>, such as base-0")
    return name, int(fold)


def open_store(member: ResolvedMember) -> Store:
    """Open the store that the member was resolved against.

    Raises
    ------
    TrainError
        If another store lies in its place.
    """
    store = Store(store_path(member.member.view), member.view)
    if store.digest != member.store_digest:
        raise TrainError(f"{store.path}: changed after member {member.name} was resolved; run `dvc repro`")
    return store


def check_split(name: str, fold: int, trained: Examples, validated: Examples) -> None:
    """Refuse a fold that nothing can be learned or measured on.

    Raises
    ------
    TrainError
        If either side of the split is empty.
    """
    for side, examples in (("train", trained), ("validate", validated)):
        if not len(examples):
            raise TrainError(
                f"{name}-{fold}: no recording is left to {side} on; see reports/folds.csv and lower folds.count"
            )


def print_split(batches: TrainingBatches, trained: Examples, validated: Examples, labels: Sequence[str]) -> None:
    """Say what is trained on, and how often an epoch draws the rarest and the commonest classes."""
    sampler = batches.sampler
    expected = effective_counts(trained.primary, sampler.probability_N, sampler.clips, len(labels))
    counts = np.bincount(trained.primary, minlength=len(labels))
    order = np.argsort(counts, kind="stable")
    print(
        f"training on {len(trained)} recordings, {sampler.clips} clips an epoch; "
        f"validating on {len(validated)} recordings"
    )
    shown = [int(k) for k in (*order[:3], *order[-3:])] if len(order) > 6 else order.tolist()
    print(
        "clips an epoch draws of a class: "
        + ", ".join(f"{labels[k]} {expected[k]:.1f} (has {counts[k]})" for k in shown)
    )
    if missing := [label for label, count in zip(labels, counts, strict=True) if count == 0]:
        print(f"warning: no recording of {', '.join(missing)} is trained on in this fold")


@dataclass(frozen=True)
class Run:
    """One training: where it writes and what it writes about itself."""

    member: ResolvedMember
    fold: int
    labels: list[str]
    device: torch.device

    @property
    def folder(self) -> Path:
        """Where the weights go."""
        return MODELS / self.member.name / str(self.fold)

    @property
    def report(self) -> Path:
        """Where metrics and curves go."""
        return TRAINING_REPORTS / f"{self.member.name}-{self.fold}"

    def train(self, batches: TrainingBatches, validation: Validation) -> None:
        """Train, log every epoch, write the weights and the predictions for the validation fold."""
        recipe = self.member.recipe
        torch.manual_seed(recipe.seed * 1000 + self.fold)
        model = build_model(self.member.member, len(self.labels), self.member.member.pretrained).to(self.device)
        history: list[Epoch] = []
        weights: dict[str, bytes] = {}
        metrics: dict[str, dict[str, float]] = {}
        with open_log(self.report) as live:
            for epoch, new_weights in Trainer(model, batches, recipe, self.device).run(validation):
                print(epoch.line(recipe.epochs), flush=True)
                log_epoch(live, epoch)
                history.append(epoch)
                weights |= new_weights
                metrics |= dict.fromkeys(new_weights, epoch.metrics)
        self._write(weights, metrics)
        self._write_predictions(model, weights, validation)
        draw_curves(history, self.report / "curves.png", f"{self.member.name}-{self.fold}")

    def _write(self, weights: dict[str, bytes], metrics: dict[str, dict[str, float]]) -> None:
        sidecar = Sidecar(
            labels=self.labels,
            fold=self.fold,
            member=self.member,
            folds_sha256=file_sha256(FOLDS),
            sha256={kind: sha256_hex(content) for kind, content in weights.items()},
            metrics=metrics,
        )
        write_model(self.folder, weights, sidecar)

    def _write_predictions(self, model: torch.nn.Module, weights: dict[str, bytes], validation: Validation) -> None:
        """Out-of-fold scores by the weights that the recipe keeps: models/<member>/<fold>/predictions.npz."""
        model.load_state_dict(load(weights[self.member.recipe.weights]))
        scores_NK, _ = validation.predict(model)
        names = np.array(validation.examples.names)
        np.savez_compressed(self.folder / "predictions.npz", recording=names, scores=scores_NK)


def open_log(folder: Path) -> Live:
    """Open DVCLive's log.

    Raises
    ------
    TrainError
        If the git repository has no commit yet, which DVCLive cannot bear.
    """
    try:
        return Live(str(folder), dvcyaml=None, save_dvc_exp=False, report=None)
    except SCMError as error:
        raise TrainError(f"git: {error}; make a first commit: `git add --all && git commit`") from error


def log_epoch(live: Live, epoch: Epoch) -> None:
    """Write an epoch's numbers for `dvc metrics`, `dvc plots` and `dvc exp show`."""
    live.log_metric("train/loss", epoch.train_loss)
    for name, value in epoch.metrics.items():
        live.log_metric(f"validation/{name}", value)
    live.log_metric("learning_rate", epoch.learning_rate)
    live.log_metric("clips_per_s", epoch.clips_per_s)
    live.log_metric("waiting_share", epoch.waiting)
    live.next_step()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    run_stage(main)
