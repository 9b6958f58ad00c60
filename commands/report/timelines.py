"""Soundscapes with scores over time, truth and sound. W window, K class."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from birdcache.arrays import Bools, Floats32, Ints
from cache.tables import Col
from commands.report.clips import drawn
from commands.report.media import Piece, sound
from commands.report.results import PipelineResults, piece_of
from train.score.ensemble import ENSEMBLE

MOST_ROWS = 15  # classes
CELL_BYTES = 220  # size of a cell of the table on the page


def timelines(results: PipelineResults, count: int, longest_s: float) -> Iterator[Piece]:
    """The first soundscapes, those with truth before the others."""
    windows = results.windows
    names = [row_id.rpartition("_")[0] for row_id in windows.row_ids]
    for number, name in enumerate(soundscapes_to_show(names, windows.truth, count)):
        rows = np.flatnonzero(np.array(names, object) == name)
        yield _timeline(results, number, name, rows, longest_s)


def soundscapes_to_show(names: Sequence[str], truth_WK: Bools, most: int) -> list[str]:
    """The first soundscapes, those with a species in their truth before the others; `names` has one per window."""
    with_truth = {names[window] for window in np.flatnonzero(truth_WK.any(axis=1)).tolist()}
    return sorted(dict.fromkeys(names), key=lambda name: name not in with_truth)[:most]


def _timeline(results: PipelineResults, number: int, name: str, rows: Ints, longest_s: float) -> Piece:
    """A soundscape, or its start."""
    audio, window_s = results.soundscape_audio[name], results.ensemble.window_s
    rows = rows[: max(1, int(longest_s // window_s))]
    seconds = min(len(rows) * window_s, audio.duration_s)
    view_name = next(iter(results.views))
    view = results.views[view_name]
    values_TM = piece_of(results.store(view_name, soundscapes=True), audio.sha256, 0.0, seconds)
    heard, silent = sound(audio, 0.0, seconds, view.sample_rate_hz)
    scores_WK = results.windows.scores[ENSEMBLE][rows]
    shown = classes_to_show(scores_WK, results.windows.truth[rows], results.ensemble.called_above())
    lines = [_line(results, k, rows) for k in shown[:MOST_ROWS].tolist()]
    picture = drawn(values_TM, view, view_name, 0.0, f"soundscape {name}")
    return {
        "id": f"soundscape-{number}",
        "name": name,
        "picture": picture,
        "sound": heard,
        "silent": silent,
        "seconds": seconds,
        "duration_s": audio.duration_s,
        "window_s": window_s,
        "lines": lines,
        "hidden": max(0, len(shown) - MOST_ROWS),  # classes
        "has_truth": bool(results.windows.has_truth[rows].any()),
        "bytes": len(picture.uri) + len(heard or "") + CELL_BYTES * len(lines) * len(rows),
    }


def classes_to_show(scores_WK: Floats32, truth_WK: Bools, above_K: Floats32) -> Ints:
    """Classes that sing, then classes that are detected, each sorted by score."""
    wanted = np.flatnonzero(truth_WK.any(axis=0) | (scores_WK >= above_K).any(axis=0))
    sings = truth_WK[:, wanted].any(axis=0)
    return wanted[np.lexsort((-scores_WK[:, wanted].max(axis=0, initial=0), ~sings))]


def _line(results: PipelineResults, k: int, rows: Ints) -> dict[str, Any]:
    windows, window_s = results.windows, results.ensemble.window_s
    scores_W, sings_W = windows.scores[ENSEMBLE][rows, k].tolist(), windows.truth[rows, k].tolist()
    is_called_W = windows.scores[ENSEMBLE][rows, k] >= results.ensemble.called_above()[k]
    facts = zip(scores_W, is_called_W.tolist(), sings_W, strict=True)
    shown = [
        {"start_s": place * window_s, "score": score, "detected": is_called, "sings": sings}
        for place, (score, is_called, sings) in enumerate(facts)
    ]
    return {"name": results.names[str(results.labels[Col.LABEL][k])], "windows": shown}
