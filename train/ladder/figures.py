"""The picture of the ladder."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from birdcache.figures import BLUE, GREEN, GREY, ORANGE, figure
from train.ladder.tables import Comparison

SHOWN = {"accuracy": ("accuracy", ORANGE), "macro_roc_auc": ("macro ROC-AUC", BLUE), "cmap": ("cmAP", GREEN)}
ABLATION_SHOWN = {name: SHOWN[name] for name in ("accuracy", "cmap")}
WIDTH = 0.26  # of a column, of 1 for a rung


def draw_ladder(table: pd.DataFrame, runs: Sequence[str], gains: Sequence[Comparison], path: Path) -> None:
    """Scores rung by rung with each seed as a dot, accuracy on both sides of the split, and what techniques give."""
    panels = 3 if gains else 2
    with figure(path, 4.6 * panels, max(4.0, 1.4 + 0.3 * len(gains))) as drawn:
        axes = drawn.subplots(1, panels)
        shown = table[table["run"].isin(runs)]
        _draw_scores(axes[0], shown, runs)
        _draw_gap(axes[1], shown, runs)
        if gains:
            _draw_gains(axes[2], gains)


def _draw_scores(axis: Axes, table: pd.DataFrame, runs: Sequence[str]) -> None:
    means, column = table.groupby("run")[list(SHOWN)].mean().loc[list(runs)], table["run"].map(list(runs).index)
    for number, (measure, (label, colour)) in enumerate(SHOWN.items()):
        shift, place = (number - 1) * WIDTH, np.arange(len(runs)) + (number - 1) * WIDTH
        axis.hlines(means[measure], place - WIDTH / 2.2, place + WIDTH / 2.2, color=colour, linewidth=3, label=label)
        axis.plot(column + shift, table[measure], ".", color=colour, markersize=5, alpha=0.6)
    _finish(axis, "validation: means, and each seed", table, runs)


def lowest(table: pd.DataFrame) -> float:
    """Lower end of the axis of scores: at the tenth below them all."""
    return max(0.0, math.floor(10 * float(table[list(SHOWN)].to_numpy().min()) - 0.2) / 10)


def _draw_gap(axis: Axes, table: pd.DataFrame, runs: Sequence[str]) -> None:
    means, place = table.groupby("run")[["accuracy", "gap"]].mean().loc[list(runs)], np.arange(len(runs))
    validated, trained = means["accuracy"], means.sum(axis=1)
    axis.vlines(place, validated, trained, color=GREY, linewidth=3)
    axis.plot(place, trained, "o", color=GREY, label="recordings trained on")
    axis.plot(place, validated, "o", color=ORANGE, label="validated")
    _finish(axis, "accuracy, and the gap", table, runs)


def _draw_gains(axis: Axes, gains: Sequence[Comparison]) -> None:
    for number, (measure, (label, colour)) in enumerate(ABLATION_SHOWN.items()):
        place = np.arange(len(gains)) + (number - 0.5) * WIDTH
        differences = [100 * gain.differences[measure] for gain in gains]
        mean, spread = [each.mean() for each in differences], [each.std() for each in differences]
        axis.errorbar(mean, place, xerr=spread, fmt="o", color=colour, label=label, capsize=2, markersize=4)
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set_yticks(range(len(gains)), [gain.other for gain in gains])
    axis.invert_yaxis()
    axis.set(title="what a technique gives, points", xlabel="rung minus the rung without it")
    axis.legend(frameon=False)


def _finish(axis: Axes, title: str, table: pd.DataFrame, runs: Sequence[str]) -> None:
    axis.set(title=title, ylim=(lowest(table), 1.01))
    axis.legend(loc="best", framealpha=0.9)
    axis.set_xticks(range(len(runs)), list(runs), rotation=30, ha="right")
    axis.grid(visible=False, axis="x")
