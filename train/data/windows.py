"""Labelled windows of soundscapes as examples: to cut training clips from, and to judge by. N window, K class."""

from dataclasses import replace

import numpy as np

from birdcache.arrays import Ints
from birdcache.text import seconds_text
from cache import tables
from cache.store import Store
from cache.tables import Col
from train.data.examples import SILENCE, Events, Examples
from train.data.spans import used_spans


def read_windows(store: Store, labels: tuple[str, ...], clip_frames: int, rows: int) -> tuple[Examples, Examples, Ints]:
    """The labelled windows of the soundscapes in a store, and the fold of each; what is heard in them is `secondary`.

    First as examples to train on, in a store in which so many `rows` of recordings come first. A clip of one holds the
    whole window, or lies inside it if that is longer, and leaves the labelled time of its soundscape only by padding.
    Its targets are as with annotated times: a window counts of which half lies in the clip, or which fills half of it.
    Then as ones that judge, each with a name of its own that all views share: the one clip around the middle of each,
    in rows of the store.
    """
    folds = tables.SOUNDSCAPE_FOLDS.read(Col.SOUNDSCAPE, Col.SHA256, Col.FOLD)
    table = tables.WINDOWS.read().merge(folds, on=Col.SOUNDSCAPE)
    row, rate = store.rows_of(list(table[Col.SHA256])), store.view.sample_rate_hz / store.view.hop
    ends = ((table[name].to_numpy(float) * rate).round().astype(np.int64) for name in (Col.START_S, Col.END_S))
    table["row"], table["first"], table["end"] = row, *(np.minimum(each, store.frames[row]) for each in ends)
    table = table[(row >= 0) & (table["first"] < table["end"])].sort_values(["row", "first", "end"])
    row, first, end = (table[name].to_numpy(np.int64) for name in ("row", "first", "end"))
    of_soundscape = table.groupby("row")
    low, high = of_soundscape["first"].transform("min").to_numpy(), of_soundscape["end"].transform("max").to_numpy()
    heard = np.zeros((len(table), len(labels)), bool)
    for number, text in enumerate(table[Col.LABELS]):
        heard[number, [labels.index(label) for label in text.split()]] = True
    window, label = np.nonzero(np.column_stack([heard, ~heard.any(axis=1)]))
    events = Events(row[window] + rows, first[window], end[window], np.where(label == len(labels), SILENCE, label))
    begin, frames = used_spans(first - low, end - low, high - low, clip_frames)
    names, none, shown = tuple(table[Col.SOUNDSCAPE]), np.zeros(len(table), np.int64), store.frames[row]
    taught = Examples(labels, names, row + rows, none, begin + low, frames, none, heard, np.zeros(len(table)), events)
    middle = np.rint((first + end - clip_frames) / 2).astype(np.int64)
    start = np.clip(middle, 0, np.maximum(shown - clip_frames, 0))
    times = [table[name].map(seconds_text).astype(str) for name in (Col.START_S, Col.END_S)]
    names = tuple(table[Col.SOUNDSCAPE] + " " + times[0] + " " + times[1])
    judged = replace(taught, names=names, rows=row, first=start, frames=np.minimum(shown, clip_frames), events=None)
    return taught, judged, table[Col.FOLD].to_numpy(np.int64)
