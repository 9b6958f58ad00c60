"""Stage `student@<round>-<member>-<fold>`: train one member on one fold, with pseudo-labelled clips mixed in.

N pseudo-labelled clip.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from birdcache.arrays import Floats32
from birdcache.errors import TrainError, run_stage
from birdcache.files import file_sha256, write_text
from birdcache.params import load as parameters
from birdcache.params.recipe import resolve_recipe
from birdcache.params.sections import MachineParams
from birdcache.params.student import StudentRound
from birdcache.stage import clear, stage_key
from cache.store import Store
from train.data.dataset import open_dataset
from train.data.member import ResolvedMember, read_member
from train.data.sampling import PseudoClips
from train.loop.distributed import ALONE, Ranks, run_together
from train.loop.run import RunFolders, train_split
from train.loop.split import TrainingSplit, split_dataset
from train.model.classifier import choose_device
from train.model.weight_source import SIDECAR
from train.paths import STUDENT, STUDENT_REPORTS, split_run
from train.score.inference import clips_at
from train.student.pseudo_labels import AGAIN, PseudoLabels, read_pseudo_labels, round_of
from train.student.start import copy_model


def main() -> None:
    """Train the `<round>-<member>-<fold>` that runs, or pass its teacher on."""
    name = stage_key("first-base-0")
    in_round, _, run = name.partition("-")
    member, fold = split_run(run)
    params = parameters.load()
    each = round_of(in_round, params.student.rounds)
    place = RunFolders(name, STUDENT / in_round / member / str(fold), STUDENT_REPORTS / name)
    labels = read_pseudo_labels(STUDENT / in_round)
    if labels.stopped or run not in labels.students:
        untaught = f"student.rounds.{in_round}.taught_by: nobody teaches {member}, which is passed on as it is"
        pass_on(replace(labels, stopped=labels.stopped or untaught), place)
        return
    machine, device = params.machine, choose_device(params.machine.device)
    taught = read_member(member)
    taught = taught.model_copy(update={"recipe": resolve_recipe(taught.recipe, each.override)})
    run_together(partial(train_student, taught, fold, place, labels.of(run), each, machine, device), machine, device)


def pass_on(labels: PseudoLabels, place: RunFolders) -> None:
    """Copy the teacher's model to the student's place, and print the reason.

    A TrainError if the teacher's model changed after stage `pseudo` read it.
    """
    (source,) = (Path(folder) for folder in labels.teacher if Path(folder).parts[-2:] == place.folder.parts[-2:])
    if file_sha256(source / SIDECAR) != labels.teacher[source.as_posix()]:
        raise TrainError(f"{source}: changed after stage pseudo read it; {AGAIN}")
    clear(place.folder, place.report)
    copy_model(source, place.folder)
    write_text(place.report / "passed_on.txt", f"{labels.stopped}\n")
    print(labels.stopped)


def train_student(
    member: ResolvedMember,
    fold: int,
    place: RunFolders,
    labels: PseudoLabels,
    each: StudentRound,
    machine: MachineParams,
    device: torch.device,
    ranks: Ranks = ALONE,
) -> None:
    """Train a member on a fold with pseudo-labelled clips of soundscapes, as one of several processes or alone.

    A TrainError if the labels are of other classes, or of soundscapes that the store does not hold.
    """
    device = ranks.device(device)
    dataset = open_dataset(member, machine, device, soundscapes=True)
    assert dataset.soundscapes is not None
    split = split_dataset(dataset, fold, device, ranks)
    if labels.labels != split.trained.labels:
        raise TrainError(
            f"{STUDENT}: the classes of the pseudo-labels differ from data/tables/labels.csv; run `dvc repro`"
        )
    clips = pseudo_clips(labels, each, dataset.soundscapes.first, member.view.frames(member.recipe.clip_s))
    print(
        f"{each.probability:.0%} of clips get one of {len(clips.row)} pseudo-labelled clips mixed in; "
        f"soundscapes: {len(set(labels.soundscape))}"
    )
    if each.alpha:
        clips = replace(clips, alpha=each.alpha, softened=softened_rows(split, labels))
    split = replace(split, pseudo=clips.offset(split.rows), soundscapes_digest=dataset.soundscapes.digest)
    train_split(split, place, machine)


def softened_rows(split: TrainingSplit, labels: PseudoLabels) -> Floats32:
    """What the teacher says of each row of recordings: (rows, K), NaN if no fold holds it out; a TrainError if none."""
    place_N = pd.Index(labels.recording).get_indexer(pd.Index(split.trained.names))
    softened = np.full((split.rows, split.trained.classes), np.nan, np.float32)
    softened[split.trained.rows[place_N >= 0]] = labels.softened[place_N[place_N >= 0]]
    if not (place_N >= 0).any():
        raise TrainError(
            "params.yaml: folds.train: holds out none of the recordings to train on; add folds, or set alpha: 0"
        )
    print(f"labels of {(place_N >= 0).sum()} of {len(place_N)} recordings are mixed with what the teacher says of them")
    return softened


def pseudo_clips(labels: PseudoLabels, each: StudentRound, store: Store, clip_frames: int) -> PseudoClips:
    """The places of the labelled clips in the soundscapes' store.

    A TrainError if it does not hold one of their soundscapes.
    """
    row_N = store.rows_of(list(labels.sha256))
    if (row_N < 0).any():
        missing = labels.soundscape[int(np.argmin(row_N))]
        raise TrainError(f"{store.path}: does not hold {missing}; {AGAIN}")
    clips = clips_at(labels.middle_s, row_N, store.frames[row_N], store.view, clip_frames)
    confidence_N = labels.confidence.astype(np.float64)
    return PseudoClips(row_N, clips.frames, clips.start, labels.scores, confidence_N, each.probability, each.share)


if __name__ == "__main__":
    run_stage(main)
