"""The one check of scores: whatever a model or a file gives as such is a number from 0 to 1, or an error."""

from collections.abc import Callable, Sequence

import numpy as np

from birdcache.arrays import Floats32, Floats64
from birdcache.errors import TrainError

ROUNDING = 1e-3  # a blend of scores, or an int8 graph, may pass 1 by so much
SCORE = (-ROUNDING, 1 + ROUNDING)
FEATURE = (-3.4e38, 3.4e38)  # any that is a number


def check_scores(
    values: Floats32, model: object, place: Callable[[int], str], axis: int = 0, bounds: tuple[float, float] = SCORE
) -> None:
    """Refuse scores that are NaN, infinite or out of bounds.

    Parameters
    ----------
    model : whose scores they are, for the error.
    place : names the recording, and what of it, that a place along `axis` belongs to: of the first one, for the error.
    """
    is_bad = ~((values >= bounds[0]) & (values <= bounds[1]))  # NaN compares with nothing
    if not is_bad.any():
        return
    places = np.flatnonzero(is_bad.any(axis=tuple(each for each in range(values.ndim) if each != axis)))
    value, wanted = values[is_bad][0], "a score from 0 to 1" if bounds == SCORE else "a number"
    others = f" and {len(places) - 1} more" if len(places) > 1 else ""
    raise TrainError(
        f"{model}: gives {value:g} instead of {wanted} for {place(int(places[0]))}{others}; the model is broken: train "
        "or export it again, or use another one"
    )


def clip_of(names: Sequence[str], middle_s: Floats64) -> Callable[[int], str]:
    """Names of clips by their number: of each its recording and its middle in it."""
    return lambda number: f"{names[number]}, the clip around {middle_s[number]:g} s"


def window_of(names: Sequence[str], windows: Sequence[int], window_s: float) -> Callable[[int], str]:
    """Names of windows by their number, where those of several recordings follow each other."""
    ends = np.cumsum(windows)

    def place(number: int) -> str:
        which = int(np.searchsorted(ends, number, side="right"))
        begin = number - int(ends[which]) + windows[which]
        return f"{names[which]}, {begin * window_s:g} to {(begin + 1) * window_s:g} s"

    return place
