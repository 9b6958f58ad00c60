"""Soundscapes over time: to listen to, with a truth, by day and hour. N, W window, K class, R row of a picture."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from birdcache.arrays import Bools, Floats32, Ints
from cache import tables
from cache.tables import Col
from commands.report.charts import path, shades
from commands.report.clips import drawn
from commands.report.media import Piece, sound, ticks_s
from commands.report.results import PipelineResults, piece_of
from train.score.ensemble import ENSEMBLE
from train.score.tables import EXAM, WINDOWS
from train.score.truth import held_out

MOST_ROWS = 15  # classes
CELL_BYTES = 220  # size of a cell of the table on the page
PANELS = 12  # classes by day and hour
KEYS = [Col.SITE, Col.DATE, "hour"]


def timelines(results: PipelineResults, count: int, longest_s: float) -> Iterator[Piece]:
    """The first soundscapes, those with truth before the others."""
    windows = results.windows
    names = [row_id.rpartition("_")[0] for row_id in windows.clips.row_ids]
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
    view_name, view = next(iter(results.views.items()))
    values_TM = piece_of(results.store(view_name, soundscapes=True), audio.sha256, 0.0, seconds)
    heard, silent = sound(audio, 0.0, seconds, view.sample_rate_hz)
    scores_WK = results.windows.scores[ENSEMBLE][rows]
    truth_WK, above_K = results.windows.truth[rows], results.ensemble.called_above()
    shown = classes_to_show(scores_WK, truth_WK, above_K)
    facts_WK3 = np.stack([scores_WK, scores_WK >= above_K, truth_WK], axis=2)
    lines = [(results.names[results.ensemble.labels[k]], facts_WK3[:, k].tolist()) for k in shown[:MOST_ROWS]]
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
        "lines": lines,  # name of the class, and for each window its score, whether it is called, and whether it sings
        "hidden": max(0, len(shown) - MOST_ROWS),  # classes
        "has_truth": bool(results.windows.has_truth[rows].any()),
        "bytes": len(picture.uri) + len(heard or "") + CELL_BYTES * len(lines) * len(rows),
    }


def classes_to_show(scores_WK: Floats32, truth_WK: Bools, above_K: Floats32) -> Ints:
    """Classes that sing, then classes that are detected, each sorted by score."""
    wanted = np.flatnonzero(truth_WK.any(axis=0) | (scores_WK >= above_K).any(axis=0))
    sings = truth_WK[:, wanted].any(axis=0)
    return wanted[np.lexsort((-scores_WK[:, wanted].max(axis=0, initial=0), ~sings))]


def strips(results: PipelineResults) -> Iterator[Piece]:
    """Every soundscape with a truth: those that a fold holds out, then the exam, each by site, date, time and name."""
    windows, folds = results.windows, held_out(results.ensemble.folds)
    places = tables.SOUNDSCAPES.read(Col.SOUNDSCAPE, *tables.PLACE).set_index(Col.SOUNDSCAPE)
    places = places.reindex(windows.clips.soundscapes).reset_index()
    for data in (WINDOWS, EXAM):
        numbers = np.unique(windows.soundscapes[windows.truths[data].known])
        ordered = places.iloc[numbers].sort_values([*tables.PLACE, Col.SOUNDSCAPE]).reset_index()
        for place in ordered.to_dict("records"):
            rows = np.flatnonzero(windows.soundscapes == place["index"])
            yield {"place": place, "fold": folds.get(place[Col.SOUNDSCAPE]), **_strip(results, data, rows)}


def _strip(results: PipelineResults, data: str, rows: Ints) -> Piece:
    """The picture of a soundscape's windows, and how many of each class are found, heard and called by mistake."""
    truth, scores_WK = results.windows.truths[data], results.windows.scores[ENSEMBLE][rows]
    above_K = results.ensemble.called_above()
    chosen = classes_to_show(scores_WK, truth.sings[rows], above_K)
    shown = chosen[:MOST_ROWS]
    scores_RW, sings_RW = scores_WK[:, shown].T, truth.sings[rows][:, shown].T
    called_RW = scores_RW >= above_K[shown, None]
    kinds = (sings_RW & called_RW, sings_RW, called_RW & ~sings_RW & truth.known[rows])
    names = [results.names[results.ensemble.labels[k]] for k in shown]
    found = {
        "shades": shades(scores_RW),
        "called": path(called_RW, 0.1, 0.2),
        "heard": path(sings_RW, 0.65, 0.25),
        "unknown": path(~truth.known[rows][None]),
        "rows": list(zip(names, np.stack([each.sum(axis=1) for each in kinds], axis=1).tolist(), strict=True)),
        "told": [int(each.sum()) for each in kinds],
        "hidden": len(chosen) - len(shown),  # classes
        "windows": len(rows),
        "ticks": ticks_s(0, len(rows) * results.ensemble.window_s),
    }
    return found | {"bytes": len(str(found))}


def activity(results: PipelineResults) -> pd.DataFrame:
    """Windows and detections by label, site, date and hour in which a window begins, which may be of the next day.

    Rows without a label are of all windows, and of detections of any class; others, of hours with a detection.
    """
    windows, labels = results.windows, np.array(results.ensemble.labels, object)
    places = tables.SOUNDSCAPES.read(Col.SOUNDSCAPE, *tables.PLACE).set_index(Col.SOUNDSCAPE)
    places = places.reindex(windows.clips.soundscapes).iloc[windows.soundscapes].reset_index()
    begins_N = np.concatenate([np.empty(0), *map(np.arange, windows.clips.windows)]) * results.ensemble.window_s
    starts_N = pd.to_datetime(places[Col.DATE] + places[Col.TIME], format="%Y-%m-%d%H:%M:%S", errors="coerce")
    clock_N = (starts_N + pd.to_timedelta(begins_N, unit="s")).dt
    rows = pd.DataFrame({Col.SITE: places[Col.SITE], Col.DATE: clock_N.strftime("%Y-%m-%d"), "hour": clock_N.hour})
    called_NK = windows.scores[ENSEMBLE] >= results.ensemble.called_above()
    window, label = np.nonzero(called_NK)
    every = rows.assign(label="", detections=np.asarray(called_NK.any(axis=1)))
    counted = pd.concat([every, rows.iloc[window].assign(label=labels[label], detections=True)])
    counted = counted.groupby([Col.LABEL, *KEYS])["detections"].sum().reset_index()
    counted = counted.merge(rows.value_counts(KEYS).rename("windows").reset_index(), on=KEYS)
    return counted[[Col.LABEL, *KEYS, "windows", "detections"]].astype({"hour": int, "detections": int})


def by_hour(counted: pd.DataFrame, names: Mapping[str, str]) -> dict[str, Any]:
    """Panels of the most detected classes, in one scale: the share of windows, all sites together; empty without any.

    A day without recordings between others is a row, too, unless there are many of these.
    """
    if not counted["detections"].any():
        return {}
    of_label = {str(label): rows for label, rows in counted.groupby(Col.LABEL)}
    effort = of_label.pop("").pivot_table("windows", Col.DATE, "hour", "sum").reindex(columns=range(24))
    days = pd.date_range(effort.index[0], effort.index[-1]).strftime("%Y-%m-%d")
    effort = effort.reindex(days) if len(days) <= 3 * len(effort) else effort
    most = sorted(of_label, key=lambda label: -of_label[label]["detections"].sum())[:PANELS]
    found = (of_label[label].pivot_table("detections", Col.DATE, "hour", "sum") for label in most)
    shares = [(each.reindex_like(effort).fillna(0) / effort).to_numpy() for each in found]
    largest = float(np.nanmax(shares))
    return {
        "panels": [(names[label], shades(share / largest)) for label, share in zip(most, shares, strict=True)],
        "recorded": path(effort.notna().to_numpy()),
        "largest": largest,
        "days": len(effort),
        "named": [(day, effort.index[day]) for day in sorted({0, len(effort) // 2, len(effort) - 1})],
    }
