"""The page's section on what a model sees: a clip as it is stored, and under each augmentation of its recipe.

B clip (one), C channel, M mel bin, T frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from birdcache.arrays import Floats32
from birdcache.params.augment import AugmentParams
from birdcache.params.recipe import Recipe
from birdcache.params.sections import MachineParams, Section
from birdcache.params.views import each_of
from commands.report.images import Picture, picture
from commands.report.results import Results
from train.augment.batch import BatchTransform
from train.augment.normalise import Normaliser
from train.data.batch_plan import BatchPlan, Planner
from train.data.member import ResolvedMember
from train.loop.split import TrainingSplit, open_split
from train.model.weights import read_model, read_sidecar
from train.paths import MODELS

MOST_MEMBERS = 3  # with a look of their own
CANDIDATES = 12  # clips of the first epoch, of which the clearest is shown
MIXED = ("mixup", "sumix", "cutmix", "eq", "background", "noise")
WORDS = {
    "gain_db": "volume",
    "time_shift_s": "time shift",
    "mixup": "mixup",
    "sumix": "sumix",
    "cutmix": "cutmix",
    "eq": "equaliser",
    "background": "background",
    "noise": "noise",
    "spec_augment": "SpecAugment",
}


@dataclass(frozen=True)
class Look:
    """A clip under one augmentation: its name and settings, which share of clips gets it, what becomes of them."""

    name: str
    settings: str
    share: str
    picture: Picture


@dataclass(frozen=True)
class Seen:
    """What a member's model sees of one clip."""

    member: str
    title: str
    looks: list[Look]
    off: list[str]  # augmentations that the recipe does not use

    @property
    def bytes(self) -> int:
        """What its pictures add to the page."""
        return sum(look.picture.bytes for look in self.looks)


def seen(results: Results, machine: MachineParams) -> Iterator[Seen]:
    """What the models of the first members see that differ in view or recipe."""
    shown: list[tuple[object, object]] = []
    for name, member in results.members.items():
        if (member.view, member.recipe) not in shown and len(shown) < MOST_MEMBERS:
            shown.append((member.view, member.recipe))
            yield _seen(results, name, member, machine)


def _seen(results: Results, name: str, member: ResolvedMember, machine: MachineParams) -> Seen:
    fold = results.ensemble.folds[0]
    split = open_split(member, fold, machine, torch.device("cpu"))
    folder = MODELS / name / str(fold)
    model = read_model(folder, read_sidecar(folder), member.recipe.weights, torch.device("cpu"))
    finishing = Finishing(split, Normaliser(member.view, member.recipe, model.statistics))
    index = finishing.clearest()
    augment, plain = member.recipe.augment, switched_off(member.recipe.augment)
    used = [key for key in WORDS if is_used(key, augment)]
    looks = [finishing.look(index, "as it is", "", "", plain)]
    for key in used:
        settings, share = described(key, member.recipe)
        looks.append(finishing.look(index, WORDS[key], settings, share, alone(key, augment)))
    looks.append(
        finishing.look(index, "as training draws it", "all of these by chance, in the first epoch", "", augment)
    )
    recording = split.trained.names[finishing.example(index)]
    label = split.trained.labels[int(split.trained.primary[finishing.example(index)])]
    title = f"{results.names[label]}, recording {recording}"
    return Seen(name, title, looks, [word for key, word in WORDS.items() if key not in used])


@dataclass(frozen=True)
class Finishing:
    """Draws and finishes single clips of a member's first epoch, as training does."""

    split: TrainingSplit
    normaliser: Normaliser

    def look(self, index: int, name: str, settings: str, share: str, augment: AugmentParams) -> Look:
        """Clip number `index` under these augmentations."""
        member = self.split.member
        view = each_of(member.view)[0]
        alt = f"Clip as the model of member {member.name} sees it, {name}"
        return Look(name, settings, share, picture(self.image(index, augment), view, 0.0, alt))

    def image(self, index: int, augment: AugmentParams) -> Floats32:
        """The first channel of a clip: (T, M)."""
        recipe = self.split.member.recipe.model_copy(update={"augment": augment})
        transform = BatchTransform(self.split.member.view, recipe, self.normaliser, torch.device("cpu"))
        plan = self._plan(index, augment)
        values = self.split.frames.finish(self.split.frames.stage(plan.row, plan.position), plan.position)
        return transform(values, plan).clips[0, 0].T.numpy()

    def clearest(self) -> int:
        """The clip of the first ones whose loudest bins stand out most."""
        plain = switched_off(self.split.member.recipe.augment)
        clips = min(CANDIDATES, self._planner(plain).sampler.clips)
        contrast = [np.ptp(np.percentile(self.image(index, plain), [50, 99])) for index in range(clips)]
        return int(np.argmax(contrast))

    def example(self, index: int) -> int:
        """Number of the recording that a clip is cut from."""
        row = self._plan(index, switched_off(self.split.member.recipe.augment)).row[0]
        return int(np.flatnonzero(self.split.trained.rows == row)[0])

    def _plan(self, index: int, augment: AugmentParams) -> BatchPlan:
        planner = self._planner(augment)
        return planner.plan(0, np.array([index]), planner.sampler.epoch(0))

    def _planner(self, augment: AugmentParams) -> Planner:
        recipe = self.split.member.recipe.model_copy(update={"augment": augment})
        return Planner(self.split.trained, self.split.member.view, recipe)


def switched_off(augment: AugmentParams) -> AugmentParams:
    """The same settings, but nothing is done."""
    off: dict[str, object] = {key: with_probability(getattr(augment, key), 0.0) for key in (*MIXED, "spec_augment")}
    return augment.model_copy(update=off | {"gain_db": 0.0, "time_shift_s": 0.0})


def alone(key: str, augment: AugmentParams) -> AugmentParams:
    """One augmentation on every clip, with the recipe's settings, and no other."""
    value = getattr(augment, key)
    chosen = with_probability(value, 1.0) if isinstance(value, Section) else value
    return switched_off(augment).model_copy(update={key: chosen})


def with_probability(section: Section, probability: float) -> Section:
    """The same augmentation, on more or fewer clips."""
    return section.model_copy(update={"probability": probability})


def is_used(key: str, augment: AugmentParams) -> bool:
    """Whether the recipe uses an augmentation: by its probability, or by how much it changes."""
    value = getattr(augment, key)
    return bool(getattr(value, "probability", value))


def described(key: str, recipe: Recipe) -> tuple[str, str]:
    """Settings of an augmentation, and the share of clips (for SpecAugment, of masks) that training gives it to."""
    value = getattr(recipe.augment, key)
    if not isinstance(value, Section):
        hidden = ", which normalising each clip hides" if recipe.normalise == "clip" else ""
        return f"uniform within ±{value:g}" + (f" dB{hidden}" if key == "gain_db" else " s"), "all clips"
    shown = value.model_dump()
    of_what = f"{100 * shown.pop('probability'):.0f} % of {'each mask' if key == 'spec_augment' else 'clips'}"
    return ", ".join(f"{name.replace('_', ' ')} {each}" for name, each in shown.items()), of_what
