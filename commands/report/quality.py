"""The section on results: metrics with intervals, classes, confusions, calibration.

B resample, N recording, K class.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from birdcache.arrays import Bools, Floats64
from cache import report_tables
from cache.tables import Col
from commands.report.charts import COLOURS, Chart, chart
from commands.report.results import PipelineResults, read_report
from commands.report.tables import Cell, Table, number, span, text, with_interval
from train.score import bootstrap
from train.score.ensemble import ENSEMBLE
from train.score.tables import EXAM, WINDOWS, Windows

METRICS = {"accuracy": "accuracy", "macro_roc_auc": "macro ROC-AUC", "cmap": "cmAP", "macro_f1": "macro F1"}
RARE, RARE_NAME = "rare_ap", "AP of rare classes"
TABLES = {
    "out_of_fold": ("table-metrics", "Out of fold, per recording"),
    WINDOWS: ("table-windows", "Windows of held-out soundscapes"),
    EXAM: ("table-soundscapes", "Soundscapes, per window"),
}
TICKS = (1, 3, 10, 30, 100, 300, 1000, 3000)  # recordings
MEASURES = ("expected error", "error of all classes", "log loss", "Brier score")  # of calibration
SURE_SOUNDSCAPES = 5  # an interval over fewer says nothing


def quality(results: PipelineResults, rare_below: int, resamples: int) -> dict[str, Any]:
    """Contents of the section, from the reports of stage `evaluate`, with bootstrapped intervals."""
    found, examples = read_report("metrics"), results.predicted.examples
    counts_BN = bootstrap.draw_resamples(len(examples), resamples)  # the same for members and ensemble
    resampled = {
        name: bootstrap.resampled_metrics(examples.primary, examples.unjudged, scores_NK, counts_BN)
        for name, scores_NK in results.predicted.scores.items()
    }
    rare_K = results.predicted.recordings < rare_below
    between = {name: each.intervals() | {RARE: each.of_classes(rare_K)} for name, each in resampled.items()}
    by_table = {"out_of_fold": between}
    by_table |= {data: resample_windows(results.windows, data, resamples) for data in (WINDOWS, EXAM) if data in found}
    classes, kinds = report_tables.PER_CLASS.read(), report_tables.CALIBRATION.read()
    bins = report_tables.RELIABILITY.read().merge(kinds)
    by_data = [bins[bins["data"] == data] for data in bins["data"].unique()]  # recordings come first
    charts = [calibration_chart(of_data, results.ensemble.fitted_on) for of_data in by_data]
    rows = class_rows(results, classes, resampled[ENSEMBLE].average_precision)
    is_rare = classes[Col.LABEL].isin(results.labels[Col.LABEL][rare_K])
    rare = [row for row, each in zip(rows, is_rare, strict=True) if each]
    title, note = f"Rare classes: fewer than {rare_below} recordings", _unscored(results, classes, rare_K)
    best = found["out_of_fold"][ENSEMBLE]
    return {
        "headline": [(name, number(best[key], 3).text, span(between[ENSEMBLE][key])) for key, name in METRICS.items()],
        "metrics": [metric_table(data, found[data], each, rare_below) for data, each in by_table.items()],
        "classes": [
            Table("table-rare", title, rare, CLASS_HELP, note, filtered=False),
            Table("table-per-class", "Each class, out of fold", rows, CLASS_HELP),
            confusion_table(results),
        ],
        "charts": [*precision_chart(results, classes, rare_below), *charts],
        "calibration": calibration_table(kinds),
        "bins": by_data[0].loc[by_data[0]["used"] == "yes", [Col.RECORDINGS, "mean_score", "accuracy"]],
        "resamples": resamples,
        "recordings": len(examples),
    }


def resample_windows(windows: Windows, data: str, resamples: int) -> dict[str, dict[str, bootstrap.Between]]:
    """95 % intervals of members and ensemble over whole soundscapes; empty if fewer than 5 have truth."""
    truth, has_truth_N = windows.truths[data].sings, windows.truths[data].known
    soundscapes_N = windows.soundscapes[has_truth_N]
    if len(np.unique(soundscapes_N)) < SURE_SOUNDSCAPES:
        return {}
    counts_BN = bootstrap.draw_whole(soundscapes_N, resamples)
    return {
        name: bootstrap.resampled_windows(truth[has_truth_N], scores_NK[has_truth_N], counts_BN).intervals()
        for name, scores_NK in windows.scores.items()
    }


def metric_table(data: str, found: Mapping[str, Any], between: Mapping[str, Any], rare_below: int) -> Table:
    """A row for each member and the ensemble, with 95 % intervals where they are known."""
    (name, title), unknown = TABLES[data], (float("nan"), float("nan"))
    measured = {key: metric for key, metric in (METRICS | {RARE: RARE_NAME}).items() if key in found[ENSEMBLE]}
    rows = []
    for member, of in found.items():
        bounds = between.get(member, {})
        cells = {metric: with_interval(of[key], bounds.get(key, unknown)) for key, metric in measured.items()}
        first = text(member, "total" if member == ENSEMBLE else "")
        rows.append({"member": first, **cells, "classes scored": number(of["classes_scored"])})
    explained = {RARE_NAME: f"mean of classes with fewer than {rare_below} recordings"}
    whole = "Intervals are over whole soundscapes, since windows of one are alike."
    return Table(name, title, rows, explained, whole if data in (WINDOWS, EXAM) and between else "", filtered=False)


CLASS_HELP = {"average precision": "with its 95 % interval"}


def class_rows(results: PipelineResults, classes: pd.DataFrame, precision_BK: Floats64) -> list[dict[str, Cell]]:
    """A row for each scored class, in the order of reports/evaluate/per_class.csv."""
    between = dict(zip(results.labels[Col.LABEL], map(bootstrap.interval, precision_BK.T), strict=True))
    return [
        {
            "class": text(results.names[row[Col.LABEL]]),
            "label": text(row[Col.LABEL]),
            "recordings": number(row[Col.RECORDINGS]),
            "average precision": with_interval(row[Col.AVERAGE_PRECISION], between[row[Col.LABEL]], 2, bar=True),
            "ROC-AUC": number(row[Col.ROC_AUC], 3),
        }
        for row in classes.to_dict("records")
    ]


def _unscored(results: PipelineResults, classes: pd.DataFrame, rare_K: Bools) -> str:
    """Note on rare classes that no fold validates."""
    missing = results.labels[Col.LABEL][rare_K & ~results.labels[Col.LABEL].isin(classes[Col.LABEL])]
    names = ", ".join(results.names[label] for label in missing)
    return f"Not scored, since no validated fold has a recording: {names}." if names else ""


def confusion_table(results: PipelineResults) -> Table:
    """The most frequent mistakes, from reports/evaluate/confusions.csv, and their share of the class."""
    validated = np.bincount(results.predicted.examples.primary, minlength=results.predicted.examples.classes)
    count_of = dict(zip(results.labels[Col.LABEL], validated.tolist(), strict=True))
    rows = [
        {
            "is": text(results.names[row[Col.LABEL]]),
            "taken for": text(results.names[row[Col.PREDICTED]]),
            "recordings": number(row[Col.RECORDINGS]),
            "of the class": number(row[Col.RECORDINGS] / max(count_of.get(row[Col.LABEL], 0), 1), 0, True, "%"),
        }
        for row in report_tables.CONFUSIONS.read().to_dict("records")
    ]
    return Table("table-confusions", "Top confusions", rows, {"of the class": "share of its validated recordings"})


def precision_chart(results: PipelineResults, classes: pd.DataFrame, rare_below: int) -> list[Chart]:
    """Average precision of each class against its number of recordings; none if no class is scored."""
    if classes.empty:
        return []
    counts, precision = classes[Col.RECORDINGS].to_numpy(), classes[Col.AVERAGE_PRECISION].to_numpy()
    rare = counts < rare_below
    worst = ", ".join(results.names[label] for label in classes[Col.LABEL].tail(3).iloc[::-1])
    alt = f"Average precision of {len(classes)} classes against their recordings; the lowest: {worst}."
    drawn = Chart("chart-precision", "Average precision against recordings", alt)
    groups = {"classes": (~rare, COLOURS[0]), f"fewer than {rare_below} recordings": (rare, COLOURS[1])}
    with chart(drawn) as axes:
        for label, (chosen, colour) in groups.items():
            if chosen.any():
                axes.plot(counts[chosen], precision[chosen], "o", color=colour, markersize=5, alpha=0.8, label=label)
        axes.set(xscale="log", ylim=(-0.03, 1.05), xlabel="recordings of the class", ylabel="average precision")
        ticks = [each for each in TICKS if counts.min() / 2 <= each <= counts.max() * 2]
        axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        axes.minorticks_off()
        axes.legend(frameon=False, loc="lower right")
    return [drawn]


def calibration_table(kinds: pd.DataFrame) -> Table:
    """What each kind of calibration makes of the scores; smaller is better everywhere."""
    rows = [
        {"of": text(data), "calibration": text(kind, "total" if used == "yes" else "")}
        | {"fitted on": text(on), "used": text(used)}
        | {name: number(value, 4) for name, value in zip(MEASURES, values, strict=True)}
        for data, kind, on, used, *values in kinds.itertuples(index=False)
    ]
    return Table("table-calibration", "Before and after calibration", rows, filtered=False)


def calibration_chart(bins: pd.DataFrame, fitted_on: str) -> Chart:
    """Accuracy of the ensemble's best class against its score, by kind of calibration; counts of the used one."""
    used = bins[bins["used"] == "yes"]
    told = (f"score {row.mean_score:.2f}: {row.accuracy:.0%} of {row.recordings} right" for row in used.itertuples())
    data, error = used[["data", "expected_error"]].iloc[0]
    alt = f"Share of {data} whose best class is right. {'; '.join(told)}."
    drawn = Chart(f"chart-calibration-{data}", f"Calibration of {data} (expected error {error:.3f})", alt)
    kinds = bins[bins["fitted_on"].isin(["nothing", fitted_on])].groupby("calibration", sort=False)
    with chart(drawn) as axes:
        axes.plot([0, 1], [0, 1], "--", color=COLOURS[7], linewidth=1, label="score = share that is right")
        for (kind, of_kind), colour, mark in zip(kinds, COLOURS, "os^", strict=False):
            width = 2 if kind in set(used["calibration"]) else 1
            style: dict[str, Any] = {"color": colour, "markersize": 5, "linewidth": width}
            axes.plot(of_kind["mean_score"], of_kind["accuracy"], f"{mark}-", label=f"calibration {kind}", **style)
        for row in used.itertuples():
            point = row.mean_score, row.accuracy
            axes.annotate(f"{row.recordings}", point, (5, -9), textcoords="offset points", fontsize=7.5)
        axes.set(xlim=(0, 1), ylim=(0, 1.12), xlabel="score of the best class", ylabel="share that is right")
        axes.legend(frameon=False, loc="best", fontsize=8)
    return drawn
