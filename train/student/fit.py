"""Stage `student@<round>-<member>-<fold>`: train one member on one fold, with pseudo-labelled clips mixed in.

N pseudo-labelled clip.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from birdcache.errors import TrainError, run_stage
from birdcache.files import file_sha256
from birdcache.params import load as parameters
from birdcache.params.load import MachineParams
from birdcache.params.recipe import resolve_recipe
from birdcache.params.views import each_of
from cache.store import Store
from train.data.concat import ConcatFrames
from train.data.multi_view import open_multi_view
from train.data.pseudo_clips import PseudoClips
from train.data.random import Floats, Ints
from train.fit import Split, open_split, split_run, train_split
from train.loop.checkpoint import forget_finished
from train.loop.distributed import ALONE, Ranks
from train.loop.launch import run_together
from train.loop.resume import checkpoints_root
from train.loop.run import AnyPath
from train.members import ResolvedMember, joint_digest, read_member
from train.model.classifier import choose_device
from train.model.weights import SIDECAR
from train.paths import STUDENT, STUDENT_REPORTS, store_path
from train.student.pseudo_labels import PseudoLabels, read_pseudo_labels
from train.student.rounds import round_of
from train.student.start import copy_model


@dataclass(frozen=True)
class Lesson:
    """What a student learns beside the recordings, and how it is mixed with them."""

    labels: PseudoLabels
    probability: float
    share: float


def main() -> None:
    """Train the `<round>-<member>-<fold>` of the command line, or pass its teacher on."""
    name = sys.argv[1]
    in_round, _, run = name.partition("-")
    member, fold = split_run(run)
    params = parameters.load()
    each = round_of(in_round, params.student.rounds)
    place = AnyPath(name, STUDENT / in_round / member / str(fold), STUDENT_REPORTS / name)
    labels = read_pseudo_labels(STUDENT / in_round)
    if labels.stopped:
        pass_on(labels, place)
        return
    machine, device = params.machine, choose_device(params.machine.device)
    taught = with_override(read_member(member), each.override)
    lesson = Lesson(labels, each.probability, each.share)
    run_together(partial(train_student, taught, fold, place, lesson, machine, device), machine, device)
    forget_finished(checkpoints_root(machine), place.folder)


def pass_on(labels: PseudoLabels, place: AnyPath) -> None:
    """Copy the teacher's model to where the student's would be, and say why.

    Raises
    ------
    TrainError
        If the teacher's model is no longer the one that the labels' stage saw.
    """
    (source,) = (Path(folder) for folder in labels.teacher if Path(folder).parts[-2:] == place.folder.parts[-2:])
    if file_sha256(source / SIDECAR) != labels.teacher[source.as_posix()]:
        raise TrainError(f"{source}: changed after stage pseudo had looked at it; run `dvc repro student/dvc.yaml`")
    copy_model(source, place.folder)
    place.report.mkdir(parents=True, exist_ok=True)
    (place.report / "passed_on.txt").write_text(f"{labels.stopped}\n")
    print(labels.stopped)


def with_override(member: ResolvedMember, override: dict[str, object]) -> ResolvedMember:
    """The member with a round's keys put over those of its recipe."""
    return member.model_copy(update={"recipe": resolve_recipe(member.recipe, override)})


def train_student(
    member: ResolvedMember,
    fold: int,
    place: AnyPath,
    lesson: Lesson,
    machine: MachineParams,
    device: torch.device,
    ranks: Ranks = ALONE,
) -> None:
    """Train a member on a fold with pseudo-labelled clips, as one of several processes or alone."""
    split = open_split(member, fold, machine, ranks.device(device), ranks)
    train_split(with_lesson(split, lesson, machine), place, machine)


def with_lesson(split: Split, lesson: Lesson, machine: MachineParams) -> Split:
    """The split with the soundscapes' frames joined to those of the recordings.

    Raises
    ------
    TrainError
        If the labels are of other classes, or of soundscapes that the store does not hold.
    """
    if lesson.labels.labels != split.trained.labels:
        raise TrainError(f"{STUDENT}: pseudo-labels are of other classes than data/labels.csv lists; run `dvc repro`")
    member, view = split.member, split.member.view
    stores = soundscape_stores(member)
    frames, lines = open_multi_view(stores, split.device, machine)
    clips = pseudo_clips(lesson, stores[0], view.frames(member.recipe.clip_s))
    print(f"soundscapes: {lines}")
    print(
        f"{lesson.probability:.0%} of clips get one of {len(clips.row)} pseudo-labelled clips mixed in, of "
        f"{len(set(lesson.labels.soundscape))} soundscapes"
    )
    rows = len(Store(store_path(member.member.view), each_of(view)[0]).frames)
    concatenated = ConcatFrames(split.frames, frames, rows)
    return replace(split, frames=concatenated, pseudo=clips.offset(rows), soundscapes_digest=joint_digest(stores))


def soundscape_stores(member: ResolvedMember) -> list[Store]:
    """The stores of soundscapes of the member's views."""
    pairs = zip(member.member.views, each_of(member.view), strict=True)
    return [Store(store_path(name, soundscapes=True), view) for name, view in pairs]


def pseudo_clips(lesson: Lesson, store: Store, clip_frames: int) -> PseudoClips:
    """Where the labelled clips lie in the soundscapes' store.

    Raises
    ------
    TrainError
        If it does not hold one of their soundscapes.
    """
    labels, view = lesson.labels, store.view
    row_N = store.rows_of(list(labels.sha256))
    if (row_N < 0).any():
        missing = labels.soundscape[int(np.argmin(row_N))]
        raise TrainError(f"{store.path}: does not hold {missing}; run `dvc repro student/dvc.yaml`")
    frames_N = store.frames[row_N]
    start_N = clip_starts_around(labels.middle_s * (view.sample_rate_hz / view.hop), frames_N, clip_frames)
    confidence_N = labels.confidence.astype(np.float64)
    return PseudoClips(row_N, frames_N, start_N, labels.scores, confidence_N, lesson.probability, lesson.share)


def clip_starts_around(middle_N: Floats, frames_N: Ints, clip_frames: int) -> Ints:
    """First frames of clips around middles, moved inside their soundscapes; as `inference.clips_at`: (N,)."""
    highest_N = np.maximum(frames_N - clip_frames, 0)
    return np.clip(np.rint(middle_N - clip_frames / 2), 0, highest_N).astype(np.int64)


if __name__ == "__main__":
    run_stage(main)
