"""Soundscapes scored by trained models, out of stores that are each opened once.

S shift, N clip, K class; C clip of any soundscape and shift: all are batched together.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from birdcache.arrays import Floats32
from birdcache.errors import TrainError
from birdcache.params.sections import MachineParams
from birdcache.params.views import AnyView, stored_views
from birdcache.predict.checked import check_scores, clip_of
from birdcache.predict.postprocess import Cutting
from birdcache.progress import Progress
from cache import tables
from cache.store import open_named
from cache.tables import Col
from train.data.dataset import OpenStores, open_soundscapes
from train.model.classifier import Classifier
from train.model.weights import Sidecar, read_model, read_sidecar
from train.paths import store_path
from train.score.inference import Scorer, clips_at


@dataclass(frozen=True)
class SoundscapeAudio:
    """A long recording to score."""

    name: str
    sha256: str
    duration_s: float


class SoundscapeStores:
    """The soundscapes of each view, opened once for all members and folds that share it."""

    def __init__(self, machine: MachineParams, device: torch.device) -> None:
        self._machine, self.device = machine, device
        self._opened: dict[tuple[str, ...], OpenStores] = {}

    def of(self, names: Sequence[str], view: AnyView) -> OpenStores:
        """The soundscapes of a member's views; errors as in `open_soundscapes`."""
        key = (*names, view.model_dump_json())  # models of one view name may have been trained on different settings
        if key not in self._opened:
            self._opened[key] = open_soundscapes(names, view, self._machine, self.device)
        return self._opened[key]


@dataclass(frozen=True)
class ScoringTask:
    """The soundscapes and clips that every model scores, and the labels it must have."""

    soundscapes: Sequence[SoundscapeAudio]
    labels: list[str]
    cutting: Cutting
    batch_size: int


def read_soundscapes() -> list[SoundscapeAudio]:
    """The usable soundscapes, sorted by name."""
    table = tables.SOUNDSCAPES.read(Col.SOUNDSCAPE, Col.SHA256, Col.DURATION_S)
    return [SoundscapeAudio(*row) for row in table.itertuples(index=False, name=None)]


def held_by_all_views(sidecars: Iterable[Sidecar]) -> list[SoundscapeAudio]:
    """The usable soundscapes that were decoded for all views of these models; prints how many others there are."""
    soundscapes = read_soundscapes()
    views = {
        name: view
        for sidecar in sidecars
        for name, view in zip(sidecar.member.member.views, stored_views(sidecar.member.view), strict=True)
    }
    kept = np.ones(len(soundscapes), bool)
    for name, view in sorted(views.items()):
        store = open_named(store_path(name, soundscapes=True), view)
        kept &= store.rows_of([each.sha256 for each in soundscapes]) >= 0
    if lost := [each.name for each, keep in zip(soundscapes, kept, strict=True) if not keep]:
        count = f"{len(lost)} of {len(soundscapes)} soundscapes"
        print(f"warning: {count} could not be decoded and are left out, first {lost[0]}; see reports/spectrograms/")
    return [soundscape for soundscape, keep in zip(soundscapes, kept, strict=True) if keep]


def score_folder(folder: Path, task: ScoringTask, opened: SoundscapeStores, progress: Progress) -> Floats32:
    """Scores by the model that a training left in a folder: (S, N, K)."""
    sidecar = read_sidecar(folder)
    model = read_model(folder, sidecar, sidecar.member.recipe.weights, opened.device)
    return score_model(folder, sidecar, model, task, opened, progress)


def score_model(
    folder: Path, sidecar: Sidecar, model: Classifier, task: ScoringTask, opened: SoundscapeStores, progress: Progress
) -> Floats32:
    """Scores of the clips of all soundscapes by one model: (S, N, K).

    A TrainError if it knows other labels, or any score is no number from 0 to 1.
    """
    if sidecar.labels != task.labels:
        raise TrainError(f"{folder}: was trained on labels that differ from data/tables/labels.csv; run `dvc repro`")
    recipe, view = sidecar.member.recipe, sidecar.member.view
    stores = opened.of(sidecar.member.member.views, view)
    rows = stores.first.rows_of([each.sha256 for each in task.soundscapes])
    middles = [task.cutting.moved_middles_s(each.duration_s).T.ravel() for each in task.soundscapes]
    owner_C = np.repeat(np.arange(len(middles)), list(map(len, middles)))
    middle_C, row_C = np.concatenate([np.empty(0), *middles]), rows[owner_C]
    clips = clips_at(middle_C, row_C, stores.first.frames[row_C], view, view.frames(recipe.clip_s))
    names = [task.soundscapes[number].name for number in owner_C.tolist()]
    found = [np.empty((0, len(task.labels)), np.float32)]
    for scores_BK in Scorer(model, stores.frames, view, recipe, opened.device).batches(clips, task.batch_size):
        done = slice(sum(len(each) for each in found), len(clips))
        check_scores(scores_BK, folder, clip_of(names[done], middle_C[done]))
        found.append(scores_BK)
        progress.update(len(scores_BK) * len(middles) / len(clips))
    return np.concatenate(found).reshape(-1, len(task.cutting.moves_s), len(task.labels)).swapaxes(0, 1)
