"""Stage `ladder`: tables and a picture of what each rung of the ladder, and each technique, gave."""

import json
from itertools import pairwise, product

import pandas as pd

from birdcache.errors import TrainError, run_stage
from birdcache.files import write_text
from birdcache.params import load as parameters
from birdcache.params.ladder import Ladder
from birdcache.params.model import Params
from cache import tables
from cache.csv_files import write_csv
from cache.tables import Col
from train.ladder.figures import draw_ladder
from train.ladder.members import read_run
from train.ladder.scores import FoldScores, blended, fold_path, measured, read_fold
from train.ladder.tables import Comparison, compared, means, page
from train.paths import REPORTS
from train.score.parameters import changes


def main() -> None:
    """Write reports/ladder.md, ladder.csv (a row for each run and seed), ladder.json (means) and ladder.png."""
    params = parameters.load()
    ladder = params.ladder
    if not ladder.rungs:
        raise TrainError("params.yaml: ladder.rungs is empty; list the members that are its rungs, in order")
    table = measure_all(params)
    steps, gains = comparisons(ladder, table)
    text = page(ladder, table, steps, gains, rung_changes(ladder))
    write_text(REPORTS / "ladder.md", text)
    write_csv(table, REPORTS / "ladder.csv", "%.5f")
    write_text(REPORTS / "ladder.json", json.dumps(means(table), indent=2) + "\n")
    draw_ladder(table, [*ladder.rungs, *ladder.ensemble], gains, REPORTS / "ladder.png")
    print(text)


def measure_all(params: Params) -> pd.DataFrame:
    """A row for each run (rungs, ensembles, ablations) and seed: `run`, `seed`, and the numbers of `measured`."""
    ladder = params.ladder
    rare_K = tables.LABELS.read(Col.RECORDINGS)[Col.RECORDINGS].to_numpy() < params.evaluate.rare_below
    runs = [*ladder.rungs, *ladder.ensemble, *ladder.ablations]
    return pd.DataFrame(
        {"run": run, "seed": seed, **measured(read_folds(ladder, run, seed), rare_K)}
        for run, seed in product(runs, ladder.seeds)
    )


def read_folds(ladder: Ladder, run: str, seed: int) -> list[FoldScores]:
    """The scores of a run with a seed, fold by fold; those of an ensemble are made of its rungs'."""
    parts = ladder.ensemble.get(run, [run])
    folds = [[read_fold(fold_path(part, seed, fold)) for part in parts] for fold in ladder.folds]
    return [each[0] if len(each) == 1 else blended(each) for each in folds]


def comparisons(ladder: Ladder, table: pd.DataFrame) -> tuple[list[Comparison], list[Comparison]]:
    """Steps, each rung against the one before and each ensemble against the most accurate of its rungs; and gains.

    A gain is that by a technique: its rung against the ablation, which lacks it.
    """
    steps = [compared(table, rung, before) for before, rung in pairwise(ladder.rungs)]
    accuracy = table.groupby("run")["accuracy"].mean()
    steps += [compared(table, name, str(accuracy[parts].idxmax())) for name, parts in ladder.ensemble.items()]
    return steps, [compared(table, ablation.rung, name) for name, ablation in ladder.ablations.items()]


def rung_changes(ladder: Ladder) -> dict[tuple[str, str], list[str]]:
    """Changed parameters of each rung against the one before, and of each ablation against its rung."""
    pairs = [(rung, before) for before, rung in pairwise(ladder.rungs)]
    pairs += [(name, ablation.rung) for name, ablation in ladder.ablations.items()]
    seed = ladder.seeds[0]
    return {(run, other): changes(read_run(other, seed), read_run(run, seed)) for run, other in pairs}


if __name__ == "__main__":
    run_stage(main)
