"""The ladder's tables and words, on made-up runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from birdcache.params.ladder import Ladder
from tests.birdcache.params.test_ladder import ladder
from train.ladder.figures import SHOWN, draw_ladder, lowest
from train.ladder.summary import comparisons
from train.ladder.tables import MEASURES, SCORES, WINDOWS, compared, difference_table, means, page, rung_table

NAN = float("nan")


def runs(**accuracy: list[float]) -> pd.DataFrame:
    """Runs with three seeds each; every score is the accuracy, every gap 0.1, every epoch takes 2 s."""
    rows = []
    for run, values in accuracy.items():
        for seed, value in enumerate(values, 1):
            rows.append({"run": run, "seed": seed, **dict.fromkeys(SCORES, value), "gap": 0.1, "epoch_s": 2})
    return pd.DataFrame(rows)


def set_score(table: pd.DataFrame, run: str, score: str, values: list[float]) -> pd.DataFrame:
    return table.assign(**{score: np.where(table["run"] == run, [*values * 2], table[score])})


def test_differences_are_taken_seed_by_seed_whatever_the_order_of_the_rows() -> None:
    table = runs(low=[0.1, 0.5, 0.6], high=[0.3, 0.6, 0.9]).sample(frac=1, random_state=1)
    comparison = compared(table, "high", "low")
    assert comparison.differences["accuracy"].sort_index().tolist() == pytest.approx([0.2, 0.1, 0.3])
    assert comparison.shows("accuracy") == 1, "0.2 is over 0.1"
    assert compared(table, "low", "high").shows("accuracy") == -1


def test_a_mean_within_the_spread_does_not_show() -> None:
    """Differences -2/9, 0 and -1/9: mean -1/9, deviation 1/9 (of a sample: over n - 1), but for rounding."""
    table = runs(low=[3 / 9, 4 / 9, 5 / 9], high=[1 / 9, 4 / 9, 4 / 9])
    assert compared(table, "high", "low").shows("accuracy") == 0
    assert "does not help" in compared(table, "high", "low").words
    table = runs(low=[0.5, 0.5, 0.5], high=[0.53, 0.6, 0.7])
    assert compared(table, "high", "low").shows("accuracy") == 1


def test_words_tell_what_helps_and_what_hurts() -> None:
    table = runs(low=[0.5, 0.5, 0.5], high=[0.6, 0.6, 0.7])
    everything = "accuracy, macro ROC-AUC, cmAP, AP of rare classes, windows: macro ROC-AUC, windows: cmAP"
    assert compared(table, "high", "low").words == f"helps: {everything}"
    assert compared(table, "low", "high").words == f"**hurts**: {everything}"
    assert compared(table, "low", "low").words == "**does not help** beyond the spread"
    mixed = set_score(table, "high", "cmap", [0.4, 0.4, 0.3])
    assert compared(mixed, "high", "low").words == (
        "mixed: helps accuracy, macro ROC-AUC, AP of rare classes, windows: macro ROC-AUC, windows: cmAP; hurts cmAP"
    )


def test_a_score_that_could_not_be_measured_is_neither_better_nor_worse() -> None:
    table = set_score(runs(low=[0.5, 0.5, 0.5], high=[0.6, 0.6, 0.7]), "high", "rare_ap", [NAN, NAN, NAN])
    assert "rare" not in compared(table, "high", "low").words
    assert "nan" not in rung_table(table, ["low", "high"]) + difference_table({}, [compared(table, "high", "low")])
    assert "rare_ap" not in means(table)["high"]
    assert json.loads(json.dumps(means(table)))["low"]["accuracy"] == 0.5


def test_windows_have_columns_only_where_a_fold_has_some() -> None:
    table = runs(low=[0.5, 0.5, 0.5], high=[0.6, 0.6, 0.7])
    assert "windows: cmAP" in rung_table(table, ["low"])
    assert "windows: cmAP" in difference_table({}, [compared(table, "high", "low")])
    without = table.assign(**dict.fromkeys(WINDOWS, NAN))
    assert "windows" not in rung_table(without, ["low"]) + difference_table({}, [compared(without, "high", "low")])


def test_a_line_of_the_table_has_mean_and_spread_in_the_units_of_its_head() -> None:
    table = runs(low=[0.4, 0.5, 0.6], high=[0.5, 0.5, 0.5])
    head, _, line, other = rung_table(table, ["low", "high"]).splitlines()
    assert head.split(" | ")[1] == "accuracy, %"
    scores = " | ".join(["50.0 ± 10.0", *["0.500 ± 0.100"] * 5])
    assert line == f"| low | {scores} | 10.0 ± 0.0 | 2.0 |"
    assert other.startswith("| high | 50.0 ± 0.0 |")
    assert head.count("|") == line.count("|")


def test_means_hold_each_run_with_its_spread() -> None:
    values = means(runs(low=[0.4, 0.5, 0.6]))["low"]
    assert values["accuracy"] == pytest.approx(0.5)
    assert values["accuracy_spread"] == pytest.approx(0.1)
    assert set(values) == {*MEASURES, *(f"{name}_spread" for name in SCORES)}


@pytest.fixture
def made_up() -> tuple[Ladder, pd.DataFrame]:
    ablations = {"minus": {"rung": "high", "without": {"dropout": 0.5}}}
    built = Ladder.model_validate(ladder(ensemble={"both": ["low", "high"]}, ablations=ablations))
    return built, runs(low=[0.5, 0.5, 0.5], high=[0.7, 0.7, 0.6], both=[0.8, 0.8, 0.9], minus=[0.6, 0.7, 0.7])


def test_rungs_stand_against_the_one_before_and_ensembles_against_their_best(
    made_up: tuple[Ladder, pd.DataFrame],
) -> None:
    steps, _ = comparisons(*made_up)
    assert [(step.run, step.other) for step in steps] == [("high", "low"), ("both", "high")]
    better_low = made_up[1].replace({"run": {"low": "high", "high": "low"}})
    steps, _ = comparisons(made_up[0], better_low)
    assert (steps[1].run, steps[1].other) == ("both", "low")


def test_a_technique_gives_what_its_rung_loses_without_it(made_up: tuple[Ladder, pd.DataFrame]) -> None:
    _, (gain,) = comparisons(*made_up)
    assert (gain.run, gain.other) == ("high", "minus")
    assert gain.differences["accuracy"].tolist() == pytest.approx([0.1, 0.0, -0.1])
    assert gain.words == "**does not help** beyond the spread"


def test_the_page_holds_every_rung_technique_and_change(made_up: tuple[Ladder, pd.DataFrame], tmp_path: Path) -> None:
    built, table = made_up
    steps, gains = comparisons(built, table)
    changed = {("high", "low"): ["`dropout`: 0.1 -> 0.2"], ("minus", "high"): []}
    text = page(built, table, steps, gains, changed)
    for line in (
        "Seeds 1, 2, 3; validated on folds 0.",
        "| both | 83.3 ± 5.8 |",
        "| high | low | +16.7 ± 5.8 |",
        "| minus | high | +0.0 ± 10.0 |",
        "- **both**: the mean of the scores of low, high",
        "- **high**, against low: `dropout`: 0.1 -> 0.2",
        "- **minus**, against high: nothing",
    ):
        assert line in text, line
    assert "| minus |" not in text.split("## What each technique gives")[0], "ablations are no rungs"
    draw_ladder(table, ["low", "high", "both"], gains, tmp_path / "ladder.png")
    assert (tmp_path / "ladder.png").stat().st_size > 10_000


def test_a_ladder_without_ablations_has_no_section_and_no_panel_for_them(tmp_path: Path) -> None:
    built, table = Ladder.model_validate(ladder()), runs(low=[0.5, 0.5, 0.5], high=[0.7, 0.7, 0.6])
    text = page(built, table, *comparisons(built, table), {("high", "low"): []})
    assert "technique gives" not in text
    draw_ladder(table, ["low", "high"], [], tmp_path / "ladder.png")
    assert (tmp_path / "ladder.png").is_file()


@pytest.mark.parametrize(("least", "begin"), [(0.85, 0.8), (0.81, 0.7), (0.02, 0.0), (0.0, 0.0), (0.62, 0.6)])
def test_the_axis_of_scores_begins_at_the_tenth_below_them(least: float, begin: float) -> None:
    table = runs(low=[0.9, least, 0.95])
    for measure in SHOWN:
        table[measure] = table["accuracy"]
    assert lowest(table) == pytest.approx(begin)
