"""Stage `predict`: score clips of every soundscape with all members and folds."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from birdcache.arrays import Floats32
from birdcache.errors import run_stage
from birdcache.params import load as parameters
from birdcache.predict.clip_scores import ClipScores
from birdcache.predict.postprocess import Cutting
from birdcache.progress import Progress
from birdcache.text import counted
from cache import tables
from cache.tables import Col
from train.data.examples import read_labels
from train.model.classifier import choose_device
from train.model.weights import read_sidecar
from train.paths import MODELS, SCORES
from train.score.soundscapes import ScoringTask, SoundscapeAudio, SoundscapeStores, held_by_all_views, score_folder
from train.score.truth import held_out

Share = tuple[tuple[int, ...], list[int]]  # folds, and numbers of the soundscapes that their models score


def main() -> None:
    """Write data/soundscape_scores.npz: the scores of each clip by each member."""
    params = parameters.load()
    device = choose_device(params.machine.device)
    predict, folds = params.predict, params.folds.train
    folders = [MODELS / name / str(fold) for name in params.members for fold in folds]
    soundscapes = held_by_all_views(map(read_sidecar, folders))
    cutting = Cutting(predict.window_s, predict.hop_s, tuple(predict.shifts_s))
    task = ScoringTask(soundscapes, read_labels(), cutting, predict.batch_size)
    opened, shares = SoundscapeStores(params.machine, device), shares_of(soundscapes, folds)
    each = sum(len(numbers) * len(by) for by, numbers in shares)
    with Progress(len(params.members) * each, "predict", "soundscapes by a model") as progress:
        scores = [score_member(name, shares, task, opened, progress) for name in params.members]
    named = [(each.name, each.duration_s) for each in soundscapes]
    ClipScores.of(list(params.members), named, np.stack(scores), cutting).write(SCORES)
    clips = scores[0].shape[0] * scores[0].shape[1]
    print(f"{SCORES}: {clips} clips of {counted(len(soundscapes), 'soundscapes')} by {counted(len(folders), 'models')}")


def shares_of(soundscapes: Sequence[SoundscapeAudio], folds: Sequence[int]) -> list[Share]:
    """Soundscapes that a fold holds out are scored by its models alone, which have not learnt them; others by all."""
    fold_of = held_out(folds)
    shares: dict[tuple[int, ...], list[int]] = {}
    for number, each in enumerate(soundscapes):
        by = (fold_of[each.name],) if each.name in fold_of else tuple(folds)
        shares.setdefault(by, []).append(number)
    if learnt := len(tables.SOUNDSCAPE_FOLDS.read(Col.FOLD)) - len(fold_of):
        left_out = "models score them that may have learnt them, and metrics of windows leave them out"
        print(f"no fold of folds.train holds out {counted(learnt, 'soundscapes')} with labelled windows: {left_out}")
    return list(shares.items())


def score_member(
    name: str, shares: Sequence[Share], task: ScoringTask, opened: SoundscapeStores, progress: Progress
) -> Floats32:
    """Mean scores of a member's folds: (S, N, K), clips of all soundscapes."""
    clips = [len(task.cutting.middles_s(each.duration_s)) for each in task.soundscapes]
    owner_N = np.repeat(np.arange(len(clips)), clips)
    scores = np.empty((len(task.cutting.moves_s), len(owner_N), len(task.labels)), np.float32)
    for folds, numbers in shares:
        part = replace(task, soundscapes=[task.soundscapes[number] for number in numbers])
        by_fold = [score_folder(MODELS / name / str(fold), part, opened, progress) for fold in folds]
        scores[:, np.isin(owner_N, numbers)] = np.mean(by_fold, axis=0)
    return scores


if __name__ == "__main__":
    run_stage(main)
