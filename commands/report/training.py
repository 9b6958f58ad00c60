"""The section on training: curves of each member and fold, and their last metrics."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator, PercentFormatter

from commands.report.charts import COLOURS, Chart, chart
from commands.report.results import PipelineResults
from commands.report.tables import Cell, Table, number, text
from pipeline.builder.teacher import reported_network
from train.data.member import ResolvedMember
from train.loop.run import logged, logged_path, place_of

STYLES = {"-": "solid", "--": "dashed", ":": "dotted", "-.": "dashed"}  # lines of folds in matplotlib and in CSS
LEAST_STALL = 0.05  # least height of the axis, so that negligible waiting looks negligible
DEVICE_WAITING = "device_waiting_share"  # only logged on a GPU
LOGGED = {  # metrics of DVCLive, and their columns in reports/trainings.csv
    "train/loss": "train_loss",
    "validation/loss": "validation_loss",
    "validation/macro_roc_auc": "macro_roc_auc",
    "validation/accuracy": "accuracy",
    "validation/cmap": "cmap",
    "learning_rate": "learning_rate",
    "waiting_share": "waiting_share",
    "busy_share": "busy_share",
    "clips_per_s": "clips_per_s",
    "epoch_s": "epoch_s",
}


def training(results: PipelineResults) -> dict[str, Any]:
    """Contents of the section: the metrics of all members and folds, epoch by epoch, and what is drawn of them."""
    runs = [(name, fold) for name in results.members for fold in results.ensemble.folds]
    curves = pd.concat([read_log(*run) for run in runs], ignore_index=True)
    wanted = [
        ("train-loss", "Training loss, with augmentation", "train_loss"),
        ("loss", "Validation loss", "validation_loss"),
        ("auc", "Macro ROC-AUC on the fold", "macro_roc_auc"),
        ("accuracy", "Accuracy on the fold", "accuracy"),
        ("rate", "Learning rate", "learning_rate"),
        ("stall", "Share of time waiting for data", "waiting_share"),
    ]
    if DEVICE_WAITING in curves and curves[DEVICE_WAITING].notna().all():
        wanted.append(("device-stall", "Share of time the GPU waited for data", DEVICE_WAITING))
    return {
        "charts": [_chart(curves, *each) for each in wanted],
        "key": key(curves),
        "curves": curves[["member", "fold", "epoch", *LOGGED.values()]],
        "trainings": training_table(curves),
        "teachers": teacher_table(results.members),
    }


def read_log(member: str, fold: int) -> pd.DataFrame:
    """The metrics in reports/train/<member>-<fold>: a row for each epoch."""
    report = place_of(member, fold).report
    table = pd.DataFrame({column: logged(report, name) for name, column in LOGGED.items()})
    if logged_path(report, DEVICE_WAITING).is_file():
        table[DEVICE_WAITING] = logged(report, DEVICE_WAITING)
    return table.assign(member=member, fold=fold, epoch=table.index + 1)


def key(curves: pd.DataFrame) -> list[dict[str, str]]:
    """Legend: members by colour; folds, if there are several, by style of line."""
    members, folds = curves["member"].unique(), curves["fold"].unique()
    entries = [(name, COLOURS[number % len(COLOURS)], "solid") for number, name in enumerate(members)]
    if len(folds) > 1:
        entries += [(f"fold {fold}", COLOURS[-1], style) for fold, style in zip(folds, cycle(STYLES.values()))]
    return [{"name": name, "colour": colour, "line": line} for name, colour, line in entries]


def _chart(curves: pd.DataFrame, name: str, title: str, metric: str) -> Chart:
    logs = curves.groupby(["member", "fold"], sort=False)
    ends = ", ".join(f"{member} fold {fold}: {log[metric].iloc[-1]:.3g}" for (member, fold), log in logs)
    drawn = Chart(f"chart-{name}", title, f"{title} by epoch; in the last epoch {ends}")
    members, folds = list(curves["member"].unique()), list(curves["fold"].unique())
    with chart(drawn, height=2.4) as axes:
        for (member, fold), log in logs:
            known = log[np.isfinite(log[metric])]  # not every epoch has a validation
            colour = COLOURS[members.index(member) % len(COLOURS)]
            style, marker = list(STYLES)[folds.index(fold) % len(STYLES)], "o" if len(known) == 1 else None
            axes.plot(known["epoch"], known[metric], style, color=colour, linewidth=1.5, marker=marker)
        axes.set(xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if name in ("accuracy", "stall", "device-stall"):
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        if name == "rate":
            axes.set_ylim(bottom=0)
        if name in ("stall", "device-stall"):
            axes.set_ylim(0, max(LEAST_STALL, axes.get_ylim()[1]))
        if name == "loss":
            axes.set_ylim(0, _ceiling(curves[metric]))
    return drawn


def _ceiling(values: pd.Series[float]) -> float:
    """Upper limit of the axis, twice the third quartile, so that one outlier does not flatten the rest."""
    finite = values[np.isfinite(values)]
    return min(float(finite.max()), 2 * float(finite.quantile(0.75))) * 1.05 if len(finite) else 1.0


def training_table(curves: pd.DataFrame) -> Table:
    """A row for each training."""
    last = dict.fromkeys(("validation loss", "macro ROC-AUC", "accuracy"), "of the last epoch")
    explained = last | {
        "best epoch": "by macro ROC-AUC on the fold, or by loss where that cannot be measured",
        "training loss": "of the last epoch, with augmentation",
        "waiting for data": "share of the training's time",
        "device busy": "share of the training's time that the device spent in steps",
        "clips a second": "median of the epochs",
    }
    rows = [_row(log) for _, log in curves.groupby(["member", "fold"], sort=False)]
    return Table("table-trainings", "Trainings", rows, explained, filtered=False)


def teacher_table(members: Mapping[str, ResolvedMember]) -> Table:
    """A row for each member that learns from another network: of its teacher, or below a probe."""
    views = {name: each.member.teacher.view for name, each in members.items() if each.member.teacher}
    views |= {name: each.member.view for name, each in members.items() if each.member.is_probe}
    networks = [{"member": name, "view": view, **reported_network(view)} for name, view in views.items()]
    rows = [{key: text(value) for key, value in each.items()} for each in networks]
    return Table("table-teachers", "Networks that members learn from", rows, filtered=False)


def _row(log: pd.DataFrame) -> dict[str, Cell]:
    last, elapsed_s = log.iloc[-1], log["epoch_s"]
    shares = [log["waiting_share"], log["busy_share"]]
    waiting, busy = np.average(shares, axis=1, weights=elapsed_s) if elapsed_s.sum() > 0 else (float("nan"),) * 2
    return {
        "member": text(last["member"]),
        "fold": number(last["fold"]),
        "epochs": number(len(log)),
        "best epoch": number(best_epoch(log)),
        "training loss": number(last["train_loss"], 3),
        "validation loss": number(last["validation_loss"], 3),
        "macro ROC-AUC": number(last["macro_roc_auc"], 4),
        "accuracy": number(last["accuracy"], 1, unit="%"),
        "waiting for data": number(waiting, 2, unit="%"),
        "device busy": number(busy, 2, unit="%"),
        "clips a second": number(log["clips_per_s"].median()),
    }


def best_epoch(log: pd.DataFrame) -> float:
    """Number of the best epoch, from 1: by macro ROC-AUC, or by loss where that is not measured; NaN without both."""
    merit = log["macro_roc_auc"].fillna(-log["validation_loss"])
    return float("nan") if merit.isna().all() else float(merit.argmax() + 1)
