"""Stage `predict`: score clips of every soundscape with all members and folds."""

from collections.abc import Sequence

import numpy as np

from birdcache.arrays import Floats32
from birdcache.errors import run_stage
from birdcache.params import load as parameters
from birdcache.predict.clip_scores import ClipScores
from birdcache.predict.postprocess import Cutting
from birdcache.progress import Progress
from train.data.examples import read_labels
from train.model.classifier import choose_device
from train.model.weights import read_fold_soup, read_sidecar
from train.paths import MODELS, SCORES
from train.score.soundscapes import (
    ScoringTask,
    SoundscapeStores,
    held_by_all_views,
    read_soundscapes,
    score_folder,
    score_model,
)


def main() -> None:
    """Write data/soundscape_scores.npz: the scores of each clip by each member."""
    params = parameters.load()
    device = choose_device(params.machine.device)
    predict, fold_soup, folds = params.predict, params.ensemble.fold_soup, params.folds.train
    folders = [MODELS / name / str(fold) for name in params.members for fold in folds]
    soundscapes = held_by_all_views(read_soundscapes(), map(read_sidecar, folders))
    cutting = Cutting(predict.window_s, predict.hop_s, tuple(predict.shifts_s))
    task = ScoringTask(soundscapes, read_labels(), cutting, predict.batch_size)
    opened = SoundscapeStores(params.machine, device)
    models = len(params.members) * (1 if fold_soup else len(folds))
    with Progress(models * len(soundscapes), "predict", "soundscapes") as progress:
        scores = [score_member(name, folds, fold_soup, task, opened, progress) for name in params.members]
    named = [(each.name, each.duration_s) for each in soundscapes]
    ClipScores.of(list(params.members), named, np.stack(scores), cutting, fold_soup).write(SCORES)
    clips = scores[0].shape[0] * scores[0].shape[1]
    print(f"{SCORES}: {clips} clips of {len(soundscapes)} soundscapes by {models} models")


def score_member(
    name: str, folds: Sequence[int], fold_soup: bool, task: ScoringTask, opened: SoundscapeStores, progress: Progress
) -> Floats32:
    """Mean scores of a member's folds, or those of the mean of their weights: (S, N, K), clips of all soundscapes."""
    folders = [MODELS / name / str(fold) for fold in folds]
    if fold_soup:
        return score_model(folders[-1], *read_fold_soup(folders, opened.device), task, opened, progress)
    return np.asarray(np.mean([score_folder(each, task, opened, progress) for each in folders], axis=0), np.float32)


if __name__ == "__main__":
    run_stage(main)
