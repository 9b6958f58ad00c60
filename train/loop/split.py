"""A fold of a member's recordings, and the parts of a training on it: model, batches, validation, fingerprint."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from birdcache.errors import TrainError
from birdcache.params.sections import MachineParams
from train.augment.batch import BatchTransform
from train.augment.normalise import Normaliser, bin_statistics, channel_count
from train.augment.training_batches import TrainingBatches
from train.data.batch_plan import Planner
from train.data.dataset import Dataset, open_dataset
from train.data.examples import Examples
from train.data.frames import Frames
from train.data.member import ResolvedMember
from train.data.multi_view import ConcatFrames
from train.data.sampling import PseudoClips
from train.data.teacher import Teacher
from train.loop.checkpoint import digest, environment
from train.loop.distributed import ALONE, Ranks
from train.loop.validation import Validation, check_split, check_windows
from train.model.classifier import Classifier, autocast_dtype, build_model
from train.model.sizes import Clips
from train.model.weight_source import find_source

VALIDATION_BATCH, LARGEST_VALIDATION_BATCH = 64, 512


@dataclass(frozen=True)
class TrainingSplit:
    """A member and the recordings that it is trained and validated on; makes the parts of a training."""

    member: ResolvedMember
    fold: int
    trained: Examples
    validated: Examples
    frames: Frames
    device: torch.device
    ranks: Ranks
    soundscapes: Frames | None = None  # whose rows come after `rows` of recordings where both are in a batch
    rows: int = 0
    windows: Examples | None = None  # labelled windows of soundscapes to train on, if the recipe gives them a share
    judged: Examples | None = None  # those of soundscapes that the fold holds out
    pseudo: PseudoClips | None = None  # clips of soundscapes for a noisy student
    soundscapes_digest: str = ""  # of their store
    teacher: Teacher | None = None

    def fingerprint(self) -> dict[str, str]:
        """Digest of each thing that decides a training; the machine is none of them."""
        member = self.member
        return {
            "model": digest(member.member),
            "recipe": digest(member.recipe),
            "view": digest(member.view),
            "store": member.store_digest,
            "pretrained weights": member.weights_sha256 or "",
            "recordings to train on": digest(self.trained),
            "recordings to validate on": digest(self.validated),
            "windows of soundscapes": digest([digest(self.windows), digest(self.judged), member.labelled_digest]),
            "teacher": member.teacher_digest,
            "pseudo-labels": digest(self.pseudo),
            "store of soundscapes": self.soundscapes_digest,
            **environment(),
        }

    def told(self, row: int) -> tuple[str, list[str]]:
        """The recording in a row of all frames and its labels, the primary one first; or a soundscape, and none."""
        found = np.flatnonzero(self.trained.rows == row)
        if not len(found):
            names = {} if self.windows is None else dict(zip(self.windows.rows, self.windows.names, strict=True))
            return names.get(row, "a soundscape"), []
        examples, number = self.trained, int(found[0])
        numbers = [int(examples.primary[number]), *np.flatnonzero(examples.secondary[number]).tolist()]
        return examples.names[number], [examples.labels[label] for label in numbers]

    def model(self) -> Classifier:
        """The member's model before its first step."""
        member, recipe = self.member, self.member.recipe
        seed = recipe.seed * 1000 + self.fold
        torch.manual_seed(seed)
        check_source(member)
        channels, clips = channel_count(member.view, recipe), Clips(member.view, recipe.clip_s)
        pretrained = member.member.pretrained
        model = build_model(member.member, self.trained.classes, member.view.n_mels, pretrained, channels, clips)
        model = model.to(self.device)
        model.check_clips(clips)
        if model.pretrained:
            print(f"{member.name}-{self.fold}: {model.pretrained}")
        if recipe.normalise == "bins":
            model.statistics = bin_statistics(self.trained, self.frames, member.view, recipe)
        torch.manual_seed(seed + self.ranks.rank)  # dropout differs from process to process, the weights must not
        return model

    def batches(self, model: Classifier) -> TrainingBatches:
        """The batches that the model is trained on."""
        member, recipe = self.member, self.member.recipe
        normaliser = Normaliser(member.view, recipe, model.statistics)
        dtype = autocast_dtype(recipe.precision, self.device) or torch.float32
        transform = BatchTransform(member.view, recipe, normaliser, self.device, dtype)
        windows, frames = self.windows if recipe.sampling.shares.soundscapes else None, self.frames
        if self.soundscapes is not None and (windows is not None or self.pseudo is not None):
            frames = ConcatFrames(frames, self.soundscapes, self.rows)
        planner = Planner(self.trained, member.view, recipe, self.ranks, self.pseudo, windows, self.teacher)
        return TrainingBatches(planner, frames, transform)

    def validation(self) -> Validation:
        """The validation on the held-out recordings and windows."""
        member, size = self.member, VALIDATION_BATCH
        if self.device.type == "cuda":  # where a step of training has room, four times its clips have without gradients
            size = min(max(size, 4 * member.recipe.batch_size // self.ranks.world), LARGEST_VALIDATION_BATCH)
        of_member = member.view, member.recipe, self.device, size, self.ranks
        windows = Validation(self.judged, self.soundscapes, *of_member) if self.judged and self.soundscapes else None
        return Validation(self.validated, self.frames, *of_member, windows)


def open_split(
    member: ResolvedMember, fold: int, machine: MachineParams, device: torch.device, ranks: Ranks = ALONE
) -> TrainingSplit:
    """Open a member's recordings and split them; errors as in `open_dataset` and `split_dataset`."""
    return split_dataset(open_dataset(member, machine, device), fold, device, ranks)


def split_dataset(dataset: Dataset, fold: int, device: torch.device, ranks: Ranks) -> TrainingSplit:
    """Split recordings by fold, and print where their frames are read; errors of `check_split`, `check_windows`."""
    trained, validated = dataset.split(fold)
    check_split(dataset.member.name, fold, trained, validated, dataset.member.recipe)
    print(dataset.placement)
    of_training = dataset.member, fold, trained, validated, dataset.frames, device, ranks
    split = TrainingSplit(*of_training, teacher=dataset.teacher)
    windows, judged = dataset.split_windows(fold)
    check_windows(dataset.member.name, fold, windows, judged, dataset.member.recipe)
    if dataset.soundscapes is None:
        return split
    print(f"soundscapes: {dataset.soundscapes.placement}")
    frames, rows = dataset.soundscapes.frames, len(dataset.first)
    return replace(split, soundscapes=frames, rows=rows, windows=windows, judged=judged)


def check_source(member: ResolvedMember) -> None:
    """Refuse, by a TrainError, first weights whose file or model has changed since the member was resolved."""
    pretrained = member.member.pretrained
    if isinstance(pretrained, str) and find_source(pretrained).sha256 != member.weights_sha256:
        raise TrainError(
            f"{pretrained}: changed after member {member.name} was resolved; run `dvc repro -f member@{member.name}`"
        )
