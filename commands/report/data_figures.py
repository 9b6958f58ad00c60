"""Pictures of the data set: recordings of each class, and of each label in each fold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from birdcache.figures import BLUE, GREY, figure
from cache.tables import Col

NAMED_AT_MOST = 40  # labels; above, their names would not be readable


def draw_classes(labels: pd.DataFrame, path: Path) -> None:
    """Draw how many recordings each label has: named bars for few labels, a curve by rank for many."""
    ordered = labels.sort_values([Col.RECORDINGS, Col.LABEL], ascending=[False, True])
    few = len(ordered) <= NAMED_AT_MOST
    with figure(path, height=max(2.5, 1.0 + 0.2 * len(ordered)) if few else 4.5) as drawn:
        axes = drawn.subplots()
        axes.set_title(f"{ordered['recordings'].sum():,} recordings of {len(ordered)} labels")
        (_draw_bars if few else _draw_ranks)(axes, ordered)


def _draw_bars(axes: Axes, ordered: pd.DataFrame) -> None:
    bars = axes.barh(ordered[Col.LABEL], ordered[Col.RECORDINGS], color=BLUE)
    axes.bar_label(bars, padding=3)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("recordings")


def _draw_ranks(axes: Axes, ordered: pd.DataFrame) -> None:
    counts = ordered[Col.RECORDINGS].to_numpy()
    ranks = range(1, len(counts) + 1)
    axes.fill_between(ranks, counts, 0.8, step="mid", color=BLUE, alpha=0.8)
    axes.set_yscale("log")
    axes.set_ylim(0.8, counts[0] * 1.6)
    axes.set_xlim(0.5, len(counts) + 0.5)
    axes.set_xlabel("label, from most to fewest recordings")
    axes.set_ylabel("recordings")
    for place, align in ((0, "left"), (len(counts) // 2, "center"), (len(counts) - 1, "right")):
        text = f"{ordered['label'].iloc[place]}: {counts[place]}"
        axes.annotate(text, (ranks[place], counts[place]), (0, 6), textcoords="offset points", ha=align)
        axes.plot(ranks[place], counts[place], "o", color=GREY, markersize=3)


def draw_folds(counts: pd.DataFrame, path: Path) -> None:
    """Draw the recordings of each label in each fold as a heat map: with numbers for few labels; white is none."""
    few = len(counts) <= NAMED_AT_MOST
    height = max(2.5, 1.2 + 0.22 * min(len(counts), NAMED_AT_MOST))
    with figure(path, width=2.0 + 0.7 * len(counts.columns), height=height) as drawn:
        axes = drawn.subplots()
        axes.set_title("Recordings by label and fold")
        axes.grid(visible=False)
        shown = np.ma.masked_equal(counts.to_numpy(), 0)
        scale = LogNorm(1, max(2, shown.max()))
        image = axes.imshow(shown, aspect="auto", cmap="viridis", norm=scale, interpolation="none")
        axes.set_xticks(range(len(counts.columns)), ["never", *map(str, counts.columns[1:])])
        axes.set_xlabel("validated in fold")
        if few:
            axes.set_yticks(range(len(counts)), counts.index)
            _write_numbers(axes, counts, scale)
        else:
            axes.set_yticks([])
            axes.set_ylabel("label, most frequent first")
            drawn.colorbar(image, label="recordings")


def _write_numbers(axes: Axes, counts: pd.DataFrame, scale: LogNorm) -> None:
    for (row, column), number in np.ndenumerate(counts.to_numpy()):
        if number:
            colour = "white" if scale(number) < 0.5 else "black"
            axes.text(column, row, str(number), ha="center", va="center", color=colour, fontsize=7)
