"""The models of a round of the noisy student: what they say of clips of soundscapes, and how good they are.

N clip or window, K class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from birdcache.files import file_sha256
from birdcache.predict.clip_scores import window_ids
from birdcache.predict.postprocess import Cutting, windows_in
from birdcache.progress import Progress
from cache import tables
from cache.tables import Col
from train.model.weights import SIDECAR, Sidecar, read_sidecar
from train.predict import Opened, Soundscape, Task, score_folder
from train.score.metrics import Bools, Floats, recording_metrics, window_metrics
from train.score.out_of_fold import read_out_of_fold

Metrics = dict[str, dict[str, float]]


@dataclass(frozen=True)
class RoundModels:
    """The models of some members and folds, below one folder."""

    folder: Path
    members: tuple[str, ...]
    folds: tuple[int, ...]

    @property
    def folders(self) -> list[Path]:
        """Of each model."""
        return [self.folder / member / str(fold) for member in self.members for fold in self.folds]

    @property
    def sidecars(self) -> list[Sidecar]:
        """Of each model."""
        return [read_sidecar(folder) for folder in self.folders]

    @property
    def digests(self) -> dict[str, str]:
        """Folder of each model -> digest of its sidecar, which names those of its weights."""
        return {folder.as_posix(): file_sha256(folder / SIDECAR) for folder in self.folders}

    @property
    def clip_s(self) -> float:
        """Length of the longest of their clips."""
        return max(sidecar.member.recipe.clip_s for sidecar in self.sidecars)

    def scores(self, task: Task, opened: Opened, what: str) -> Floats:
        """Mean scores of the clips of all soundscapes: (N, K)."""
        with Progress(len(self.folders) * len(task.soundscapes), what, "soundscapes") as progress:
            each = [score_folder(folder, task, opened, progress)[0] for folder in self.folders]
        return np.asarray(np.mean(each, axis=0), np.float32)


@dataclass(frozen=True)
class Judge:
    """Measures models out of fold, and on the soundscapes that have a truth."""

    labels: list[str]
    soundscapes: Sequence[Soundscape]
    opened: Opened
    window_s: float
    batch_size: int

    def metrics(self, models: RoundModels) -> Metrics:
        """Metrics `out_of_fold` and, if there is a truth, `soundscapes`: of windows one after another, as they are."""
        return {"out_of_fold": self._out_of_fold(models)} | self._soundscapes(models)

    def _out_of_fold(self, models: RoundModels) -> dict[str, float]:
        view = models.sidecars[0].member.member.view
        predicted = read_out_of_fold(models.members, models.folds, view, self.labels, models.folder)
        scores_NK = np.mean(list(predicted.scores.values()), axis=0)
        return recording_metrics(predicted.examples.primary, predicted.examples.secondary, scores_NK)

    def _soundscapes(self, models: RoundModels) -> Metrics:
        truth = read_truth()
        told = with_truth(self.soundscapes, truth)
        if not told:
            return {}
        task = Task(told, self.labels, Cutting(self.window_s, self.window_s), self.batch_size)
        scores_NK = models.scores(task, self.opened, f"scoring {models.folder}")
        row_ids = [
            row_id
            for soundscape in told
            for row_id in window_ids(soundscape.name, windows_in(soundscape.duration_s, self.window_s), self.window_s)
        ]
        known = np.array([row_id in truth for row_id in row_ids])
        return {"soundscapes": window_metrics(self._truth_matrix(row_ids, truth)[known], scores_NK[known])}

    def _truth_matrix(self, row_ids: Sequence[str], truth: dict[str, set[str]]) -> Bools:
        return np.array([[label in truth.get(row_id, ()) for label in self.labels] for row_id in row_ids], bool)


def read_truth() -> dict[str, set[str]]:
    """Row id of a window -> the labels that sing in it."""
    table = tables.SOUNDSCAPE_TRUTH.read()
    return {row_id: set(labels.split()) for row_id, labels in zip(table[Col.ROW_ID], table[Col.LABELS], strict=True)}


def with_truth(soundscapes: Sequence[Soundscape], truth: dict[str, set[str]]) -> list[Soundscape]:
    """The soundscapes of which the truth table has a row."""
    names = {row_id.rpartition("_")[0] for row_id in truth}
    return [soundscape for soundscape in soundscapes if soundscape.name in names]
