"""`birdcache lr-find`: a learning-rate range test of a member, with a picture, a table and a suggested rate."""

import argparse
from pathlib import Path

import numpy as np

from birdcache.errors import CommandError
from birdcache.figures import BLUE, GREY, ORANGE, figure
from birdcache.files import write_rows
from commands.inspect.splits import split_of
from train.loop.distributed import ALONE
from train.loop.lr_range import RangeTest, endless, range_test
from train.loop.split import TrainingSplit
from train.loop.step import TrainingStep

FOLDER = Path("reports/lr_find")


def run(arguments: argparse.Namespace) -> None:
    """Run the test; print the suggestion; write reports/lr_find/<member>.png and .csv. No weights are kept.

    A CommandError if the range is empty, or the member or the fold does not exist.
    """
    if not 0 < arguments.lowest < arguments.highest or arguments.steps < 10:
        raise CommandError(
            f"--lowest {arguments.lowest:g} --highest {arguments.highest:g} --steps {arguments.steps}: "
            "--lowest must be above 0 and below --highest, and --steps at least 10"
        )
    split = split_of(arguments.member, arguments.fold)
    found = test_rates(split, arguments.lowest, arguments.highest, arguments.steps)
    table, picture = FOLDER / f"{arguments.member}.csv", FOLDER / f"{arguments.member}.png"
    lr = split.member.recipe.optimiser.lr
    rows = ([f"{value:.6g}" for value in row] for row in zip(found.rates, found.losses, found.smoothed, strict=True))
    write_rows(table, ("learning_rate", "loss", "smoothed"), rows)
    draw(found, lr, f"{arguments.member}, fold {split.fold}: learning-rate range test", picture)
    print(f"suggested optimiser.lr: {found.suggestion:.1e}, where the loss falls fastest (the recipe's is {lr:.1e})")
    print(f"{picture}, {table}")


def test_rates(split: TrainingSplit, lowest: float, highest: float, steps: int) -> RangeTest:
    """Run the test on a new model, which is then discarded."""
    recipe, model = split.member.recipe, split.model()
    batches = split.batches(model)
    counts_K, teacher = batches.planner.class_counts, batches.planner.teacher
    training_step = TrainingStep(model, counts_K, recipe, split.device, ALONE, teacher)
    groups = endless(batches, recipe.optimiser.accumulate)
    return range_test(training_step, groups, np.geomspace(lowest, highest, steps))


def draw(found: RangeTest, lr: float, title: str, path: Path) -> None:
    """Draw the loss over the learning rate; mark the suggestion and the recipe's own rate."""
    with figure(path, 8, 4.2) as drawn:
        axis = drawn.subplots()
        axis.plot(found.rates, found.losses, ".", color=GREY, markersize=3, alpha=0.7, label="loss of a step")
        axis.plot(found.rates, found.smoothed, color=BLUE, linewidth=2, label="smoothed")
        axis.axvline(lr, color=GREY, linestyle="--", linewidth=1, label=f"optimiser.lr now: {lr:.1e}")
        label = f"steepest: {found.suggestion:.1e}"
        axis.axvline(found.suggestion, color=ORANGE, linewidth=1)
        axis.plot(found.suggestion, found.smoothed[found.steepest], "o", color=ORANGE, markersize=8, label=label)
        low, high = found.smoothed.min(), found.smoothed[0]
        axis.set(xscale="log", xlabel="learning rate", ylabel="training loss", title=title)
        axis.set_ylim(low - 0.3 * (high - low), high + 0.6 * (high - low))
        axis.legend(frameon=False, loc="lower left")
