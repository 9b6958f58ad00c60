"""The picture of a search: merit of each trial, in order and against each key that was searched."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from birdcache.figures import BLUE, GREY, ORANGE, figure
from birdcache.params.tune import ChoiceParams, RangeParams
from train.tune.search import Outcome, Search
from train.tune.spaces import AnySpace

COLUMNS = 3
STATES = {"finished": ("finished", BLUE), "pruned": ("stopped early", GREY)}


def draw(search: Search, outcomes: list[Outcome], best: Outcome, path: Path) -> None:
    """Draw the trials; failed ones have no merit and are only counted in the title."""
    keys, measured = search.tune.keys, [each for each in outcomes if each.merit is not None]
    rows, columns = -(-(1 + len(keys)) // COLUMNS), min(COLUMNS, 1 + len(keys))
    failed = f", {len(outcomes) - len(measured)} failed" if len(measured) < len(outcomes) else ""
    with figure(path, 3.8 * columns, 0.5 + 3.2 * rows) as drawn:
        title = f"{search.split.member.name}, fold {search.split.fold}, trials: {len(outcomes)}{failed}"
        drawn.suptitle(title, x=0.01, ha="left", weight="bold")
        axes = drawn.subplots(rows, columns, squeeze=False, sharey=True).ravel()
        _scatter(axes[0], "trial", None, measured, best)
        for axis, (key, space) in zip(axes[1:], keys.items(), strict=False):
            _scatter(axis, key, space, measured, best)
        ended = [each for each in measured if each.state == "finished"]
        running = np.maximum.accumulate if search.maximises else np.minimum.accumulate
        merits = running(np.array([each.merit for each in ended], float))
        numbers = [each.number for each in ended]
        axes[0].step(numbers, merits, where="post", color=ORANGE, linewidth=1, label="best so far")
        axes[0].xaxis.set_major_locator(MaxNLocator(integer=True))
        axes[0].legend(frameon=False, fontsize=8)
        for number, axis in enumerate(axes):
            axis.set_visible(number <= len(keys))
            if number % columns == 0:
                axis.set_ylabel(f"{search.tune.metric} on the fold")


def _scatter(axis: Any, name: str, space: AnySpace | None, measured: list[Outcome], best: Outcome) -> None:
    """Merits against the number of each trial, or against its value of a key with this space."""
    places: dict[int, Any] = {each.number: each.values[name] if space else each.number for each in measured}
    if isinstance(space, ChoiceParams):
        axis.xaxis.update_units([str(choice) for choice in space.choices])  # in their order, tried or not
        places = {number: str(choice) for number, choice in places.items()}
    for state, (label, colour) in STATES.items():
        chosen = [each for each in measured if each.state == state]
        merits = [each.merit for each in chosen]
        axis.scatter([places[each.number] for each in chosen], merits, color=colour, s=22, label=label, zorder=3)
    axis.scatter([places[best.number]], [best.merit], s=90, facecolors="none", edgecolors=ORANGE, zorder=4)
    axis.set(title=f"against {name}" if space else "over the trials", xlabel=name)
    if isinstance(space, RangeParams):
        axis.update_datalim([(space.low, best.merit), (space.high, best.merit)])  # the whole range, tried or not
        axis.set_xscale("log" if space.log else "linear")
