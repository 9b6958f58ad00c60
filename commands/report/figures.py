"""All pictures in reports/figures; only stage `report` draws them, so new colours re-run no other stage."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.colors import LogNorm
from matplotlib.ticker import MaxNLocator

from birdcache.arrays import Bools, Floats32
from birdcache.figures import BLUE, GREEN, GREY, ORANGE, figure
from birdcache.files import writing
from birdcache.params.model import Params
from cache import report_tables, tables
from cache.tables import Col
from commands.report.charts import NAMED_AT_MOST
from commands.report.data_set import draw_tail, tail_height
from commands.report.gallery import draw_gallery
from commands.report.results import PipelineResults, read_audio
from commands.report.training import TrainingLog
from pipeline.dataset.fold_summary import label_counts
from train.paths import FIGURES
from train.score.ensemble import ENSEMBLE

MOST_CLASSES, MOST_SOUNDSCAPES = 40, 3


def draw_precision(classes: pd.DataFrame, path: Path) -> None:
    """Draw average precision and number of recordings per class; of many classes, only the worst."""
    shown = classes.tail(MOST_CLASSES).iloc[::-1]
    with figure(path, 9, 1.4 + 0.24 * len(shown)) as drawn:
        precision, counts = drawn.subplots(1, 2, sharey=True, width_ratios=(3, 1))
        names = [name or label for name, label in zip(shown[Col.COMMON_NAME], shown[Col.LABEL], strict=True)]
        precision.barh(names, shown["average_precision"], color=BLUE)
        which = f", the worst {len(shown)} of {len(classes)} classes" if len(shown) < len(classes) else ""
        precision.set(title=f"average precision, out of fold{which}", xlim=(0, 1), ylim=(-0.8, len(shown) - 0.2))
        counts.barh(names, shown["recordings"], color=ORANGE)
        counts.set(title="recordings")
        for axis in (precision, counts):
            axis.grid(visible=False, axis="y")


def draw_confusions(confusions: pd.DataFrame, path: Path) -> None:
    """Draw the most frequent mistakes."""
    shown = confusions.iloc[::-1]
    with figure(path, 8, 1.4 + 0.24 * max(len(shown), 3)) as drawn:
        axis = drawn.subplots()
        axis.barh(list(shown["confusion"]), shown["recordings"], color=ORANGE)
        axis.set(title="most frequent confusions: label -> predicted", xlabel="recordings")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(visible=False, axis="y")


def draw_soundscapes(
    row_ids: Sequence[str], truth_NK: Bools, scores_NK: Floats32, labels: Sequence[str], path: Path
) -> None:
    """Draw scores over time of the first soundscapes, with rings where a species sings according to the truth.

    Parameters
    ----------
    truth_NK : (N, K), False everywhere if there is no truth.
    """
    names = [row_id.rpartition("_")[0] for row_id in row_ids]
    chosen = soundscapes_to_show(names, truth_NK)
    of_these_N = np.isin(names, chosen)
    shown = _classes_to_show(truth_NK[of_these_N], scores_NK[of_these_N])
    with figure(path, 11, 2 + 0.2 * len(shown)) as drawn:
        axes = drawn.subplots(1, max(len(chosen), 1), sharey=True, squeeze=False)[0]
        for axis, name in zip(axes, chosen, strict=False):
            rows = np.array([number for number, each in enumerate(names) if each == name])
            ends_s = [float(row_ids[number].rpartition("_")[2]) for number in rows]
            image = axis.imshow(scores_NK[np.ix_(rows, shown)].T, aspect="auto", cmap="Blues", vmin=0, vmax=1)
            label, window = np.nonzero(truth_NK[np.ix_(rows, shown)].T)
            axis.scatter(window, label, s=36, facecolors="none", edgecolors=ORANGE, linewidths=1.5)
            ticks = range(0, len(rows), max(1, len(rows) // 6))
            axis.set_xticks(ticks, [f"{ends_s[tick]:g}" for tick in ticks])
            axis.set(title=name, xlabel="window's end, s")
            axis.grid(visible=False)
        axes[0].set_yticks(range(len(shown)), [labels[number] for number in shown.tolist()])
        if chosen:
            drawn.colorbar(image, ax=list(axes), label="score (ring: sings)", shrink=0.8)
        else:
            axes[0].set(title="no soundscapes")


def soundscapes_to_show(names: Sequence[str], truth_NK: Bools, most: int = MOST_SOUNDSCAPES) -> list[str]:
    """The first soundscapes, those with a species in their truth before the others; `names` has one per window."""
    with_truth = {names[window] for window in np.flatnonzero(truth_NK.any(axis=1)).tolist()}
    return sorted(dict.fromkeys(names), key=lambda name: name not in with_truth)[:most]


def _classes_to_show(truth_NK: Bools, scores_NK: Floats32) -> npt.NDArray[np.int64]:
    """Classes that sing in these windows, and those with the highest scores."""
    wanted_K = truth_NK.any(axis=0) + scores_NK.max(axis=0, initial=0).clip(0, 1)
    return np.sort(np.argsort(-wanted_K, kind="stable")[: min(MOST_CLASSES, np.count_nonzero(wanted_K))])


def draw_classes(labels: pd.DataFrame, rare_below: int, path: Path) -> None:
    """Draw the number of recordings per label, as on the page."""
    ordered = labels.sort_values([Col.RECORDINGS, Col.LABEL], ascending=[False, True])
    with figure(path, height=tail_height(len(ordered), 4.5)) as drawn:
        axes = drawn.subplots()
        rare = f", orange: rare ones, with fewer than {rare_below}" * bool((ordered[Col.RECORDINGS] < rare_below).any())
        axes.set_title(f"{ordered[Col.RECORDINGS].sum():,} recordings of {len(ordered)} labels{rare}")
        draw_tail(axes, list(ordered[Col.LABEL]), ordered[Col.RECORDINGS].to_numpy(), rare_below)


def draw_folds(counts: pd.DataFrame, path: Path) -> None:
    """Draw the recordings per label and fold as a heat map, with numbers for few labels; white means none."""
    few = len(counts) <= NAMED_AT_MOST
    height = max(2.5, 1.2 + 0.22 * min(len(counts), NAMED_AT_MOST))
    with figure(path, width=2.0 + 0.7 * len(counts.columns), height=height) as drawn:
        axes = drawn.subplots()
        axes.set_title("Recordings by label and fold")
        axes.grid(visible=False)
        shown = np.ma.masked_equal(counts.to_numpy(), 0)
        scale = LogNorm(1, max(2, shown.max()))
        image = axes.imshow(shown, aspect="auto", cmap="viridis", norm=scale, interpolation="none")
        axes.set_xticks(range(len(counts.columns)), ["never", *map(str, counts.columns[1:])])
        axes.set_xlabel("validated in fold")
        if few:
            axes.set_yticks(range(len(counts)), counts.index)
            for row, column in np.argwhere(counts.to_numpy()).tolist():
                colour = "white" if scale(shown[row, column]) < 0.5 else "black"
                axes.text(column, row, str(shown[row, column]), ha="center", va="center", color=colour, fontsize=7)
        else:
            axes.set_yticks([])
            axes.set_ylabel("label, most frequent first")
            drawn.colorbar(image, label="recordings")


def draw_curves(log: TrainingLog, path: Path, title: str) -> None:
    """Draw losses, validation metrics and learning rate over the epochs."""
    number = range(1, log.epochs + 1)
    logged = log.logged
    validated = np.flatnonzero(np.isfinite(logged["validation/loss"]))
    with figure(path, 11, 3.6) as drawn:
        losses, metrics, rate = drawn.subplots(1, 3)
        losses.plot(number, logged["train/loss"], color=GREY, label="training, augmented")
        losses.plot(validated + 1, np.array(logged["validation/loss"])[validated], color=BLUE, label="validation")
        losses.set(title=f"{title}: loss", xlabel="epoch", ylim=(0, None))
        for key, label, colour in (
            ("macro_roc_auc", "macro ROC-AUC", BLUE),
            ("accuracy", "accuracy", ORANGE),
            ("cmap", "cmAP", GREEN),
        ):
            metrics.plot(validated + 1, np.array(logged[f"validation/{key}"])[validated], color=colour, label=label)
        best = best_epoch(log)
        metrics.axvline(best, color=GREY, linestyle="--", linewidth=1, label=f"best epoch: {best}")
        metrics.set(title="validation, per recording", xlabel="epoch", ylim=(0, 1))
        rate.plot(number, logged["learning_rate"], color=GREY)
        rate.set(title="learning rate", xlabel="epoch", ylim=(0, None))
        for axis in (losses, metrics):
            axis.legend(frameon=False)
        for axis in (losses, metrics, rate):
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))


def best_epoch(log: TrainingLog) -> int:
    """Number of the best epoch, from 1: by macro ROC-AUC, or by loss where that cannot be measured."""
    auc, loss = (np.array(log.logged[f"validation/{name}"]) for name in ("macro_roc_auc", "loss"))
    return int(np.nanargmax(np.where(np.isnan(auc), -loss, auc))) + 1


def draw_all(results: PipelineResults, logs: Iterable[TrainingLog], params: Params) -> None:
    """Draw the data set, the stores, the trainings and the results of the ensemble into reports/figures."""
    with writing(FIGURES):
        draw_classes(results.labels, params.evaluate.rare_below, FIGURES / "classes.png")
        draw_folds(fold_counts(results.recordings), FIGURES / "folds.png")
        for view in params.views:
            draw_gallery(results.store(view), read_audio(tables.AUDIO), FIGURES / f"spectrograms-{view}.png")
        for log in logs:
            name = f"{log.member}-{log.fold}"
            draw_curves(log, FIGURES / f"curves-{name}.png", name)
        draw_precision(report_tables.PER_CLASS.read(), FIGURES / "per_class.png")
        draw_confusions(report_tables.CONFUSIONS.read(), FIGURES / "confusions.png")
        windows, labels = results.windows, list(results.labels[Col.LABEL])
        scores_NK = windows.scores[ENSEMBLE]
        draw_soundscapes(windows.row_ids, windows.truth, scores_NK, labels, FIGURES / "soundscapes.png")


def fold_counts(recordings: pd.DataFrame) -> pd.DataFrame:
    """Number of recordings per label and fold, from data/folds.csv; `recordings` is indexed by recording."""
    folds = tables.FOLDS.read(Col.RECORDING, Col.FOLD)
    labelled = folds.assign(label=recordings[Col.LABEL].reindex(folds[Col.RECORDING]).to_numpy())
    return label_counts(labelled, int(folds[Col.FOLD].max()) + 1)
