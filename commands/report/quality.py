"""The section on results: metrics with intervals, classes, confusions, calibration.

B resample, N recording, K class.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from birdcache.arrays import Bools, Floats64
from cache import report_tables
from cache.tables import Col
from commands.report.charts import COLOURS, Chart, chart
from commands.report.results import PipelineResults, read_report
from commands.report.tables import Cell, Column, Table, number, percent, span, text, with_interval
from train.score.bootstrap import (
    Between,
    Resampled,
    draw_resamples,
    draw_whole,
    interval,
    resampled_metrics,
    resampled_windows,
)
from train.score.calibration import Calibration, calibration
from train.score.ensemble import ENSEMBLE
from train.score.tables import Windows

METRICS = {"accuracy": "accuracy", "macro_roc_auc": "macro ROC-AUC", "cmap": "cmAP", "macro_f1": "macro F1"}
RARE = "rare_ap"
SURE_SOUNDSCAPES = 5  # an interval over fewer says nothing
UNSURE = (float("nan"), float("nan"))


@dataclass(frozen=True)
class Quality:
    """Contents of the section; `headline` holds names, values and intervals."""

    headline: list[tuple[str, str, str]]
    metrics: Table
    soundscapes: Table | None
    classes: Table
    rare: Table
    rare_below: int
    confusions: Table
    charts: list[Chart]
    calibration: Calibration
    resamples: int
    recordings: int


def quality(results: PipelineResults, rare_below: int, resamples: int) -> Quality:
    """Gather the section from the reports of stage `evaluate`; bootstrap the intervals."""
    found, examples = read_report("metrics"), results.predicted.examples
    resampled = resample(results, resamples)
    rare_K = results.predicted.recordings < rare_below
    between = {name: each.intervals() | {RARE: each.of_classes(rare_K)} for name, each in resampled.items()}
    classes = report_tables.PER_CLASS.read()
    rows = class_rows(results, classes, resampled[ENSEMBLE].average_precision)
    rare_rows = [
        row for row, rare in zip(rows, classes[Col.LABEL].isin(results.labels[Col.LABEL][rare_K]), strict=True) if rare
    ]
    of_best = calibration(examples.primary, results.scores)
    return Quality(
        headline=_headline(found["out_of_fold"][ENSEMBLE], between[ENSEMBLE]),
        metrics=metric_table("table-metrics", "Out of fold, per recording", found["out_of_fold"], between, rare_below),
        soundscapes=soundscape_table(found.get("soundscapes"), resample_windows(results.windows, resamples)),
        classes=Table("table-per-class", "Each class, out of fold", CLASS_COLUMNS, rows),
        rare=Table(
            "table-rare",
            f"Rare classes: fewer than {rare_below} recordings",
            CLASS_COLUMNS,
            rare_rows,
            _unscored(results, classes, rare_K),
            filtered=False,
        ),
        rare_below=rare_below,
        confusions=confusion_table(results),
        charts=[*precision_chart(results, classes, rare_below), calibration_chart(of_best)],
        calibration=of_best,
        resamples=resamples,
        recordings=len(examples),
    )


def resample(results: PipelineResults, resamples: int) -> dict[str, Resampled]:
    """Metrics of members and ensemble, for the same resamples of the recordings."""
    examples = results.predicted.examples
    counts_BN = draw_resamples(len(examples), resamples)
    return {
        name: resampled_metrics(examples.primary, examples.secondary, scores_NK, counts_BN)
        for name, scores_NK in results.predicted.scores.items()
    }


def resample_windows(windows: Windows, resamples: int) -> dict[str, dict[str, Between]]:
    """95 % intervals of members and ensemble over whole soundscapes; empty if fewer than 5 have truth."""
    has_truth_N = windows.has_truth
    soundscapes_N = windows.soundscapes[has_truth_N]
    if len(np.unique(soundscapes_N)) < SURE_SOUNDSCAPES:
        return {}
    counts_BN = draw_whole(soundscapes_N, resamples)
    return {
        name: resampled_windows(windows.truth[has_truth_N], scores_NK[has_truth_N], counts_BN).intervals()
        for name, scores_NK in windows.scores.items()
    }


def _headline(metrics: Mapping[str, float], between: Mapping[str, tuple[float, float]]) -> list[tuple[str, str, str]]:
    return [(name, number(metrics[key], 3).text, span(between[key])) for key, name in METRICS.items()]


def metric_table(
    name: str, caption: str, found: Mapping[str, Any], between: Mapping[str, Any], rare_below: int
) -> Table:
    """A row for each member and the ensemble, with 95 % intervals."""
    columns = [Column("member"), *(Column(each, numeric=True) for each in METRICS.values())]
    columns.append(
        Column("AP of rare classes", numeric=True, help=f"mean of classes with fewer than {rare_below} recordings")
    )
    columns.append(Column("classes scored", numeric=True))
    rows = []
    for member, metrics in found.items():
        values = [with_interval(metrics.get(key, float("nan")), between[member][key]) for key in (*METRICS, RARE)]
        rows.append([text(member, "total" if member == ENSEMBLE else ""), *values, number(metrics["classes_scored"])])
    return Table(name, caption, columns, rows, filtered=False)


def soundscape_table(found: Mapping[str, Any] | None, between: Mapping[str, Mapping[str, Between]]) -> Table | None:
    """Metrics over the windows with truth, with intervals if known; None without truth."""
    if found is None:
        return None
    keys = [key for key in METRICS if key in found[ENSEMBLE]]
    columns = [
        Column("member"),
        *(Column(METRICS[key], numeric=True) for key in keys),
        Column("classes scored", numeric=True),
    ]
    rows = [
        [
            text(member, "total" if member == ENSEMBLE else ""),
            *(with_interval(each[key], between.get(member, {}).get(key, UNSURE)) for key in keys),
            number(each["classes_scored"]),
        ]
        for member, each in found.items()
    ]
    note = "Intervals are over whole soundscapes, since windows of one are alike." if between else ""
    return Table("table-soundscapes", "Soundscapes, per window", columns, rows, note, filtered=False)


CLASS_COLUMNS = [
    Column("class"),
    Column("label"),
    Column("recordings", numeric=True),
    Column("average precision", numeric=True, help="with its 95 % interval"),
    Column("ROC-AUC", numeric=True),
]


def class_rows(results: PipelineResults, classes: pd.DataFrame, precision_BK: Floats64) -> list[list[Cell]]:
    """A row for each scored class, in the order of reports/evaluate/per_class.csv."""
    place = {label: number for number, label in enumerate(results.labels[Col.LABEL])}
    rows = []
    for row in classes.to_dict("records"):
        label = row[Col.LABEL]
        between = interval(precision_BK[:, place[label]])
        cells = [with_interval(row[Col.AVERAGE_PRECISION], between, 2, bar=True), number(row[Col.ROC_AUC], 3)]
        rows.append([text(results.names[label]), text(label), number(row[Col.RECORDINGS]), *cells])
    return rows


def _unscored(results: PipelineResults, classes: pd.DataFrame, rare_K: Bools) -> str:
    """Note on rare classes that no fold validates."""
    missing = results.labels[Col.LABEL][rare_K & ~results.labels[Col.LABEL].isin(classes[Col.LABEL])]
    names = ", ".join(results.names[label] for label in missing)
    return f"Not scored, since no validated fold has a recording: {names}." if names else ""


def confusion_table(results: PipelineResults) -> Table:
    """The most frequent mistakes, from reports/evaluate/confusions.csv, and their share of the class."""
    table = report_tables.CONFUSIONS.read()
    examples = results.predicted.examples
    validated = dict(
        zip(results.labels[Col.LABEL], np.bincount(examples.primary, minlength=examples.classes).tolist(), strict=True)
    )
    columns = [
        Column("is"),
        Column("taken for"),
        Column("recordings", numeric=True),
        Column("of the class", numeric=True, help="share of its validated recordings"),
    ]
    rows = []
    for row in table.to_dict("records"):
        label, count = row[Col.LABEL], row[Col.RECORDINGS]
        share = percent(count / max(validated.get(label, 0), 1), 0)
        names = [text(results.names[each]) for each in (label, row[Col.PREDICTED])]
        rows.append([*names, number(count), Cell(share.text, share.sort, share.sort)])
    return Table("table-confusions", "Top confusions", columns, rows)


def precision_chart(results: PipelineResults, classes: pd.DataFrame, rare_below: int) -> list[Chart]:
    """Average precision of each class against its number of recordings; none if no class is scored."""
    if classes.empty:
        return []
    counts, precision = classes[Col.RECORDINGS].to_numpy(), classes[Col.AVERAGE_PRECISION].to_numpy()
    rare = counts < rare_below
    worst = ", ".join(results.names[label] for label in classes[Col.LABEL].tail(3).iloc[::-1])
    drawn = Chart(
        "chart-precision",
        "Average precision against recordings",
        f"Average precision of {len(classes)} classes against their recordings; the lowest: {worst}.",
    )
    with chart(drawn) as figure:
        axes = figure.subplots()
        for chosen, colour, label in (
            (~rare, COLOURS[0], "classes"),
            (rare, COLOURS[1], f"fewer than {rare_below} recordings"),
        ):
            if chosen.any():
                axes.plot(counts[chosen], precision[chosen], "o", color=colour, markersize=5, alpha=0.8, label=label)
        axes.set(xscale="log", ylim=(-0.03, 1.05), xlabel="recordings of the class", ylabel="average precision")
        ticks = [
            count for count in (1, 3, 10, 30, 100, 300, 1000, 3000) if counts.min() / 2 <= count <= counts.max() * 2
        ]
        axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        axes.minorticks_off()
        axes.legend(frameon=False, loc="lower right")
    return [drawn]


def calibration_chart(found: Calibration) -> Chart:
    """Accuracy of the ensemble's best class against its score."""
    points = "; ".join(
        f"score {each.mean_score:.2f}: {each.accuracy:.0%} of {each.recordings} right" for each in found.bins
    )
    drawn = Chart(
        "chart-calibration",
        f"Calibration (expected error {found.error:.3f})",
        f"Share of recordings whose best class is right. {points}.",
    )
    with chart(drawn) as figure:
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], "--", color=COLOURS[7], linewidth=1, label="score = share that is right")
        scores, right = [each.mean_score for each in found.bins], [each.accuracy for each in found.bins]
        axes.plot(scores, right, "o-", color=COLOURS[0], label="ensemble")
        for each in found.bins:
            axes.annotate(
                f"{each.recordings}",
                (each.mean_score, each.accuracy),
                (5, -9),
                textcoords="offset points",
                fontsize=7.5,
            )
        axes.set(xlim=(0, 1), ylim=(0, 1.12), xlabel="score of the best class", ylabel="share that is right")
        axes.legend(frameon=False, loc="lower right", fontsize=8)
    return drawn
