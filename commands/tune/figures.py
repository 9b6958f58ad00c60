"""The picture of a search: merit of each trial, in order and against each key that was searched."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from birdcache.figures import BLUE, GREY, ORANGE, figure
from birdcache.params.tune import ChoiceParams, RangeParams
from train.tune.search import Outcome, Search

COLUMNS = 3


def draw(search: Search, outcomes: list[Outcome], best: Outcome, path: Path) -> None:
    """Draw the trials; failed ones have no merit and are only counted in the title."""
    keys = search.tune.keys
    measured = [each for each in outcomes if each.merit is not None]
    rows = -(-(1 + len(keys)) // COLUMNS)
    columns = min(COLUMNS, 1 + len(keys))
    failed = f", {len(outcomes) - len(measured)} failed" if len(measured) < len(outcomes) else ""
    with figure(path, 3.8 * columns, 0.5 + 3.2 * rows) as drawn:
        title = f"{search.split.member.name}, fold {search.split.fold}: {len(outcomes)} trials{failed}"
        drawn.suptitle(title, x=0.01, ha="left", weight="bold")
        axes = drawn.subplots(rows, columns, squeeze=False, sharey=True).ravel()
        _draw_trials(axes[0], measured, best, search.maximises)
        for axis, (key, space) in zip(axes[1:], keys.items(), strict=False):
            _draw_key(axis, key, space, measured, best)
        for number, axis in enumerate(axes):
            axis.set_visible(number <= len(keys))
            if number % columns == 0:
                axis.set_ylabel(f"{search.tune.metric} on the fold")


def _draw_trials(axis: Any, measured: list[Outcome], best: Outcome, maximises: bool) -> None:
    _scatter(axis, measured, [each.number for each in measured], best.number, best)
    ended = [each for each in measured if each.state == "finished"]
    running = np.maximum.accumulate if maximises else np.minimum.accumulate
    merits = running(np.array([each.merit for each in ended], float))
    axis.step([each.number for each in ended], merits, where="post", color=ORANGE, linewidth=1, label="best so far")
    axis.set(title="over the trials", xlabel="trial")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.legend(frameon=False, fontsize=8)


def _draw_key(axis: Any, key: str, space: RangeParams | ChoiceParams, measured: list[Outcome], best: Outcome) -> None:
    if isinstance(space, ChoiceParams):
        places = [space.choices.index(each.values[key]) for each in measured]
        _scatter(axis, measured, places, space.choices.index(best.values[key]), best)
        axis.set_xticks(range(len(space.choices)), [str(choice) for choice in space.choices])
    else:
        _scatter(axis, measured, [each.values[key] for each in measured], best.values[key], best)
        axis.set_xscale("log" if space.log else "linear")
        forward, back = (np.log, np.exp) if space.log else (np.asarray, np.asarray)
        low, high = forward((space.low, space.high))
        margin = 0.05 * (high - low)
        axis.set_xlim(*back((low - margin, high + margin)))
    axis.set(title=f"against {key}", xlabel=key)


def _scatter(axis: Any, measured: list[Outcome], places: list[Any], best_place: Any, best: Outcome) -> None:
    for state, colour, label in (("finished", BLUE, "finished"), ("pruned", GREY, "stopped early")):
        chosen = [(place, each.merit) for place, each in zip(places, measured, strict=True) if each.state == state]
        if chosen:
            axis.scatter(*zip(*chosen, strict=True), color=colour, s=22, label=label, zorder=3)
    axis.scatter([best_place], [best.merit], marker="o", s=90, facecolors="none", edgecolors=ORANGE, zorder=4)
