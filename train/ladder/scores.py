"""Scores of a run of the ladder, fold by fold, and the numbers measured on them. N recording, K class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from birdcache.arrays import Bools, Floats32, Floats64, Ints
from birdcache.errors import TrainError
from birdcache.npz import read_npz, write_npz
from birdcache.predict.checked import check_scores
from train.data.examples import Examples
from train.paths import LADDER_RUNS
from train.score.metrics import class_metrics, recording_metrics, window_metrics

SIDES = ("validated", "trained", "windows")  # of FoldScores, that are scored
SCORED = {"names": "U1", "primary": "i1", "secondary": "b2", "scores": "f2"}  # arrays of ScoredRecordings in a file


@dataclass(frozen=True)
class ScoredRecordings:
    """Recordings, or windows, with their labels and one model's scores."""

    names: npt.NDArray[np.str_]  # (N,)
    primary: Ints  # (N,) class of the primary label
    secondary: Bools  # (N, K)
    scores: Floats32  # (N, K)

    @classmethod
    def of(cls, examples: Examples, scores_NK: Floats32) -> ScoredRecordings:
        """Examples with their scores."""
        scores_NK = examples.answers(scores_NK)
        return cls(np.array(examples.names, np.str_), examples.primary, examples.unjudged, scores_NK)

    def subset(self, chosen: Ints) -> ScoredRecordings:
        """Recordings by number."""
        return ScoredRecordings(self.names[chosen], self.primary[chosen], self.secondary[chosen], self.scores[chosen])

    @property
    def accuracy(self) -> float:
        """Share of the recordings whose best-scored class is their primary label."""
        return float((self.scores.argmax(axis=1) == self.primary).mean())


@dataclass(frozen=True)
class FoldScores:
    """One training: scores of both sides of its split, and how long its epochs took."""

    validated: ScoredRecordings
    trained: ScoredRecordings
    windows: ScoredRecordings  # of the fold's soundscapes; what is heard is `secondary`; there may be none
    epoch_s: Floats64  # seconds that each epoch trained


def fold_path(run: str, seed: int, fold: int) -> Path:
    """The file of a training's scores."""
    return LADDER_RUNS / f"{run}-{seed}" / f"{fold}.npz"


def write_fold(path: Path, fold: FoldScores) -> None:
    """Write a training's scores."""
    arrays = {f"{side}_{name}": array for side in SIDES for name, array in vars(getattr(fold, side)).items()}
    write_npz(path, arrays | {"epoch_s": fold.epoch_s})


def read_fold(path: Path) -> FoldScores:
    """Read a training's scores; a TrainError if they are missing, damaged, or anything else."""
    kinds = {f"{side}_{name}": kind for side in SIDES for name, kind in SCORED.items()}
    content = read_npz(path, kinds | {"epoch_s": "f1"}, "run `dvc repro -f` on its stage")
    sides = [ScoredRecordings(*(content[f"{side}_{name}"] for name in SCORED)) for side in SIDES]
    validated, trained, windows = sides
    for scored in sides:
        check_scores(scored.scores, path, scored.names.tolist().__getitem__)
    return FoldScores(validated, trained, windows, content["epoch_s"])


def measured(folds: Sequence[FoldScores], rare_K: Bools) -> dict[str, float]:
    """The numbers of one run with one seed; recordings of all folds are counted together.

    Parameters
    ----------
    rare_K : (K,) classes that `rare_ap` is the mean average precision of.

    Returns
    -------
    accuracy, macro_roc_auc, cmap, rare_ap (NaN if no rare class can be scored), two metrics of windows (NaN
    without any), gap (accuracy of the recordings that were trained on, minus accuracy), epoch_s (median of all epochs).
    """
    validated = concatenated([fold.validated for fold in folds])
    truth_NK = validated.primary[:, None] == np.arange(validated.scores.shape[1])
    plain = recording_metrics(validated.primary, validated.secondary, validated.scores)
    windows = concatenated([fold.windows for fold in folds])
    of_windows = window_metrics(windows.secondary, windows.scores)
    rare_ap = class_metrics(truth_NK, validated.scores, ~validated.secondary)[1][rare_K]
    return {
        **{name: plain[name] for name in ("accuracy", "macro_roc_auc", "cmap")},
        "rare_ap": float(np.nanmean(rare_ap)) if np.isfinite(rare_ap).any() else float("nan"),
        **{f"windows_{name}": of_windows[name] for name in ("macro_roc_auc", "cmap")},
        "gap": concatenated([fold.trained for fold in folds]).accuracy - validated.accuracy,
        "epoch_s": float(np.median(np.concatenate([fold.epoch_s for fold in folds]))),
    }


def concatenated(parts: Sequence[ScoredRecordings]) -> ScoredRecordings:
    """Recordings of several folds, one after the other."""
    return ScoredRecordings(*(np.concatenate([getattr(part, name) for part in parts]) for name in SCORED))


def blended(runs: Sequence[FoldScores]) -> FoldScores:
    """The mean of several trainings on one fold: scores of recordings and windows that all have; the times added up."""
    validated, trained, windows = (_mean([getattr(run, side) for run in runs]) for side in SIDES)
    epoch_s = np.array([sum(float(np.median(run.epoch_s)) for run in runs)])
    return FoldScores(validated, trained, windows, epoch_s)


def _mean(each: Sequence[ScoredRecordings]) -> ScoredRecordings:
    common = sorted(set.intersection(*(set(scored.names.tolist()) for scored in each)))
    if not common and all(len(scored.names) for scored in each):
        raise TrainError("ladder: an ensemble's rungs scored nothing in common; run `birdcache ladder` again")
    aligned = [scored.subset(pd.Index(scored.names).get_indexer(pd.Index(common))) for scored in each]
    mean_NK = np.mean([scored.scores for scored in aligned], axis=0)
    return ScoredRecordings(aligned[0].names, aligned[0].primary, aligned[0].secondary, mean_NK)
