"""Quiet ends of recordings: digital silence, handling noise far below the song. T frame, M mel bin."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from cache.store import Store
from cache.stream import reading_threads
from train.data.examples import Examples, Floats

MARGIN = 2  # frames that are kept on either side: a window reaches into its neighbours


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


def loud_span(values_TM: Floats, trim_db: float) -> tuple[int, int]:
    """Where the loud part of a recording in dB begins, and where it has ended."""
    level_T = values_TM.max(axis=1)
    loud = np.flatnonzero(level_T >= level_T.max() - trim_db)
    return max(int(loud[0]) - MARGIN, 0), min(int(loud[-1]) + 1 + MARGIN, len(level_T))
