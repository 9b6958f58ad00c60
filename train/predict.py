"""Stage `predict`: score clips of every soundscape with all members and folds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from birdcache.errors import TrainError, run_stage
from birdcache.params import load as parameters
from birdcache.params.load import MachineParams, Params
from birdcache.params.views import AnyView, each_of
from birdcache.predict.clip_scores import ClipScores
from birdcache.predict.postprocess import Cutting
from birdcache.progress import Progress
from cache import tables
from cache.store import Store
from cache.tables import Col
from train.data.examples import read_labels
from train.data.frames import Frames
from train.data.multi_view import open_multi_view
from train.model.classifier import Classifier, choose_device
from train.model.soup import read_fold_soup
from train.model.weights import Sidecar, read_model, read_sidecar
from train.paths import MODELS, SCORES, store_path
from train.score.inference import Floats, Scorer


@dataclass(frozen=True)
class Soundscape:
    """A long recording to score."""

    name: str
    sha256: str
    duration_s: float


class Opened:
    """The soundscapes' stores, each opened once for all members and folds that look at it."""

    def __init__(self, machine: MachineParams, device: torch.device) -> None:
        self._machine, self.device = machine, device
        self._stores: dict[tuple[str, ...], tuple[Store, Frames]] = {}

    def soundscapes(self, names: Sequence[str], view: AnyView) -> tuple[Store, Frames]:
        """The store of a member's view, the first of several, and where its frames are read from.

        Raises
        ------
        StoreError
            If a store is not of its view.
        """
        key = (*names, view.model_dump_json())
        if key not in self._stores:
            pairs = zip(names, each_of(view), strict=True)
            stores = [Store(store_path(name, soundscapes=True), each) for name, each in pairs]
            self._stores[key] = stores[0], open_multi_view(stores, self.device, self._machine)[0]
        return self._stores[key]


@dataclass(frozen=True)
class Task:
    """What every model has to score, and what its labels must be."""

    soundscapes: Sequence[Soundscape]
    labels: list[str]
    cutting: Cutting
    batch_size: int


def main() -> None:
    """Write data/soundscape_scores.npz: what each member says of each clip."""
    params = parameters.load()
    device = choose_device(params.machine.device)
    soundscapes = held_by_all_views(read_soundscapes(), params)
    predict, fold_soup = params.predict, params.ensemble.fold_soup
    cutting = Cutting(predict.window_s, predict.hop_s, tuple(predict.shifts_s))
    task = Task(soundscapes, read_labels(), cutting, predict.batch_size)
    opened, folds = Opened(params.machine, device), params.folds.train
    models = len(params.members) * (1 if fold_soup else len(folds))
    with Progress(models * len(soundscapes), "predict", "soundscapes") as progress:
        scores = [score_member(name, folds, fold_soup, task, opened, progress) for name in params.members]
    named = [(each.name, each.duration_s) for each in soundscapes]
    ClipScores.of(list(params.members), named, np.stack(scores), cutting, fold_soup).write(SCORES)
    clips = scores[0].shape[0] * scores[0].shape[1]
    print(f"{SCORES}: {clips} clips of {len(soundscapes)} soundscapes by {models} models")


def read_soundscapes() -> list[Soundscape]:
    """The usable soundscapes, sorted by name."""
    table = tables.SOUNDSCAPES.read(Col.SOUNDSCAPE, Col.SHA256, Col.DURATION_S)
    return [Soundscape(*row) for row in table.itertuples(index=False, name=None)]


def held_by_all_views(soundscapes: Sequence[Soundscape], params: Params) -> list[Soundscape]:
    """The soundscapes that could be decoded; the others are named."""
    audio = [soundscape.sha256 for soundscape in soundscapes]
    views = {name for member in params.members.values() for name in member.views}
    held = [(Store(store_path(view, soundscapes=True)).rows_of(audio) >= 0) for view in sorted(views)]
    kept = np.logical_and.reduce(held, initial=True) if len(audio) else []
    for soundscape in (each for each, keep in zip(soundscapes, kept, strict=True) if not keep):
        print(f"warning: {soundscape.name} could not be decoded and has no row; see reports/spectrograms/")
    return [soundscape for soundscape, keep in zip(soundscapes, kept, strict=True) if keep]


def score_member(
    name: str, folds: Sequence[int], fold_soup: bool, task: Task, opened: Opened, progress: Progress
) -> Floats:
    """Mean scores of a member's folds, or those of the mean of their weights: (S, N, K), clips of all soundscapes."""
    folders = [MODELS / name / str(fold) for fold in folds]
    if fold_soup:
        return score_model(folders[-1], *read_fold_soup(folders, opened.device), task, opened, progress)
    return np.asarray(np.mean([score_folder(each, task, opened, progress) for each in folders], axis=0), np.float32)


def score_folder(folder: Path, task: Task, opened: Opened, progress: Progress) -> Floats:
    """Scores by the model that a training left in a folder: (S, N, K)."""
    sidecar = read_sidecar(folder)
    model = read_model(folder, sidecar, sidecar.member.recipe.weights, opened.device)
    return score_model(folder, sidecar, model, task, opened, progress)


def score_model(
    folder: Path, sidecar: Sidecar, model: Classifier, task: Task, opened: Opened, progress: Progress
) -> Floats:
    """Scores of the clips of all soundscapes by one model: (S, N, K)."""
    check_labels(folder, sidecar, task.labels)
    recipe, view = sidecar.member.recipe, sidecar.member.view
    store, frames = opened.soundscapes(sidecar.member.member.views, view)
    scorer = Scorer(model, frames, view, recipe, opened.device)
    rows = store.rows_of([each.sha256 for each in task.soundscapes]).tolist()
    scores = [np.empty((len(task.cutting.moves_s), 0, len(task.labels)), np.float32)]
    for row, soundscape in zip(rows, task.soundscapes, strict=True):
        length = int(store.frames[row])
        scores.append(scorer.scores_along(row, length, soundscape.duration_s, task.cutting, task.batch_size))
        progress.update()
    return np.concatenate(scores, axis=1)


def check_labels(folder: Path, sidecar: Sidecar, labels: list[str]) -> None:
    """Refuse a model of other classes.

    Raises
    ------
    TrainError
        If its labels are not those of data/labels.csv.
    """
    if sidecar.labels != labels:
        raise TrainError(f"{folder}: was trained on other labels than data/labels.csv lists; run `dvc repro`")


if __name__ == "__main__":
    run_stage(main)
