"""The section on model input: the first training clips of a member as stored, and as its model sees them."""

from collections.abc import Iterator
from typing import Any

import torch

from birdcache.params.sections import MachineParams
from birdcache.params.views import each_of
from commands.inspect.batch import FirstBatch, first_batch, seen_title, stored_title
from commands.report.media import Piece, picture
from commands.report.results import PipelineResults
from train.loop.split import TrainingSplit, open_split
from train.model.weights import read_model, read_sidecar
from train.paths import MODELS

MOST_MEMBERS, CLIPS = 3, 3
CPU = torch.device("cpu")


def augmentation_examples(results: PipelineResults, machine: MachineParams) -> Iterator[Piece]:
    """Examples for the first members that differ in view or recipe."""
    first: dict[str, str] = {}
    for name, member in results.members.items():
        if not member.member.is_probe:
            first.setdefault(f"{member.view} {member.recipe}", name)
    fold = results.ensemble.folds[0]
    for name in list(first.values())[:MOST_MEMBERS]:
        member, folder = results.members[name], MODELS / name / str(fold)
        split = open_split(member, fold, machine, CPU)
        batch = first_batch(split, 0, read_model(folder, read_sidecar(folder), member.recipe.weights, CPU))
        sides = [side for number in range(min(CLIPS, len(batch.stored))) for side in _sides(number, batch, split)]
        yield {"member": name, "sides": sides, "bytes": sum(len(each["picture"].uri) for each in sides)}


def _sides(number: int, batch: FirstBatch, split: TrainingSplit) -> Iterator[dict[str, Any]]:
    """The (first) view of a clip as stored, and the model's first channel, with what is told of each."""
    view, clip = each_of(split.member.view)[0], f"Training clip {number + 1} of member {split.member.name}"
    seen_TM = batch.seen.clips[number, 0].float().T.numpy()
    told = stored_title(number, batch, split), seen_title(number, batch, split)
    values = {"as stored": batch.stored[number], "as the model sees it": seen_TM}
    for (name, values_TM), lines in zip(values.items(), told, strict=True):
        yield {"name": name, "picture": picture(values_TM, view, 0.0, f"{clip}, {name}"), "told": lines.split("\n")}
