"""The section on training: curves of each member and fold, and their last metrics."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator, PercentFormatter

from commands.report.charts import COLOURS, Chart, chart
from commands.report.results import PipelineResults
from commands.report.tables import Cell, Table, number, text
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


@dataclass(frozen=True)
class TrainingLog:
    """Metrics of one training as logged by DVCLive, one value per epoch."""

    member: str
    fold: int
    logged: dict[str, list[float]]

    @property
    def epochs(self) -> int:
        """Number of epochs."""
        return len(self.logged["train/loss"])


def training(results: PipelineResults) -> dict[str, Any]:
    """Contents of the section: logs of all members and folds, and what is drawn of them."""
    logs = [read_log(name, fold) for name in results.members for fold in results.ensemble.folds]
    wanted = [
        ("train-loss", "Training loss, with augmentation", "train/loss"),
        ("loss", "Validation loss", "validation/loss"),
        ("auc", "Macro ROC-AUC on the fold", "validation/macro_roc_auc"),
        ("accuracy", "Accuracy on the fold", "validation/accuracy"),
        ("rate", "Learning rate", "learning_rate"),
        ("stall", "Share of time waiting for data", "waiting_share"),
    ]
    if all(DEVICE_WAITING in each.logged for each in logs):
        wanted.append(("device-stall", "Share of time the GPU waited for data", DEVICE_WAITING))
    return {
        "logs": logs,
        "charts": [_chart(logs, *each) for each in wanted],
        "key": key(logs),
        "curves": curves(logs),
        "trainings": training_table(logs),
    }


def read_log(member: str, fold: int) -> TrainingLog:
    """Read the metrics in reports/train/<member>-<fold>."""
    report = place_of(member, fold).report
    names = [*LOGGED, *(name for name in [DEVICE_WAITING] if logged_path(report, name).is_file())]
    return TrainingLog(member, fold, {name: logged(report, name).tolist() for name in names})


def curves(logs: Sequence[TrainingLog]) -> pd.DataFrame:
    """A row for each epoch of each training: reports/trainings.csv."""
    tables = []
    for log in logs:
        table = pd.DataFrame({column: log.logged[name] for name, column in LOGGED.items()})
        epochs = range(1, log.epochs + 1)
        tables.append(table.assign(member=log.member, fold=log.fold, epoch=epochs))
    return pd.concat(tables, ignore_index=True)[["member", "fold", "epoch", *LOGGED.values()]]


def key(logs: Sequence[TrainingLog]) -> list[dict[str, str]]:
    """Legend: members by colour; folds, if there are several, by style of line."""
    members, folds = members_and_folds(logs)
    entries = [(name, COLOURS[number % len(COLOURS)], "solid") for number, name in enumerate(members)]
    if len(folds) > 1:
        entries += [(f"fold {fold}", COLOURS[-1], style) for fold, style in zip(folds, cycle(STYLES.values()))]
    return [{"name": name, "colour": colour, "line": line} for name, colour, line in entries]


def members_and_folds(logs: Sequence[TrainingLog]) -> tuple[list[str], list[int]]:
    """Members and folds, each once, in order."""
    return list(dict.fromkeys(each.member for each in logs)), list(dict.fromkeys(each.fold for each in logs))


def _chart(logs: Sequence[TrainingLog], name: str, title: str, metric: str) -> Chart:
    ends = ", ".join(f"{each.member} fold {each.fold}: {each.logged[metric][-1]:.3g}" for each in logs)
    drawn = Chart(f"chart-{name}", title, f"{title} by epoch; in the last epoch {ends}")
    members, folds = members_and_folds(logs)
    with chart(drawn, height=2.4) as axes:
        for log in logs:
            values = np.array(log.logged[metric])
            known = np.flatnonzero(np.isfinite(values))  # not every epoch has a validation
            colour = COLOURS[members.index(log.member) % len(COLOURS)]
            style, marker = list(STYLES)[folds.index(log.fold) % len(STYLES)], "o" if len(known) == 1 else None
            axes.plot(known + 1, values[known], style, color=colour, linewidth=1.5, marker=marker)
        axes.set(xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if name in ("accuracy", "stall", "device-stall"):
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        if name == "rate":
            axes.set_ylim(bottom=0)
        if name in ("stall", "device-stall"):
            axes.set_ylim(0, max(LEAST_STALL, axes.get_ylim()[1]))
        if name == "loss":
            axes.set_ylim(0, _ceiling([value for log in logs for value in log.logged[metric]]))
    return drawn


def _ceiling(values: Sequence[float]) -> float:
    """Upper limit of the axis, twice the third quartile, so that one outlier does not flatten the rest."""
    finite = np.array([value for value in values if np.isfinite(value)])
    return float(min(finite.max(), 2 * np.percentile(finite, 75)) * 1.05) if len(finite) else 1.0


def training_table(logs: Sequence[TrainingLog]) -> Table:
    """A row for each training."""
    last = dict.fromkeys(("validation loss", "macro ROC-AUC", "accuracy"), "of the last epoch")
    explained = last | {
        "best epoch": "by macro ROC-AUC on the fold",
        "training loss": "of the last epoch, with augmentation",
        "waiting for data": "share of the training's time",
        "device busy": "share of the training's time that the device spent in steps",
        "clips a second": "median of the epochs",
    }
    return Table("table-trainings", "Trainings", [_row(each) for each in logs], explained, filtered=False)


def _row(log: TrainingLog) -> dict[str, Cell]:
    auc = np.array(log.logged["validation/macro_roc_auc"])
    elapsed = np.array(log.logged["epoch_s"])
    shares = [log.logged["waiting_share"], log.logged["busy_share"]]
    waiting, busy = np.average(shares, axis=1, weights=elapsed).tolist() if elapsed.sum() > 0 else (float("nan"),) * 2
    best = int(np.nanargmax(auc)) + 1 if np.isfinite(auc).any() else float("nan")
    return {
        "member": text(log.member),
        "fold": number(log.fold),
        "epochs": number(log.epochs),
        "best epoch": number(best),
        "training loss": number(log.logged["train/loss"][-1], 3),
        "validation loss": number(log.logged["validation/loss"][-1], 3),
        "macro ROC-AUC": number(float(auc[-1]), 4),
        "accuracy": number(log.logged["validation/accuracy"][-1], 1, unit="%"),
        "waiting for data": number(waiting, 2, unit="%"),
        "device busy": number(busy, 2, unit="%"),
        "clips a second": number(float(np.median(log.logged["clips_per_s"]))),
    }
