"""The used spans of recordings: around annotated times, or without quiet ends (silence, noise far below the song).

E event, N example, T frame, M mel bin, K class.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from birdcache.arrays import Floats32, Ints
from birdcache.params.views import AnyView
from cache import tables
from cache.store import Store
from cache.stream import reading_threads
from cache.tables import Col
from train.data.examples import Events, Examples

MARGIN = 2  # frames that are kept on either side: a window reaches into its neighbours


def read_events(examples: Examples, view: AnyView) -> Events:
    """The annotated times of the examples' recordings, in frames, in order of row and time."""
    table = tables.ANNOTATIONS.read()
    row_of = dict(zip(examples.names, examples.rows.tolist(), strict=True))
    table = table[table[Col.RECORDING].isin(row_of)]
    row_E = np.array([row_of[recording] for recording in table[Col.RECORDING]], np.int64)
    number = {label: number for number, label in enumerate(examples.labels)}
    label_E = np.array([number[label] for label in table[Col.LABEL]], np.int64)
    rate = view.sample_rate_hz / view.hop
    first_E = np.floor(table[Col.START_S].to_numpy(float) * rate).astype(np.int64)
    end_E = np.maximum(np.ceil(table[Col.END_S].to_numpy(float) * rate), first_E + 1).astype(np.int64)
    order = np.lexsort((label_E, end_E, first_E, row_E))
    return Events(row_E[order], first_E[order], end_E[order], label_E[order])


def with_annotated_times(examples: Examples, store: Store, view: AnyView, clip_s: float) -> Examples:
    """One example for each annotated time in place of the recording that holds it; recordings without any stay.

    A clip of such an example holds the whole time, or lies inside it if that is longer, so that a label is never taught
    with a clip in which it is not heard. Its targets follow from all times in the clip, see `Examples.targets`.
    """
    events = read_events(examples, view)
    example_N, event_N = _pairs(examples.rows, events.row)
    primary_N, secondary_NK = examples.primary[example_N], examples.secondary[example_N]
    first_N, frames_N = examples.first[example_N], examples.frames[example_N]
    is_event_N = event_N >= 0
    chosen = event_N[is_event_N]
    total = store.frames[events.row[chosen]]
    primary_N[is_event_N] = events.label[chosen]
    secondary_NK[is_event_N] = False
    first_N[is_event_N], frames_N[is_event_N] = used_spans(
        events.first[chosen], np.minimum(events.end[chosen], total), total, view.frames(clip_s)
    )
    expanded = examples.subset(example_N)
    return replace(expanded, first=first_N, frames=frames_N, primary=primary_N, secondary=secondary_NK, events=events)


def used_spans(first_E: Ints, end_E: Ints, total_E: Ints, clip_frames: int) -> tuple[Ints, Ints]:
    """First frame and number of frames of the spans in which clips are drawn that hold a time, or lie inside it."""
    slack_E = np.maximum(clip_frames - (end_E - first_E), 0)
    begin_E = np.maximum(np.minimum(first_E, total_E - 1) - slack_E, 0)
    return begin_E, np.minimum(end_E + slack_E, total_E) - begin_E


def _pairs(rows_N: Ints, row_E: Ints) -> tuple[Ints, Ints]:
    """Numbers of examples and of their events (-1 for an example without any), each pair once."""
    # as in Events.heard, but an example without events still makes one pair
    low_N, high_N = np.searchsorted(row_E, rows_N, "left"), np.searchsorted(row_E, rows_N, "right")
    count_N = np.maximum(high_N - low_N, 1)
    example = np.repeat(np.arange(len(rows_N)), count_N)
    within = np.arange(len(example)) - np.repeat(np.cumsum(count_N) - count_N, count_N)
    event = np.where((high_N > low_N)[example], low_N[example] + within, -1)
    return example, event.astype(np.int64)


def trimmed(examples: Examples, store: Store, trim_db: float) -> Examples:
    """Examples without the quiet ends of their recordings; the frames between stay, however quiet.

    Parameters
    ----------
    trim_db : frames whose loudest mel bin lies further below that of the recording's loudest frame are quiet.
    """
    with ThreadPoolExecutor(reading_threads(store), thread_name_prefix="trim") as threads:
        spans = threads.map(lambda row: loud_span(store.read(int(row)), trim_db), examples.rows)
        first, end = np.array(list(spans), np.int64).reshape(-1, 2).T
    return replace(examples, first=first, frames=end - first)


def loud_span(values_TM: Floats32, trim_db: float) -> tuple[int, int]:
    """First frame of the loud part of a recording in dB, and the frame after its last."""
    level_T = values_TM.max(axis=1)
    loud = np.flatnonzero(level_T >= level_T.max() - trim_db)
    return max(int(loud[0]) - MARGIN, 0), min(int(loud[-1]) + 1 + MARGIN, len(level_T))
