"""Stage `train@<member>-<fold>`: train one member on one fold."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial

import torch

import params as parameters
from cache.store import Store
from errors import run_stage
from params import MachineParams
from train.batches import TrainingBatches
from train.errors import TrainError
from train.examples import Examples, read_examples, read_labels
from train.finish import Finisher
from train.launch import run_together
from train.loop import Trainer
from train.members import ResolvedMember, read_member
from train.model import Classifier, build_model, choose_device
from train.normalise import Normaliser
from train.paths import store_path
from train.plans import Planner
from train.ranks import ALONE, Ranks
from train.residence import Frames, open_frames
from train.run import Place, Run, place_of
from train.split_report import check_split, split_lines
from train.statistics import bin_statistics
from train.trim import trimmed
from train.validation import Validation

VALIDATION_BATCH = 64


def main() -> None:
    """Train the `<member>-<fold>` that the command line names; see `train.run.Run` for what it writes."""
    name, fold = split_run(sys.argv[1])
    machine = parameters.load().machine
    device = choose_device(machine.device)
    run_together(partial(train, read_member(name), fold, place_of(name, fold), machine, device), machine, device)


def train(
    member: ResolvedMember,
    fold: int,
    place: Place,
    machine: MachineParams,
    device: torch.device,
    ranks: Ranks = ALONE,
) -> None:
    """Train a member on a fold, as one of several processes or alone."""
    split = open_split(member, fold, machine, ranks.device(device), ranks)
    recipe = split.member.recipe
    ranks.check_batch(recipe.batch_size)
    print("\n".join(split_lines(split.trained, split.validated, recipe)))
    model = split.model()
    trainer = Trainer(model, split.batches(model), recipe, split.device, ranks, place.name)
    Run(member, fold, place, ranks.leads).train(trainer, split.validation())


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


@dataclass(frozen=True)
class Split:
    """A member and the recordings that it is trained and validated on; makes what a training consists of."""

    member: ResolvedMember
    fold: int
    trained: Examples
    validated: Examples
    frames: Frames
    device: torch.device
    ranks: Ranks

    def model(self) -> Classifier:
        """The member's model before its first step."""
        member, recipe = self.member, self.member.recipe
        seed = recipe.seed * 1000 + self.fold
        torch.manual_seed(seed)
        channels = len(recipe.channels)
        model = build_model(member.member, self.trained.classes, member.view.n_mels, member.member.pretrained, channels)
        model = model.to(self.device)
        model.check_clips(member.view.frames(recipe.clip_s))
        if recipe.normalise == "bins":
            model.statistics = bin_statistics(self.trained, self.frames, member.view, recipe)
        torch.manual_seed(seed + self.ranks.rank)  # dropout differs from process to process, the weights must not
        return model

    def batches(self, model: Classifier) -> TrainingBatches:
        """The batches that the model is trained on."""
        member, recipe = self.member, self.member.recipe
        finisher = Finisher(member.view, recipe, Normaliser(member.view, recipe, model.statistics), self.device)
        return TrainingBatches(Planner(self.trained, member.view, recipe, self.ranks), self.frames, finisher)

    def validation(self) -> Validation:
        """What measures the model."""
        member = self.member
        return Validation(
            self.validated, self.frames, member.view, member.recipe, self.device, VALIDATION_BATCH, self.ranks
        )


def open_split(
    member: ResolvedMember, fold: int, machine: MachineParams, device: torch.device, ranks: Ranks = ALONE
) -> Split:
    """Open a member's recordings, and say where they are read from.

    Raises
    ------
    TrainError
        If another store lies in the place of the member's, or a side of the split is empty.
    """
    store = open_store(member)
    examples, folds = read_examples(store, read_labels())
    if member.recipe.trim_db:
        examples = trimmed(examples, store, member.recipe.trim_db)
    trained, validated = examples.subset(folds != fold), examples.subset(folds == fold)
    check_split(member.name, fold, trained, validated)
    frames, line = open_frames(store, device, machine)
    print(line)
    return Split(member, fold, trained, validated, frames, device, ranks)


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


if __name__ == "__main__":
    run_stage(main)
