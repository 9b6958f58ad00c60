"""The ladder's numbers as tables and words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from birdcache.params.ladder import Ladder
from train.score.markdown import markdown

WINDOWS = {"windows_macro_roc_auc": "windows: macro ROC-AUC", "windows_cmap": "windows: cmAP"}
SCORES = {"accuracy": "accuracy, %", "macro_roc_auc": "macro ROC-AUC", "cmap": "cmAP", "rare_ap": "AP of rare classes"}
SCORES |= WINDOWS
MEASURES = {**SCORES, "gap": "gap, points", "epoch_s": "s per epoch"}
PERCENT = ("accuracy", "gap")
NOTHING = "-"
ROUNDING = 1 + 1e-9  # a mean that equals its spread is not beyond it

LEGEND = """\
± is the standard deviation over the seeds. The gap is the accuracy of the recordings that were trained on, scored
without augmentation by the same weights, minus that of the validated ones. Rare classes have fewer than
`evaluate.rare_below` recordings. Seconds of an epoch are of training alone, the median over all epochs.

Differences are taken seed by seed. One is beyond the spread if its mean is further from zero than its standard
deviation over the seeds; with three seeds pure chance does so in 22 of 100 comparisons."""


@dataclass(frozen=True)
class Comparison:
    """One run minus another."""

    run: str
    other: str
    differences: pd.DataFrame  # a row for each seed, a column for each of `MEASURES`

    def shows(self, measure: str) -> int:
        """1 or -1 if the run scores higher or lower beyond the spread, else 0."""
        values = self.differences[measure].dropna()
        beyond = len(values) > 1 and abs(values.mean()) > values.std() * ROUNDING
        return int(np.sign(values.mean())) if beyond else 0

    @property
    def words(self) -> str:
        """The scores that are better or worse beyond the spread, in words."""
        plain = {name: title.removesuffix(", %") for name, title in SCORES.items()}
        better, worse = ([plain[name] for name in SCORES if self.shows(name) == sign] for sign in (1, -1))
        if better and worse:
            return f"mixed: helps {', '.join(better)}; hurts {', '.join(worse)}"
        if better:
            return f"helps: {', '.join(better)}"
        return f"**hurts**: {', '.join(worse)}" if worse else "**does not help** beyond the spread"


def compared(table: pd.DataFrame, run: str, other: str) -> Comparison:
    """Compare two runs, seed by seed."""
    each, reference = (table[table["run"] == name].set_index("seed")[list(MEASURES)] for name in (run, other))
    return Comparison(run, other, each - reference)


def means(table: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Mean and spread of each run, for `dvc metrics show`; what could not be measured is left out."""
    result: dict[str, dict[str, float]] = {}
    for run, rows in table.groupby("run", sort=False):
        values = {name: rows[name].mean() for name in MEASURES}
        values |= {f"{name}_spread": rows[name].std() for name in SCORES}
        result[str(run)] = {name: round(value, 5) for name, value in values.items() if math.isfinite(value)}
    return result


def page(
    ladder: Ladder,
    table: pd.DataFrame,
    steps: Sequence[Comparison],
    gains: Sequence[Comparison],
    changed: Mapping[tuple[str, str], list[str]],
) -> str:
    """reports/ladder.md."""
    paragraphs = [
        "# The ladder",
        f"Seeds {', '.join(map(str, ladder.seeds))}; validated on folds {', '.join(map(str, ladder.folds))}.",
        rung_table(table, [*ladder.rungs, *ladder.ensemble]),
        LEGEND,
        "![The ladder](ladder.png)",
        "## What each rung gives",
        difference_table({"rung": [each.run for each in steps], "against": [each.other for each in steps]}, steps),
    ]
    if gains:
        names = {"left out": [each.other for each in gains], "of rung": [each.run for each in gains]}
        paragraphs += ["## What each technique gives", "A rung minus the same rung without the technique."]
        paragraphs.append(difference_table(names, gains, "the technique"))
    changes = [f"- **{name}**: the mean of the scores of {', '.join(rungs)}" for name, rungs in ladder.ensemble.items()]
    changes += [f"- **{run}**, against {other}: {'; '.join(of) or 'nothing'}" for (run, other), of in changed.items()]
    paragraphs += ["## What is changed", "\n".join(changes)]
    return "\n\n".join(paragraphs) + "\n"


def rung_table(table: pd.DataFrame, runs: Sequence[str]) -> str:
    """A line for each rung: mean and spread."""
    rows = [table[table["run"] == run] for run in runs]
    shown = {name: title for name, title in MEASURES.items() if name not in WINDOWS or table[name].notna().any()}
    cells = {title: [_cell(name, each[name]) for each in rows] for name, title in shown.items()}
    return markdown(pd.DataFrame({"rung": list(runs), **cells})).rstrip()


def difference_table(names: dict[str, list[str]], comparisons: Sequence[Comparison], last: str = "in words") -> str:
    """A line for each comparison, behind its `names` by column: what its run has more than the other, and in words."""
    known = {name for each in comparisons for name in each.differences if each.differences[name].notna().any()}
    shown = {name: MEASURES[name] for name in (*SCORES, "gap") if name not in WINDOWS or name in known}
    cells = {title: [_cell(name, each.differences[name], "+") for each in comparisons] for name, title in shown.items()}
    return markdown(pd.DataFrame({**names, **cells, last: [each.words for each in comparisons]})).rstrip()


def _cell(measure: str, values: pd.Series[float], sign: str = "") -> str:
    known = values.dropna()
    if known.empty:
        return NOTHING
    if measure == "epoch_s":
        return f"{known.mean():.1f}"
    spread = f" ± {_number(measure, known.std())}" if len(known) > 1 else ""
    return f"{_number(measure, known.mean(), sign)}{spread}"


def _number(measure: str, value: float, sign: str = "") -> str:
    return f"{100 * value:{sign}.1f}" if measure in PERCENT else f"{value:{sign}.3f}"
