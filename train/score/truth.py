"""The truth of soundscapes, window by window. N window, K class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from birdcache.arrays import Bools
from birdcache.errors import TrainError
from birdcache.text import seconds_text
from cache import tables
from cache.tables import Col


@dataclass(frozen=True)
class WindowTruth:
    """What sings in windows."""

    sings: Bools  # (N, K) species that sing
    known: Bools  # (N,) windows that the truth has a row for
    warning: str  # what to tell of rows of the truth that are of none of these windows, "" if there are none


def soundscape_of(row_id: str) -> str:
    """The soundscape of a row id, <soundscape>_<second the window ends>."""
    return row_id.rpartition("_")[0]


def labelled_soundscapes() -> set[str]:
    """Names of the soundscapes that have a row in the truth table."""
    return set(map(soundscape_of, tables.SOUNDSCAPE_TRUTH.read()[Col.ROW_ID]))


def read_truth(row_ids: Sequence[str], labels: Sequence[str]) -> WindowTruth:
    """The truth of these windows.

    A TrainError if it has rows of their soundscapes, and all of these end at other seconds than the windows do.
    """
    table = tables.SOUNDSCAPE_TRUTH.read()
    truth = dict(zip(table[Col.ROW_ID], table[Col.LABELS], strict=True))
    windows, scored = set(row_ids), set(map(soundscape_of, row_ids))
    of_scored = [row_id for row_id in truth if soundscape_of(row_id) in scored]
    if of_scored and windows.isdisjoint(of_scored):
        window = next(row_id for row_id in row_ids if soundscape_of(row_id) == soundscape_of(of_scored[0]))
        raise TrainError(
            f"{tables.SOUNDSCAPE_TRUTH.path}: none of its {len(of_scored)} rows is of a window that was scored, first "
            f"{of_scored[0]!r}, while there is {window!r}; set predict.window_s to the length of the truth's windows"
        )
    return _matched(truth, row_ids, labels)


def held_out(folds: Sequence[int]) -> dict[str, int]:
    """The soundscapes with labelled windows that one of these folds holds out: name -> fold."""
    table = tables.SOUNDSCAPE_FOLDS.read(Col.SOUNDSCAPE, Col.FOLD)
    return {name: fold for name, fold in table.itertuples(index=False, name=None) if fold in folds}


def read_held_out(row_ids: Sequence[str], labels: Sequence[str], window_s: float, folds: Sequence[int]) -> WindowTruth:
    """The truth of these windows by the labelled ones of this length, of soundscapes that these folds hold out."""
    table = tables.WINDOWS.read()
    table = table[table[Col.SOUNDSCAPE].isin(held_out(folds))]
    is_alike = (table[Col.END_S] - table[Col.START_S] - window_s).abs() < 1e-3
    ends = table[Col.END_S].map(seconds_text).astype(str).where(is_alike, "another length")
    return _matched(dict(zip(table[Col.SOUNDSCAPE] + "_" + ends, table[Col.LABELS], strict=True)), row_ids, labels)


def _matched(truth: Mapping[str, str], row_ids: Sequence[str], labels: Sequence[str]) -> WindowTruth:
    number = {label: place for place, label in enumerate(labels)}
    sings_NK = np.zeros((len(row_ids), len(labels)), bool)
    for row, row_id in enumerate(row_ids):
        sings_NK[row, [number[label] for label in truth.get(row_id, "").split() if label in number]] = True
    known_N = np.array([row_id in truth for row_id in row_ids], bool)
    windows = set(row_ids)
    lost = [row_id for row_id in truth if row_id not in windows]
    why = "the soundscape was refused, or ends earlier, or has windows that end at other seconds"
    counted = f"{len(lost)} of {len(truth)} rows of the truth are not measured"
    return WindowTruth(sings_NK, known_N, f"{counted}, first {lost[0]!r}: {why}" if lost else "")
