"""The file data/ensemble.json: the way from scores of members' clips to final scores; thresholds of the classes.

P member, N recording, W window, K class.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from birdcache.arrays import Bools, Floats32
from birdcache.errors import TrainError
from birdcache.files import write_text
from birdcache.predict.postprocess import Cutting, PostProcessing, by_soundscape
from cache.tables import Col
from train.score.blend import Blend, Kind

ENSEMBLE = "ensemble"  # its name beside those of the members
UNTAUGHT = 0.5  # where not one recording is a positive


class Ensemble(BaseModel):
    """Members with their weights, learnt on all out-of-fold predictions, and all that is done to their scores.

    `thresholds` are per label, of blended scores before the file's maximum.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    version: Literal[1] = 1
    labels: list[str]
    members: dict[str, float]
    folds: list[int]
    fold_soup: bool
    kind: Kind
    best: int
    window_s: float
    hop_s: float
    shifts_s: list[float]
    smoothing: float
    file_max: float
    thresholds: list[float]

    @property
    def blend(self) -> Blend:
        """The blend of the members."""
        return Blend(self.kind, self.best)

    @property
    def cutting(self) -> Cutting:
        """The clips that are scored."""
        return Cutting(self.window_s, self.hop_s, tuple(self.shifts_s))

    @property
    def post(self) -> PostProcessing:
        """The post-processing of a soundscape's windows."""
        return PostProcessing(self.smoothing, self.file_max)

    def final(self, members_PWK: Floats32, windows: Sequence[int]) -> Floats32:
        """Final scores of the windows of several soundscapes, `windows` of each: (W, K)."""
        blended_WK = self.blend(members_PWK, np.array(list(self.members.values())))
        return by_soundscape(self.post, blended_WK, windows)

    def called_above(self) -> Floats32:
        """The final score from which on each class counts as detected: (K,)."""
        return self.post.thresholds(np.array(self.thresholds, np.float32))


def write_ensemble(path: Path, ensemble: Ensemble) -> None:
    """Write the file."""
    write_text(path, ensemble.model_dump_json(indent=2) + "\n")


def read_ensemble(path: Path) -> Ensemble:
    """Read the file.

    Raises
    ------
    TrainError
        If it is missing or not of this version.
    """
    try:
        return Ensemble.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise TrainError(f"{path}: is missing; run `dvc repro submit`") from None
    except ValidationError as error:
        raise TrainError(f"{path}: {error.errors()[0]['msg']}; write it again with `dvc repro -f submit`") from None


@dataclass(frozen=True)
class Thresholds:
    """A threshold for each class, and what it comes from; all arrays are (K,)."""

    used: Floats32  # `own` drawn towards the global one: (n own + prior global) / (n + prior) with n positives
    own: Floats32  # the threshold of the best F1 of the class alone; NaN without a positive or without a negative
    f1: Floats32  # of the used threshold; NaN like `own`
    positives: Floats32  # recordings of the class

    def table(self, labels: list[str]) -> pd.DataFrame:
        """reports/thresholds.csv."""
        columns = {"threshold": self.used, "own_threshold": self.own, "f1": self.f1}
        return pd.DataFrame({Col.LABEL: labels, "positives": self.positives.astype(int), **columns})


def fit_thresholds(truth_NK: Bools, scores_NK: Floats32, known_NK: Bools, prior: float) -> Thresholds:
    """The threshold of the best F1 for each class, drawn towards that of all classes together where positives are few.

    A class without positives or without negatives has the threshold of all classes.
    """
    common = best_threshold(truth_NK[known_NK], scores_NK[known_NK]) if (truth_NK & known_NK).any() else UNTAUGHT
    classes = truth_NK.shape[1]
    positives = (truth_NK & known_NK).sum(axis=0)
    used, own, f1 = np.full(classes, common), np.full(classes, np.nan), np.full(classes, np.nan)
    for label in np.flatnonzero((positives > 0) & (positives < known_NK.sum(axis=0))):
        rows = known_NK[:, label]
        truth_N, scores_N = truth_NK[rows, label], scores_NK[rows, label]
        own[label] = best_threshold(truth_N, scores_N)
        used[label] = (positives[label] * own[label] + prior * common) / (positives[label] + prior)
        f1[label] = f1_at(truth_N, scores_N, used[label])
    return Thresholds(*(np.asarray(column, np.float32) for column in (used, own, f1, positives)))


def best_threshold(truth_N: Bools, scores_N: Floats32) -> float:
    """The threshold of the best F1 among those halfway between neighbouring scores; of several, the highest.

    Parameters
    ----------
    truth_N : with at least one positive.
    """
    negated, first = np.unique(-scores_N.astype(np.float64), return_inverse=True)  # from the highest score on
    scores = -negated
    hits = np.cumsum(np.bincount(first, truth_N))
    called = np.cumsum(np.bincount(first))
    best = int(np.argmax(2 * hits / (called + truth_N.sum())))
    below = scores[best + 1] if best + 1 < len(scores) else 0.0
    return float((scores[best] + below) / 2)


def f1_at(truth_N: Bools, scores_N: Floats32, threshold: float) -> float:
    """F1 of what scores at least the threshold."""
    called_N = scores_N >= threshold
    return float(2 * (truth_N & called_N).sum() / (truth_N.sum() + called_N.sum()))
