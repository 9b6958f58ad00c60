"""The section on model input: a clip as stored, and under each augmentation of its recipe.

B clip (one), C channel, M mel bin, T frame.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from birdcache.arrays import Floats32
from birdcache.params.augment import AugmentParams
from birdcache.params.recipe import Recipe
from birdcache.params.sections import MachineParams, Section
from birdcache.params.views import each_of
from commands.report.media import Piece, picture
from commands.report.results import PipelineResults
from train.data.batch_plan import CLIP
from train.data.member import ResolvedMember
from train.loop.split import TrainingSplit, open_split
from train.model.classifier import Classifier
from train.model.weights import read_model, read_sidecar
from train.paths import MODELS

MOST_MEMBERS = 3  # members that are shown
CANDIDATES = 12  # clips of the first epoch; the one of the highest contrast is shown
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


def augmentation_examples(results: PipelineResults, machine: MachineParams) -> Iterator[Piece]:
    """Examples for the first members that differ in view or recipe."""
    shown: list[tuple[object, object]] = []
    for name, member in results.members.items():
        is_new = not member.member.is_probe and (member.view, member.recipe) not in shown
        if is_new and len(shown) < MOST_MEMBERS:
            shown.append((member.view, member.recipe))
            yield _examples_of(results, name, member, machine)


def _examples_of(results: PipelineResults, name: str, member: ResolvedMember, machine: MachineParams) -> Piece:
    fold = results.ensemble.folds[0]
    split = open_split(member, fold, machine, torch.device("cpu"))
    folder = MODELS / name / str(fold)
    model = read_model(folder, read_sidecar(folder), member.recipe.weights, torch.device("cpu"))
    augment, plain = member.recipe.augment, switched_off(member.recipe.augment)
    candidates = [clip_of(split, model, each, plain)[0] for each in range(CANDIDATES)]
    index = int(np.argmax([np.ptp(np.percentile(image_TM, [50, 99])) for image_TM in candidates]))
    used = [key for key in WORDS if is_used(key, augment)]
    shown = [
        ("unchanged", ("", ""), plain),
        *((WORDS[key], described(key, member.recipe), alone(key, augment)) for key in used),
    ]
    shown.append(("as in training", ("all of them, drawn at random for the first epoch", ""), augment))
    clips: list[dict[str, Any]] = []
    for word, (settings, share), each in shown:
        image_TM, row = clip_of(split, model, index, each)
        alt = f"Clip as the model of member {name} sees it, {word}"
        drawn = picture(image_TM, each_of(member.view)[0], 0.0, alt)
        clips.append({"name": word, "settings": settings, "share": share, "picture": drawn})
    recording, labels = split.told(row)
    title = f"{results.names[labels[0]]}, recording {recording}" if labels else f"soundscape {recording}"
    off = [word for key, word in WORDS.items() if key not in used]
    size = sum(len(each["picture"].uri) for each in clips)
    return {"member": name, "title": title, "clips": clips, "off": off, "bytes": size}


def clip_of(split: TrainingSplit, model: Classifier, index: int, augment: AugmentParams) -> tuple[Floats32, int]:
    """The first channel, (T, M), of a clip of the first epoch as training makes it, and the row it is cut from."""
    recipe = split.member.recipe.model_copy(update={"augment": augment})
    batches = replace(split, member=split.member.model_copy(update={"recipe": recipe})).batches(model)
    plan = batches.planner.plan(0, np.array([index]), batches.planner.sampler.epoch(0))
    values, inputs = batches.read(plan)
    return batches.augment(values, inputs).clips[0, 0].float().T.numpy(), int(plan.row[0, CLIP])


def switched_off(augment: AugmentParams) -> AugmentParams:
    """The same settings with all augmentations off."""
    off = {key: with_probability(getattr(augment, key), 0.0) for key in WORDS}
    return augment.model_copy(update=off | {"windows": 1.0})


def alone(key: str, augment: AugmentParams) -> AugmentParams:
    """Only one augmentation, on every clip, with the recipe's settings."""
    value = getattr(augment, key)
    chosen = with_probability(value, 1.0) if isinstance(value, Section) else value
    return switched_off(augment).model_copy(update={key: chosen})


def with_probability(value: Section | float, probability: float) -> Section | float:
    """The same augmentation with another probability; that of one with a strength alone is its strength."""
    return value.model_copy(update={"probability": probability}) if isinstance(value, Section) else probability


def is_used(key: str, augment: AugmentParams) -> bool:
    """True if the recipe uses an augmentation: its probability, or its strength, is above 0."""
    value = getattr(augment, key)
    return bool(getattr(value, "probability", value))


def described(key: str, recipe: Recipe) -> tuple[str, str]:
    """Settings of an augmentation, and the share of clips (for SpecAugment, of masks) that get it."""
    value = getattr(recipe.augment, key)
    if not isinstance(value, Section):
        hidden = ", which normalising each clip hides" if recipe.normalise == "clip" else ""
        return f"uniform within ±{value:g}" + (f" dB{hidden}" if key == "gain_db" else " s"), "all clips"
    shown = value.model_dump()
    of_what = f"{100 * shown.pop('probability'):.0f} % of {'each mask' if key == 'spec_augment' else 'clips'}"
    return ", ".join(f"{name.replace('_', ' ')} {each}" for name, each in shown.items()), of_what
