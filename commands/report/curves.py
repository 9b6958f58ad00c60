"""The learning curves of one training, as a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.ticker import MaxNLocator

from birdcache.figures import BLUE, GREEN, GREY, ORANGE, figure
from commands.report.training import History


def draw_curves(history: History, path: Path, title: str) -> None:
    """Draw losses, validation metrics and learning rate over the epochs."""
    number = range(1, history.epochs + 1)
    logged = history.logged
    with figure(path, 11, 3.6) as drawn:
        losses, metrics, rate = drawn.subplots(1, 3)
        losses.plot(number, logged["train/loss"], color=GREY, label="training, augmented")
        losses.plot(number, logged["validation/loss"], color=BLUE, label="validation")
        losses.set(title=f"{title}: loss", xlabel="epoch", ylim=(0, None))
        for key, label, colour in (
            ("macro_roc_auc", "macro ROC-AUC", BLUE),
            ("accuracy", "accuracy", ORANGE),
            ("cmap", "cmAP", GREEN),
        ):
            metrics.plot(number, logged[f"validation/{key}"], color=colour, label=label)
        best = best_epoch(history)
        metrics.axvline(best, color=GREY, linestyle="--", linewidth=1, label=f"best epoch: {best}")
        metrics.set(title="validation, per recording", xlabel="epoch", ylim=(0, 1))
        rate.plot(number, logged["learning_rate"], color=GREY)
        rate.set(title="learning rate", xlabel="epoch", ylim=(0, None))
        for axis in (losses, metrics):
            axis.legend(frameon=False)
        for axis in (losses, metrics, rate):
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))


def best_epoch(history: History) -> int:
    """The epoch that training calls the best, from 1: by macro ROC-AUC, or by loss where that cannot be measured."""
    auc, loss = (np.array(history.logged[f"validation/{name}"]) for name in ("macro_roc_auc", "loss"))
    return int(np.argmax(np.where(np.isnan(auc), -loss, auc))) + 1
