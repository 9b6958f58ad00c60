"""The section on training, and that nobody but stages that report draw pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from birdcache.code import stage_digests
from commands.report.training import best_epoch
from tests.fixtures.tiny import ROOT
from train.loop.run import logged, logged_path

MAY_DRAW = {"report", "ladder"}


def test_the_best_epoch_is_the_one_that_training_keeps() -> None:
    log = pd.DataFrame({"validation_loss": [0.9, 0.7, 0.8], "macro_roc_auc": [0.5, 0.6, 0.9]})
    assert best_epoch(log) == 3
    assert best_epoch(log.assign(macro_roc_auc=np.nan)) == 2
    assert np.isnan(best_epoch(log.assign(macro_roc_auc=np.nan, validation_loss=np.nan)))


def test_only_reports_draw_so_that_a_colour_trains_nothing_again() -> None:
    assert {stage for stage, files in stage_digests(ROOT).items() if "birdcache/figures.py" in files} == MAY_DRAW


def test_a_metric_is_read_by_epoch_with_gaps_where_nothing_was_validated(tmp_path: Path) -> None:
    path = logged_path(tmp_path, "validation/loss")
    path.parent.mkdir(parents=True)
    path.write_text("step\tloss\n1\t0.5\n3\t0.25\n")
    np.testing.assert_array_equal(logged(tmp_path, "validation/loss"), [np.nan, 0.5, np.nan, 0.25])
