"""Choice of recordings to see and hear, and of their liveliest pieces.

N recording, K class, T frame, M mel bin.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from birdcache.arrays import Floats32, Ints, spread
from birdcache.params.views import MelView, PcenView
from birdcache.text import counted
from cache.store import Store
from cache.tables import Col
from commands.report.media import Picture, Piece, picture, sound
from commands.report.results import AudioFile, PipelineResults, piece_of
from train.score.ensemble import ENSEMBLE

BEST_SHOWN = 3  # classes of a clip
SEARCHED_S = 600.0  # of a long recording, when looking for its liveliest piece
UNITS = {"mel": "dB", "pcen": "PCEN"}


def gallery(results: PipelineResults, count: int, clip_s: float) -> Iterator[Piece]:
    """A well-rated recording of each of `count` classes, from the most to the least frequent, in all views."""
    counts_K, views = results.labels["recordings"].to_numpy(), list(results.views)
    held = [label for label in np.argsort(-counts_K, kind="stable").tolist() if counts_K[label] > 0]
    for label in spread(held, count):
        code = str(results.labels[Col.LABEL][label])
        rows = results.recordings[results.recordings[Col.LABEL] == code]
        rows = rows[results.store(views[0]).rows_of(list(rows[Col.SHA256])) >= 0]
        facts = (f"{counted(int(counts_K[label]), 'recordings')} of this class",)
        for name in rows.sort_index().sort_values("rating", ascending=False, kind="stable").index[:1]:
            yield _clip(results, f"gallery-{label}", results.names[code], str(name), views, clip_s, facts=facts)


def mistakes(results: PipelineResults, count: int, clip_s: float) -> Iterator[Piece]:
    """Most confident mistakes: the best class is neither the label nor a secondary one."""
    for number in worst(results).tolist()[:count]:
        yield _judged(results, f"mistake-{number}", number, clip_s)


def worst(results: PipelineResults) -> Ints:
    """Misclassified recordings, sorted by how far the score of their label is below the best one."""
    examples, scores_NK = results.predicted.examples, results.scores
    guess_N, own_N = scores_NK.argmax(axis=1), np.arange(len(examples))
    wrong_N = (guess_N != examples.primary) & ~examples.unjudged[own_N, guess_N]
    gap_N = scores_NK[own_N, guess_N] - scores_NK[own_N, examples.primary]
    return np.asarray([n for n in np.argsort(-gap_N, kind="stable") if wrong_N[n]], np.int64)


def unsure(results: PipelineResults, count: int, clip_s: float) -> Iterator[Piece]:
    """Recordings with the closest two best scores, right or wrong, without those among the mistakes."""
    shown = set(worst(results).tolist()[:count])
    for number in [n for n in least_sure(results.scores).tolist() if n not in shown][:count]:
        yield _judged(results, f"unsure-{number}", number, clip_s)


def least_sure(scores_NK: Floats32) -> Ints:
    """Recordings sorted by the distance of their two best scores; none if there is only one class."""
    if scores_NK.shape[1] < 2:
        return np.empty(0, np.int64)
    best_N2 = np.sort(scores_NK, axis=1)[:, -2:]
    return np.argsort(best_N2[:, 1] - best_N2[:, 0], kind="stable")


def _judged(results: PipelineResults, name: str, number: int, clip_s: float) -> Piece:
    """A recording with the scores of the ensemble and the members."""
    examples, names, scores_K = results.predicted.examples, list(results.names.values()), results.scores[number]
    primary, best = int(examples.primary[number]), np.argsort(-scores_K, kind="stable").tolist()
    title = names[primary] if primary == best[0] else f"{names[primary]}, taken for {names[best[0]]}"
    others = [names[k] for k in np.flatnonzero(examples.secondary[number])]
    own = {member: each_NK[number] for member, each_NK in results.predicted.scores.items() if member != ENSEMBLE}
    votes = [f"{member}: {names[own_K.argmax()]} {own_K.max():.2f}" for member, own_K in own.items()]
    facts = [f"held out in fold {results.predicted.fold[number]}"]
    facts += [f"also heard: {', '.join(others)}"] if others else []
    facts += votes if len(votes) > 1 else []
    view, shown = next(iter(results.views)), dict.fromkeys([*best[:BEST_SHOWN], primary])
    scores = [{"name": names[k], "value": float(scores_K[k]), "right": k == primary} for k in shown]
    recording, mark = examples.names[number], "" if primary == best[0] else "wrong"
    return _clip(results, name, title, recording, [view], clip_s, facts=tuple(facts), scores=scores, mark=mark)


def _clip(
    results: PipelineResults, name: str, title: str, recording: str, views: Sequence[str], clip_s: float, **more: Any
) -> Piece:
    """The liveliest piece of a recording, by the first view: a picture per view, and a sound or why there is none."""
    audio = results.audio[recording]
    start_s, seconds = liveliest(results.store(views[0]), audio, clip_s)
    pieces = {view: piece_of(results.store(view), audio.sha256, start_s, seconds) for view in views}
    what = f"{title}, recording {recording}"
    pictures = [drawn(each, results.views[view], view, start_s, what) for view, each in pieces.items() if len(each)]
    heard, silent = sound(audio, start_s, seconds, results.views[views[0]].sample_rate_hz)
    return {
        "id": name,
        "title": title,
        "recording": recording,
        "pictures": pictures,
        "sound": heard,
        "silent": silent,
        "start_s": start_s,
        "seconds": seconds,
        "bytes": sum(len(each.uri) for each in pictures) + len(heard or ""),
        **{"facts": (), "scores": (), "mark": "", **more},
    }


def drawn(values_TM: Floats32, view: MelView | PcenView, name: str, start_s: float, what: str) -> Picture:
    """A picture of a view's values; `what` describes its content."""
    seconds = len(values_TM) * view.hop / view.sample_rate_hz
    alt = f"Spectrogram of {what}, {start_s:.1f} to {start_s + seconds:.1f} s, view {name}"
    return picture(values_TM, view, start_s, alt, f"view {name}, {UNITS[view.kind]}, {view.n_mels} mel bins")


def liveliest(store: Store, audio: AudioFile, clip_s: float) -> tuple[float, float]:
    """Start and length, in seconds, of the piece that most exceeds the usual level of each mel bin."""
    values_TM, frames = piece_of(store, audio.sha256, 0.0, SEARCHED_S), store.view.frames(clip_s)
    if len(values_TM) <= frames:
        return 0.0, min(clip_s, audio.duration_s)
    begin_s = loudest_frame(values_TM, frames) * store.view.hop / store.view.sample_rate_hz
    return begin_s, min(clip_s, audio.duration_s - begin_s)


def loudest_frame(values_TM: Floats32, frames: int) -> int:
    """First frame of the span of `frames` frames that most exceeds the medians of the mel bins."""
    above_T = np.maximum(values_TM - np.median(values_TM, axis=0), 0).mean(axis=1, dtype=np.float64)
    sums_T = np.cumsum(np.concatenate([[0.0], above_T]))
    return int(np.argmax(sums_T[frames:] - sums_T[:-frames]))
