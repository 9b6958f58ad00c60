"""The page's section on training: curves of each member and fold, and how each ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from commands.report.charts import COLOURS, Chart, chart
from commands.report.results import Results
from commands.report.tables import Cell, Column, Table, number, percent, text
from train.loop.run import place_of

STYLES = {"-": "solid", "--": "dashed", ":": "dotted", "-.": "dashed"}  # lines of folds: matplotlib's, the page's
LEAST_STALL = 0.05  # height of the axis: less waiting is no matter, and must not look like one
DEVICE_WAITING = "device_waiting_share"  # logged where a GPU trains
LOGGED = {  # by DVCLive, and what it is called in reports/trainings.csv
    "train/loss": "train_loss",
    "validation/loss": "validation_loss",
    "validation/macro_roc_auc": "macro_roc_auc",
    "validation/accuracy": "accuracy",
    "validation/cmap": "cmap",
    "learning_rate": "learning_rate",
    "waiting_share": "waiting_share",
    "clips_per_s": "clips_per_s",
    "epoch_s": "epoch_s",
}


@dataclass(frozen=True)
class History:
    """What DVCLive logged of one training: a value per epoch of each metric."""

    member: str
    fold: int
    logged: dict[str, list[float]]

    @property
    def epochs(self) -> int:
        """Number of epochs."""
        return len(self.logged["train/loss"])


@dataclass(frozen=True)
class KeyEntry:
    """A colour and a kind of line, and what it stands for."""

    name: str
    colour: str
    line: str


@dataclass(frozen=True)
class Training:
    """What the section shows."""

    histories: list[History]
    charts: list[Chart]
    key: list[KeyEntry]
    curves: pd.DataFrame  # a row for each epoch of each training, for `dvc plots`
    trainings: Table


def training(results: Results) -> Training:
    """Read the logs of all members and folds, and draw them."""
    courses = [read_history(name, fold) for name in results.members for fold in results.ensemble.folds]
    wanted = [
        ("train-loss", "Training loss, with augmentation", "train/loss"),
        ("loss", "Validation loss", "validation/loss"),
        ("auc", "Macro ROC-AUC on the fold", "validation/macro_roc_auc"),
        ("accuracy", "Accuracy on the fold", "validation/accuracy"),
        ("rate", "Learning rate", "learning_rate"),
        ("stall", "Share of time waiting for data", "waiting_share"),
    ]
    if all(DEVICE_WAITING in each.logged for each in courses):
        wanted.append(("device-stall", "Share of time the GPU stood idle for want of data", DEVICE_WAITING))
    charts = [_chart(courses, *each) for each in wanted]
    return Training(courses, charts, key(courses), curves(courses), training_table(courses))


def read_history(member: str, fold: int) -> History:
    """The metrics of reports/train/<member>-<fold>."""
    folder = place_of(member, fold).report / "plots" / "metrics"
    values = {name: _read_metric(folder / f"{name}.tsv") for name in LOGGED}
    if (idle := folder / f"{DEVICE_WAITING}.tsv").is_file():
        values[DEVICE_WAITING] = _read_metric(idle)
    return History(member, fold, values)


def _read_metric(path: Path) -> list[float]:
    return [float(value) for value in pd.read_csv(path, sep="\t").iloc[:, -1]]


def curves(courses: Sequence[History]) -> pd.DataFrame:
    """A row for each epoch of each training: reports/trainings.csv."""
    tables = []
    for history in courses:
        table = pd.DataFrame({column: history.logged[name] for name, column in LOGGED.items()})
        epochs = range(1, history.epochs + 1)
        tables.append(table.assign(member=history.member, fold=history.fold, epoch=epochs))
    return pd.concat(tables, ignore_index=True)[["member", "fold", "epoch", *LOGGED.values()]]


def key(courses: Sequence[History]) -> list[KeyEntry]:
    """Members by colour; folds by kind of line, if there are several."""
    members, folds = members_and_folds(courses)
    entries = [KeyEntry(name, COLOURS[number % len(COLOURS)], "solid") for number, name in enumerate(members)]
    if len(folds) > 1:
        styles = zip(folds, cycle(STYLES.values()))
        entries += [KeyEntry(f"fold {fold}", COLOURS[-1], style) for fold, style in styles]
    return entries


def members_and_folds(courses: Sequence[History]) -> tuple[list[str], list[int]]:
    """Each once, in order."""
    return list(dict.fromkeys(each.member for each in courses)), list(dict.fromkeys(each.fold for each in courses))


def _chart(courses: Sequence[History], name: str, title: str, metric: str) -> Chart:
    ends = ", ".join(f"{each.member} fold {each.fold}: {each.logged[metric][-1]:.3g}" for each in courses)
    drawn = Chart(f"chart-{name}", title, f"{title} by epoch; in the last epoch {ends}")
    with chart(drawn, height=2.4) as figure:
        axes = figure.subplots()
        for history in courses:
            _draw(axes, history, courses, history.logged[metric])
        axes.set(xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if name in ("accuracy", "stall", "device-stall"):
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        if name == "rate":
            axes.set_ylim(bottom=0)
        if name in ("stall", "device-stall"):
            axes.set_ylim(0, max(LEAST_STALL, axes.get_ylim()[1]))
        if name == "loss":
            axes.set_ylim(0, _ceiling([value for history in courses for value in history.logged[metric]]))
    return drawn


def _draw(axes: Axes, history: History, courses: Sequence[History], values: Sequence[float]) -> None:
    members, folds = members_and_folds(courses)
    colour = COLOURS[members.index(history.member) % len(COLOURS)]
    style = list(STYLES)[folds.index(history.fold) % len(STYLES)]
    marker = "o" if len(values) == 1 else None
    axes.plot(range(1, len(values) + 1), values, style, color=colour, linewidth=1.5, marker=marker)


def _ceiling(values: Sequence[float]) -> float:
    """Twice the third quartile: one wild epoch must not flatten all others."""
    finite = np.array([value for value in values if np.isfinite(value)])
    return float(min(finite.max(), 2 * np.percentile(finite, 75)) * 1.05) if len(finite) else 1.0


def training_table(courses: Sequence[History]) -> Table:
    """A row for each training."""
    columns = [
        Column("member"),
        Column("fold", numeric=True),
        Column("epochs", numeric=True),
        Column("best epoch", numeric=True, help="by macro ROC-AUC on the fold"),
        Column("training loss", numeric=True, help="of the last epoch, with augmentation"),
        Column("validation loss", numeric=True, help="of the last epoch"),
        Column("macro ROC-AUC", numeric=True, help="of the last epoch"),
        Column("accuracy", numeric=True, help="of the last epoch"),
        Column("waiting for data", numeric=True, help="share of the training's time"),
        Column("clips a second", numeric=True, help="median of the epochs"),
    ]
    return Table("table-trainings", "Trainings", columns, [_row(each) for each in courses], filtered=False)


def _row(history: History) -> list[Cell]:
    auc = np.array(history.logged["validation/macro_roc_auc"])
    elapsed = np.array(history.logged["epoch_s"])
    waiting = float(np.average(history.logged["waiting_share"], weights=elapsed)) if elapsed.sum() > 0 else float("nan")
    best = int(np.nanargmax(auc)) + 1 if np.isfinite(auc).any() else float("nan")
    return [
        text(history.member),
        number(history.fold),
        number(history.epochs),
        number(best),
        number(history.logged["train/loss"][-1], 3),
        number(history.logged["validation/loss"][-1], 3),
        number(float(auc[-1]), 4),
        percent(history.logged["validation/accuracy"][-1]),
        percent(waiting, 2),
        number(float(np.median(history.logged["clips_per_s"]))),
    ]
