"""Stage `predict`: score every window of every soundscape with all members and folds; write the submission."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import params as parameters
from cache.store import Store
from errors import run_stage
from params import MachineParams, Params
from progress import Progress
from schema.views import View
from train.checkpoint import Sidecar, read_model, read_sidecar
from train.errors import TrainError
from train.examples import read_labels
from train.inference import Floats, Scorer, window_clips, windows_in
from train.model import choose_device
from train.paths import MODELS, SCORES, SOUNDSCAPES, SUBMISSION, SUBMISSION_LABELS, store_path
from train.residence import Frames, open_frames


@dataclass(frozen=True)
class Soundscape:
    """A long recording to score."""

    name: str
    sha256: str
    duration_s: float

    def row_ids(self, window_s: float) -> list[str]:
        """One per window, as Kaggle names them: `<soundscape>_<second at which the window ends>`."""
        return [f"{self.name}_{(number + 1) * window_s:g}" for number in range(windows_in(self.duration_s, window_s))]


class Opened:
    """The soundscapes' stores, each opened once for all members and folds that look at it."""

    def __init__(self, machine: MachineParams, device: torch.device) -> None:
        self._machine, self.device = machine, device
        self._stores: dict[tuple[str, View], tuple[Store, Frames]] = {}

    def soundscapes(self, name: str, view: View) -> tuple[Store, Frames]:
        """A view's store, and where its frames are read from.

        Raises
        ------
        StoreError
            If the store is not of this view.
        """
        if (name, view) not in self._stores:
            store = Store(store_path(name, soundscapes=True), view)
            self._stores[name, view] = store, open_frames(store, self.device, self._machine)[0]
        return self._stores[name, view]


def main() -> None:
    """Write data/soundscape_scores.npz (each member's scores) and reports/submission.csv (their mean)."""
    params = parameters.load()
    device = choose_device(params.machine.device)
    labels = read_labels()
    soundscapes = held_by_all_views(read_soundscapes(), params)
    row_ids = [row_id for soundscape in soundscapes for row_id in soundscape.row_ids(params.predict.window_s)]
    scores = np.zeros((len(params.members), len(row_ids), len(labels)), np.float32)
    models = len(params.members) * len(params.folds.train)
    opened = Opened(params.machine, device)
    with Progress(models * len(soundscapes), "predict", "soundscapes") as progress:
        for number, member in enumerate(params.members):
            scores[number] = score_member(member, params, soundscapes, labels, opened, progress)
    SUBMISSION.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(SCORES, members=np.array(list(params.members)), row_id=np.array(row_ids, str), scores=scores)
    submission = submission_table(row_ids, scores.mean(axis=0), labels)
    submission.to_csv(SUBMISSION, index=False, float_format="%.6f")
    print(
        f"{SUBMISSION}: {len(submission)} windows of {len(soundscapes)} soundscapes, {submission.shape[1] - 1} labels"
    )


def read_soundscapes() -> list[Soundscape]:
    """Rows of data/soundscapes.csv."""
    table = pd.read_csv(SOUNDSCAPES, dtype={"soundscape": str, "sha256": str}, keep_default_na=False)
    columns = (table["soundscape"], table["sha256"], table["duration_s"].astype(float))
    return [Soundscape(*row) for row in zip(*columns, strict=True)]


def held_by_all_views(soundscapes: Sequence[Soundscape], params: Params) -> list[Soundscape]:
    """The soundscapes that could be decoded; the others are named."""
    audio = [soundscape.sha256 for soundscape in soundscapes]
    views = {member.view for member in params.members.values()}
    held = [(Store(store_path(view, soundscapes=True)).rows_of(audio) >= 0) for view in sorted(views)]
    kept = np.logical_and.reduce(held, initial=True) if len(audio) else []
    for soundscape in (each for each, keep in zip(soundscapes, kept, strict=True) if not keep):
        print(f"warning: {soundscape.name} could not be decoded and has no row; see reports/spectrograms/")
    return [soundscape for soundscape, keep in zip(soundscapes, kept, strict=True) if keep]


def score_member(
    name: str,
    params: Params,
    soundscapes: Sequence[Soundscape],
    labels: list[str],
    opened: Opened,
    progress: Progress,
) -> Floats:
    """Mean scores of a member's folds: (windows of all soundscapes, K)."""
    folders = [MODELS / name / str(fold) for fold in params.folds.train]
    per_fold = [score_folder(folder, params, soundscapes, labels, opened, progress) for folder in folders]
    return np.asarray(np.mean(per_fold, axis=0), np.float32)


def score_folder(
    folder: Path,
    params: Params,
    soundscapes: Sequence[Soundscape],
    labels: list[str],
    opened: Opened,
    progress: Progress,
) -> Floats:
    """Scores of one trained model: (windows of all soundscapes, K)."""
    sidecar = read_sidecar(folder)
    check_labels(folder, sidecar, labels)
    recipe, view = sidecar.member.recipe, sidecar.member.view
    store, frames = opened.soundscapes(sidecar.member.member.view, view)
    model = read_model(folder, sidecar, recipe.weights, opened.device)
    scorer = Scorer(model, frames, view, recipe, opened.device)
    scores = [np.empty((0, len(labels)), np.float32)]
    for row, soundscape in zip(store.rows_of([each.sha256 for each in soundscapes]), soundscapes, strict=True):
        windows = windows_in(soundscape.duration_s, params.predict.window_s)
        length = int(store.frames[row])
        clips = window_clips(int(row), length, windows, view, params.predict.window_s, view.frames(recipe.clip_s))
        scores.append(scorer.scores(clips, params.predict.batch_size))
        progress.update()
    return np.concatenate(scores)


def check_labels(folder: Path, sidecar: Sidecar, labels: list[str]) -> None:
    """Refuse a model of other classes.

    Raises
    ------
    TrainError
        If its labels are not those of data/labels.csv.
    """
    if sidecar.labels != labels:
        raise TrainError(f"{folder}: was trained on other labels than data/labels.csv lists; run `dvc repro`")


def submission_table(row_ids: Sequence[str], scores_NK: Floats, labels: Sequence[str]) -> pd.DataFrame:
    """Row ids and scores with the columns of sample_submission.csv; labels that no recording taught score 0."""
    wanted = list(pd.read_csv(SUBMISSION_LABELS, dtype={"label": str}, keep_default_na=False)["label"])
    if unknown := [label for label in wanted if label not in set(labels)]:
        shown = ", ".join(unknown[:5]) + (", ..." if len(unknown) > 5 else "")
        print(f"warning: {len(unknown)} labels of the submission have no recording and score 0: {shown}")
    scores = pd.DataFrame(scores_NK, columns=list(labels)).reindex(columns=wanted, fill_value=0.0)
    scores.insert(0, "row_id", list(row_ids))
    return scores


if __name__ == "__main__":
    run_stage(main)
