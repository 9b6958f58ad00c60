"""Out-of-fold predictions of members. N recording, K class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from birdcache.arrays import Bools, Floats32, Ints
from birdcache.errors import TrainError
from birdcache.predict.clip_scores import ClipScores
from cache.store import Store
from train.data.examples import Examples, read_examples
from train.paths import MODELS, store_path
from train.score.blend import HeldOut
from train.score.calibration import cross_calibrated
from train.score.ensemble import ENSEMBLE, Ensemble
from train.score.predictions import read_predictions
from train.score.truth import held_out, read_held_out


@dataclass(frozen=True)
class OutOfFold:
    """Recordings that every member has predicted without having been trained on them."""

    examples: Examples
    scores: dict[str, Floats32]  # member -> (N, K)
    recordings: Ints  # (K,) of each class in the data set, validated or not
    fold: Ints  # (N,) in which each recording was held out

    @property
    def truth(self) -> Bools:
        """The primary label of each recording: (N, K)."""
        return np.asarray(self.examples.primary[:, None] == np.arange(self.examples.classes))

    @property
    def held(self) -> HeldOut:
        """The predictions that weights are learnt from; secondary labels count neither for nor against."""
        return HeldOut(np.stack(list(self.scores.values())), self.truth, ~self.examples.unjudged, self.fold)

    def with_ensemble(self, ensemble: Ensemble) -> OutOfFold:
        """With the calibrated blend of the members as one more, named ENSEMBLE."""
        held = self.held
        blended_NK, by_others = held.blended(ensemble.blend), ensemble.fitted_on == "windows"
        post, kind = ensemble.post, ensemble.calibration
        calibrated_NK = post.calibrator(blended_NK) if by_others else cross_calibrated(blended_NK, held, kind)
        return replace(self, scores=self.scores | {ENSEMBLE: self.examples.answers(calibrated_NK)})


def read_out_of_fold(
    members: Sequence[str], folds: Sequence[int], view: str, labels: list[str], models: Path = MODELS
) -> OutOfFold:
    """Gather <models>/<member>/<fold>/predictions.npz of members and trained folds; `view` is that of one of them.

    A TrainError if predictions are missing, damaged or no numbers, or no recording was predicted by every member.
    """
    per_member = {name: _member_predictions(models, name, folds) for name in members}
    common = sorted(set.intersection(*(set(predicted) for predicted in per_member.values())))
    if not common:
        raise TrainError("models/: no recording was predicted by every member; run `dvc repro`")
    predicted_by_one = len(set().union(*per_member.values()))
    if len(common) < predicted_by_one:
        lost = f"{predicted_by_one - len(common)} of {predicted_by_one} recordings"
        print(f"warning: {lost} were not predicted by every member and count for none; see reports/spectrograms/")
    fold = np.array([per_member[members[0]][recording][1] for recording in common])
    examples, _ = read_examples(Store(store_path(view)), labels)
    predicted = examples.subset(pd.Index(examples.names).get_indexer(pd.Index(common)))
    scores = {
        name: predicted.answers(np.stack([each[recording][0] for recording in common]))
        for name, each in per_member.items()
    }
    return OutOfFold(predicted, scores, np.bincount(examples.primary, minlength=len(labels)), fold)


def held_windows(clips: ClipScores, labels: list[str], folds: Sequence[int]) -> HeldOut:
    """Members' scores of labelled windows, each by the models of the fold that holds its soundscape out."""
    truth, fold_of = read_held_out(clips.row_ids, labels, float(clips.window_s), folds), held_out(folds)
    fold_S = np.array([fold_of.get(name, -1) for name in clips.soundscapes.tolist()], np.int64)
    sings_NK = truth.sings[truth.known]
    fold_N = np.repeat(fold_S, clips.windows)[truth.known]
    return HeldOut(clips.member_windows()[:, truth.known], sings_NK, np.ones_like(sings_NK), fold_N)


def _member_predictions(models: Path, name: str, folds: Sequence[int]) -> dict[str, tuple[Floats32, int]]:
    """Recording -> its scores (K,), and its fold."""
    predicted: dict[str, tuple[Floats32, int]] = {}
    for fold in folds:
        names, scores_NK = read_predictions(models / name / str(fold), f"run `dvc repro -f train@{name}-{fold}`")
        predicted |= {recording: (scores_K, fold) for recording, scores_K in zip(names, scores_NK, strict=True)}
    return predicted
