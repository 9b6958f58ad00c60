"""Pictures of stage `evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.ticker import MaxNLocator

from birdcache.arrays import Bools, Floats32
from birdcache.figures import BLUE, ORANGE, figure
from cache.tables import Col

MOST_CLASSES, MOST_SOUNDSCAPES = 40, 3


def draw_precision(classes: pd.DataFrame, path: Path) -> None:
    """Average precision per class beside its number of recordings; of many classes, the worst."""
    shown = classes.tail(MOST_CLASSES).iloc[::-1]
    with figure(path, 9, 1.4 + 0.24 * len(shown)) as drawn:
        precision, counts = drawn.subplots(1, 2, sharey=True, width_ratios=(3, 1))
        names = [name or label for name, label in zip(shown[Col.COMMON_NAME], shown[Col.LABEL], strict=True)]
        precision.barh(names, shown["average_precision"], color=BLUE)
        which = f", the worst {len(shown)} of {len(classes)} classes" if len(shown) < len(classes) else ""
        precision.set(title=f"average precision, out of fold{which}", xlim=(0, 1), ylim=(-0.8, len(shown) - 0.2))
        counts.barh(names, shown["recordings"], color=ORANGE)
        counts.set(title="recordings")
        for axis in (precision, counts):
            axis.grid(visible=False, axis="y")


def draw_confusions(confusions: pd.DataFrame, path: Path) -> None:
    """The most frequent mistakes."""
    shown = confusions.iloc[::-1]
    with figure(path, 8, 1.4 + 0.24 * max(len(shown), 3)) as drawn:
        axis = drawn.subplots()
        axis.barh(list(shown["confusion"]), shown["recordings"], color=ORANGE)
        axis.set(title="most frequent confusions: label -> predicted", xlabel="recordings")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(visible=False, axis="y")


def draw_soundscapes(
    row_ids: Sequence[str], truth_NK: Bools, scores_NK: Floats32, labels: Sequence[str], path: Path
) -> None:
    """Scores over time of the first soundscapes, with a ring where the truth says that a species sings.

    Parameters
    ----------
    truth_NK : (N, K), False everywhere if there is no truth.
    """
    names = [row_id.rpartition("_")[0] for row_id in row_ids]
    chosen = soundscapes_to_show(names, truth_NK)
    of_these_N = np.isin(names, chosen)
    shown = _classes_to_show(truth_NK[of_these_N], scores_NK[of_these_N])
    with figure(path, 11, 2 + 0.2 * len(shown)) as drawn:
        axes = drawn.subplots(1, max(len(chosen), 1), sharey=True, squeeze=False)[0]
        for axis, name in zip(axes, chosen, strict=False):
            rows = np.array([number for number, each in enumerate(names) if each == name])
            ends_s = [float(row_ids[number].rpartition("_")[2]) for number in rows]
            image = axis.imshow(scores_NK[np.ix_(rows, shown)].T, aspect="auto", cmap="Blues", vmin=0, vmax=1)
            label, window = np.nonzero(truth_NK[np.ix_(rows, shown)].T)
            axis.scatter(window, label, s=36, facecolors="none", edgecolors=ORANGE, linewidths=1.5)
            ticks = range(0, len(rows), max(1, len(rows) // 6))
            axis.set_xticks(ticks, [f"{ends_s[tick]:g}" for tick in ticks])
            axis.set(title=name, xlabel="window's end, s")
            axis.grid(visible=False)
        axes[0].set_yticks(range(len(shown)), [labels[number] for number in shown.tolist()])
        if chosen:
            drawn.colorbar(image, ax=list(axes), label="score (ring: sings)", shrink=0.8)
        else:
            axes[0].set(title="no soundscapes")


def soundscapes_to_show(names: Sequence[str], truth_NK: Bools, most: int = MOST_SOUNDSCAPES) -> list[str]:
    """The first soundscapes, those in which the truth names a species before the others; `names` is of each window."""
    told = {names[window] for window in np.flatnonzero(truth_NK.any(axis=1)).tolist()}
    return sorted(dict.fromkeys(names), key=lambda name: name not in told)[:most]


def _classes_to_show(truth_NK: Bools, scores_NK: Floats32) -> npt.NDArray[np.int64]:
    """The classes that sing in these windows, then those with the highest scores."""
    wanted_K = truth_NK.any(axis=0) + scores_NK.max(axis=0, initial=0).clip(0, 1)
    return np.sort(np.argsort(-wanted_K, kind="stable")[: min(MOST_CLASSES, np.count_nonzero(wanted_K))])
