"""The learning curves of one training, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.ticker import MaxNLocator

from birdcache.figures import BLUE, GREEN, GREY, ORANGE, figure
from train.loop.history import Epoch


def draw_curves(history: Sequence[Epoch], path: Path, title: str) -> None:
    """Draw losses, validation metrics and learning rate over the epochs."""
    number = [epoch.number + 1 for epoch in history]
    with figure(path, 11, 3.6) as drawn:
        losses, metrics, rate = drawn.subplots(1, 3)
        losses.plot(number, [epoch.train_loss for epoch in history], color=GREY, label="training, augmented")
        losses.plot(number, [epoch.metrics["loss"] for epoch in history], color=BLUE, label="validation")
        losses.set(title=f"{title}: loss", xlabel="epoch", ylim=(0, None))
        for key, label, colour in (
            ("macro_roc_auc", "macro ROC-AUC", BLUE),
            ("accuracy", "accuracy", ORANGE),
            ("cmap", "cmAP", GREEN),
        ):
            metrics.plot(number, [epoch.metrics[key] for epoch in history], color=colour, label=label)
        best = max(history, key=lambda epoch: epoch.merit).number + 1
        metrics.axvline(best, color=GREY, linestyle="--", linewidth=1, label=f"best epoch: {best}")
        metrics.set(title="validation, per recording", xlabel="epoch", ylim=(0, 1))
        rate.plot(number, [epoch.learning_rate for epoch in history], color=GREY)
        rate.set(title="learning rate", xlabel="epoch", ylim=(0, None))
        for axis in (losses, metrics):
            axis.legend(frameon=False)
        for axis in (losses, metrics, rate):
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
