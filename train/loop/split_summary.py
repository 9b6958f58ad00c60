"""What is said of a fold before it is trained: how much there is of each class, and what is missing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from birdcache.errors import TrainError
from birdcache.params.recipe import Recipe
from train.data.examples import Examples, Ints
from train.data.sampling import Sampler, effective_counts

MOST_NAMED = 12  # classes in one line


def check_split(name: str, fold: int, trained: Examples, validated: Examples) -> None:
    """Refuse a fold that nothing can be learned or measured on.

    Raises
    ------
    TrainError
        If either side of the split is empty.
    """
    for side, examples in (("train", trained), ("validate", validated)):
        if not len(examples):
            raise TrainError(
                f"{name}-{fold}: no recording is left to {side} on; see reports/folds.csv and lower folds.count"
            )


def split_lines(trained: Examples, validated: Examples, recipe: Recipe) -> Iterator[str]:
    """How much is trained and validated on, how often an epoch draws rare and common classes, and what is missing."""
    sampler = Sampler(trained.primary, trained.part, recipe.sampling, recipe.seed)
    has_times = trained.events is not None and len(trained.events.row) > 0
    kind = "recordings and annotated times" if has_times else "recordings"
    yield (
        f"training on {len(trained)} {kind}, {sampler.clips} clips an epoch; validating on {len(validated)} recordings"
    )
    taught_K = np.bincount(trained.primary, minlength=trained.classes)
    drawn_K = effective_counts(trained.primary, sampler.probability_N, sampler.clips, trained.classes)
    yield "clips an epoch draws of a class: " + ", ".join(
        f"{trained.labels[k]} {drawn_K[k]:.1f} (has {taught_K[k]})" for k in rarest_and_commonest(taught_K)
    )
    if missing := named(trained.labels, taught_K == 0):
        yield f"warning: no recording of {missing} is trained on in this fold, so they cannot be learned"
    yield from _unmeasured(validated)


def rarest_and_commonest(counts_K: Ints) -> list[int]:
    """The three rarest and the three commonest classes; all, if there are no more than six."""
    order = np.argsort(counts_K, kind="stable").tolist()
    return order if len(order) <= 6 else [*order[:3], *order[-3:]]


def named(labels: Sequence[str], chosen_K: npt.NDArray[np.bool_]) -> str:
    """The chosen labels, the first twelve by name."""
    found = [label for label, chosen in zip(labels, chosen_K, strict=True) if chosen]
    rest = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
    return ", ".join(found[:MOST_NAMED]) + rest


def _unmeasured(validated: Examples) -> Iterator[str]:
    """Which classes the metrics of this fold leave out, since they have no positive or, but for masks, no negative."""
    positives_K = np.bincount(validated.primary, minlength=validated.classes)
    negatives_K = len(validated) - positives_K - validated.secondary.sum(axis=0)
    if not ((positives_K > 0) & (negatives_K > 0)).any():
        yield (
            "warning: no class has both positives and negatives in the validated fold, so macro ROC-AUC is nan; "
            "the best epoch is the one with the lowest validation loss"
        )
    if absent := named(validated.labels, positives_K == 0):
        yield f"without a recording in the validated fold, so not in its metrics: {absent}"
