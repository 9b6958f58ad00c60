"""Stage `train@<member>-<fold>`: train one member on one fold."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial

import torch

from birdcache.errors import TrainError, run_stage
from birdcache.params import load as parameters
from birdcache.params.load import MachineParams
from birdcache.params.views import each_of
from cache.store import Store
from train.augment.batch import BatchTransform
from train.augment.normalise import Normaliser, channel_count
from train.augment.statistics import bin_statistics
from train.data.batch_plan import Planner
from train.data.examples import Examples, read_examples, read_labels
from train.data.frames import Frames
from train.data.loader import TrainingBatches
from train.data.multi_view import held_by_all, open_multi_view
from train.data.pseudo_clips import PseudoClips
from train.data.spans import with_annotated_times
from train.data.trim import trimmed
from train.loop.checkpoint import forget_finished
from train.loop.distributed import ALONE, Ranks
from train.loop.fingerprint import digest, environment
from train.loop.launch import run_together
from train.loop.loop import Trainer
from train.loop.resume import Saver, checkpoints_root
from train.loop.run import AnyPath, Run, place_of
from train.loop.split_summary import check_split, split_lines
from train.loop.validation import Validation
from train.members import ResolvedMember, joint_digest, read_member
from train.model.classifier import Classifier, build_model, choose_device
from train.model.weight_file import find_source
from train.paths import store_path

VALIDATION_BATCH = 64


def main() -> None:
    """Train the `<member>-<fold>` that the command line names; see `train.loop.run.Run` for what it writes."""
    name, fold = split_run(sys.argv[1])
    machine, place = parameters.load().machine, place_of(name, fold)
    device = choose_device(machine.device)
    run_together(partial(train, read_member(name), fold, place, machine, device), machine, device)
    forget_finished(checkpoints_root(machine), place.folder)


def train(
    member: ResolvedMember,
    fold: int,
    place: AnyPath,
    machine: MachineParams,
    device: torch.device,
    ranks: Ranks = ALONE,
) -> None:
    """Train a member on a fold, as one of several processes or alone."""
    train_split(open_split(member, fold, machine, ranks.device(device), ranks), place, machine)


def train_split(split: Split, place: AnyPath, machine: MachineParams) -> None:
    """Train on what lies open, or go on from a checkpoint; the checkpoints of a finished training stay."""
    recipe, ranks = split.member.recipe, split.ranks
    ranks.check_batch(recipe.batch_size)
    print("\n".join(split_lines(split.trained, split.validated, recipe)))
    model = split.model()
    trainer = Trainer(model, split.batches(model), recipe, split.device, ranks, place.name)
    saver = Saver(checkpoints_root(machine) / place.folder, split.fingerprint(), machine, ranks, split.device)
    Run(split.member, split.fold, place, ranks.leads).train(trainer, split.validation(), saver)


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
    pseudo: PseudoClips | None = None  # clips of soundscapes for a noisy student; `frames` then holds both stores
    soundscapes_digest: str = ""  # of their store

    def fingerprint(self) -> dict[str, str]:
        """Digest of each thing that decides what a training does; not of the machine that it runs on."""
        member = self.member
        return {
            "model": digest(member.member),
            "recipe": digest(member.recipe),
            "view": digest(member.view),
            "store": member.store_digest,
            "pretrained weights": member.weights_sha256 or "",
            "recordings to train on": digest(self.trained),
            "recordings to validate on": digest(self.validated),
            "pseudo-labels": digest(self.pseudo),
            "store of soundscapes": self.soundscapes_digest,
            **environment(),
        }

    def model(self) -> Classifier:
        """The member's model before its first step."""
        member, recipe = self.member, self.member.recipe
        seed = recipe.seed * 1000 + self.fold
        torch.manual_seed(seed)
        check_source(member)
        channels = channel_count(member.view, recipe)
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
        transform = BatchTransform(member.view, recipe, Normaliser(member.view, recipe, model.statistics), self.device)
        planner = Planner(self.trained, member.view, recipe, self.ranks, self.pseudo)
        return TrainingBatches(planner, self.frames, transform)

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
    stores = open_stores(member)
    examples, folds = read_examples(stores[0], read_labels())
    held = held_by_all(stores, examples.rows)
    examples, folds = examples.subset(held), folds[held]
    if member.recipe.trim_db:
        examples = trimmed(examples, stores[0], member.recipe.trim_db)
    trained, validated = examples.subset(folds != fold), examples.subset(folds == fold)
    check_split(member.name, fold, trained, validated)
    trained = with_annotated_times(trained, stores[0], member.view, member.recipe.clip_s)
    frames, lines = open_multi_view(stores, device, machine)
    print(lines)
    return Split(member, fold, trained, validated, frames, device, ranks)


def open_stores(member: ResolvedMember) -> list[Store]:
    """Open the stores that the member was resolved against: one for each of its views.

    Raises
    ------
    TrainError
        If another store lies in the place of one.
    """
    views = zip(member.member.views, each_of(member.view), strict=True)
    stores = [Store(store_path(name), view) for name, view in views]
    if joint_digest(stores) != member.store_digest:
        paths = ", ".join(str(store.path) for store in stores)
        raise TrainError(f"{paths}: changed after member {member.name} was resolved; run `dvc repro`")
    return stores


def check_source(member: ResolvedMember) -> None:
    """Refuse to start from other weights than the member was resolved with.

    Raises
    ------
    TrainError
        If the file or the model that `pretrained` names has changed.
    """
    pretrained = member.member.pretrained
    if isinstance(pretrained, str) and find_source(pretrained).sha256 != member.weights_sha256:
        raise TrainError(
            f"{pretrained}: changed after member {member.name} was resolved; run `dvc repro -f member@{member.name}`"
        )


if __name__ == "__main__":
    run_stage(main)
