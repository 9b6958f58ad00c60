"""All pictures of results, reports/figures: only stage `report` draws, so another colour re-runs no other stage."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from birdcache.files import writing
from cache import tables
from cache.tables import Col
from commands.report.curves import draw_curves
from commands.report.data_figures import draw_classes, draw_folds
from commands.report.figures import draw_confusions, draw_precision, draw_soundscapes
from commands.report.gallery import draw_gallery
from commands.report.results import Results, read_audio
from commands.report.training import History
from pipeline.dataset.fold_summary import label_counts
from train.paths import FIGURES
from train.score.ensemble import ENSEMBLE


def draw_all(results: Results, histories: Iterable[History], views: Iterable[str]) -> None:
    """Draw reports/figures: data set, stores of the views, trainings, and results of the ensemble."""
    with writing(FIGURES):
        draw_classes(results.labels, FIGURES / "classes.png")
        draw_folds(fold_counts(results.recordings), FIGURES / "folds.png")
        for view in views:
            draw_gallery(results.store(view), read_audio(tables.AUDIO), FIGURES / f"spectrograms-{view}.png")
        for history in histories:
            name = f"{history.member}-{history.fold}"
            draw_curves(history, FIGURES / f"curves-{name}.png", name)
        draw_results(results, FIGURES)


def fold_counts(recordings: pd.DataFrame) -> pd.DataFrame:
    """Recordings of each label in each fold, by data/folds.csv; `recordings` is indexed by recording."""
    folds = tables.FOLDS.read(Col.RECORDING, Col.FOLD)
    labelled = folds.assign(label=recordings[Col.LABEL].reindex(folds[Col.RECORDING]).to_numpy())
    return label_counts(labelled, int(folds[Col.FOLD].max()) + 1)


def draw_results(results: Results, folder: Path) -> None:
    """Draw the tables of stage `evaluate`, and soundscapes with their truth."""
    draw_precision(tables.PER_CLASS.read(), folder / "per_class.png")
    draw_confusions(tables.CONFUSIONS.read(), folder / "confusions.png")
    windows, labels = results.windows, list(results.labels[Col.LABEL])
    scores_NK = windows.scores[ENSEMBLE]
    draw_soundscapes(windows.row_ids, windows.truth, scores_NK, labels, folder / "soundscapes.png")
