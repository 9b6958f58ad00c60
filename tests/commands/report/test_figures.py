"""Pictures of the data set and of trainings, and that nobody but stage `report` draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from birdcache.code import stage_digests
from commands.report.figures import best_epoch, draw_classes, draw_curves, draw_folds
from commands.report.training import LOGGED, TrainingLog
from tests.fixtures.tiny import ROOT
from train.loop.run import logged, logged_path

PNG = b"\x89PNG"
MAY_DRAW = {"report", "export", "ladder"}


@pytest.mark.parametrize("labels", [1, 14, 206])
def test_classes_are_drawn_for_few_and_many_labels(tmp_path: Path, labels: int) -> None:
    table = pd.DataFrame({"label": [f"bird{number}" for number in range(labels)], "recordings": range(1, labels + 1)})
    first, second = tmp_path / "first.png", tmp_path / "second.png"
    draw_classes(table, 10, first)
    draw_classes(table, 10, second)
    assert first.read_bytes().startswith(PNG)
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("labels", [1, 14, 206])
def test_folds_are_drawn_for_few_and_many_labels(tmp_path: Path, labels: int) -> None:
    counts = pd.DataFrame({fold: range(labels) for fold in (-1, 0, 1)}, index=[f"bird{n}" for n in range(labels)])
    draw_folds(counts + 1, tmp_path / "folds.png")
    assert (tmp_path / "folds.png").read_bytes().startswith(PNG)


def test_curves_are_drawn_even_where_a_metric_could_not_be_measured(tmp_path: Path) -> None:
    history = TrainingLog(
        "tiny", 0, {name: [0.5, 0.25] for name in LOGGED} | {"validation/macro_roc_auc": [np.nan, 0.5]}
    )
    draw_curves(history, tmp_path / "curves.png", "tiny-0")
    assert (tmp_path / "curves.png").read_bytes().startswith(PNG)


def test_the_best_epoch_of_a_picture_is_the_one_that_training_keeps() -> None:
    losses = {"validation/loss": [0.9, 0.7, 0.8]}
    assert best_epoch(TrainingLog("tiny", 0, losses | {"validation/macro_roc_auc": [0.5, 0.6, 0.9]})) == 3
    assert best_epoch(TrainingLog("tiny", 0, losses | {"validation/macro_roc_auc": [np.nan] * 3})) == 2


def test_only_reports_draw_so_that_a_colour_trains_nothing_again() -> None:
    assert {stage for stage, files in stage_digests(ROOT).items() if "birdcache/figures.py" in files} == MAY_DRAW


def test_a_metric_is_read_by_epoch_with_gaps_where_nothing_was_validated(tmp_path: Path) -> None:
    path = logged_path(tmp_path, "validation/loss")
    path.parent.mkdir(parents=True)
    path.write_text("step\tloss\n1\t0.5\n3\t0.25\n")
    np.testing.assert_array_equal(logged(tmp_path, "validation/loss"), [np.nan, 0.5, np.nan, 0.25])
