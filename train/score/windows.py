"""Windows of the soundscapes: final scores beside the truth. P member, N window, K class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from birdcache.predict.clip_scores import ClipScores, read_clip_scores
from birdcache.predict.postprocess import by_soundscape
from cache import tables
from cache.tables import Col
from train.paths import SCORES
from train.score.ensemble import ENSEMBLE, Ensemble
from train.score.metrics import Bools, Floats, Ints, window_metrics


@dataclass(frozen=True)
class Windows:
    """The windows of all soundscapes."""

    clips: ClipScores
    row_ids: list[str]
    truth: Bools  # (N, K) who sings
    told: Bools  # (N,) whether the truth says anything about the window
    scores: dict[str, Floats]  # member or ensemble -> (N, K)

    @property
    def soundscapes(self) -> Ints:
        """(N,) which soundscape each window is of."""
        return np.repeat(np.arange(len(self.clips.windows)), self.clips.windows)

    def metrics(self, scores_NK: Floats) -> dict[str, float]:
        """Metrics over the windows that have a truth."""
        return window_metrics(self.truth[self.told], scores_NK[self.told])


def read_windows(labels: list[str], ensemble: Ensemble) -> Windows:
    """Final scores of all windows beside their truth, as far as there is one; each member also alone."""
    truth = tables.SOUNDSCAPE_TRUTH.read().set_index(Col.ROW_ID)[Col.LABELS]
    clips = read_clip_scores(SCORES)
    row_ids = clips.row_ids
    number = {label: index for index, label in enumerate(labels)}
    truth_NK = np.zeros((len(row_ids), len(labels)), bool)
    for row, row_id in enumerate(row_ids):
        truth_NK[row, [number[label] for label in truth.get(row_id, "").split() if label in number]] = True
    told = np.array([row_id in truth.index for row_id in row_ids], bool)
    members_PNK = clips.member_windows()
    alone = [by_soundscape(ensemble.post, scores_NK, clips.windows) for scores_NK in members_PNK]
    scores = dict(zip(clips.members.tolist(), alone, strict=True))
    scores[ENSEMBLE] = ensemble.final(members_PNK, clips.windows)
    return Windows(clips, row_ids, truth_NK, told, scores)
