"""Validation: fixed clips that cover whole recordings, scored and averaged per recording; the summary of a split.

B batch, N recording, K class.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from birdcache.arrays import Bools, Floats32, Ints
from birdcache.errors import TrainError
from birdcache.params.recipe import Recipe
from birdcache.params.views import AnyView
from birdcache.progress import Advance, no_progress
from birdcache.text import counted
from train.augment.batch import Batch
from train.augment.ops import to_device
from train.data.examples import Examples
from train.data.frames import Frames
from train.data.sampling import Sampler, effective_counts
from train.loop.distributed import ALONE, Ranks
from train.model.classifier import Classifier
from train.model.losses import Loss, check_finite, scores
from train.score.inference import ClipList, Scorer, covering_clips
from train.score.metrics import recording_metrics, window_metrics

MOST_NAMED = 12  # classes in one line


@dataclass(frozen=True)
class Validation:
    """The recordings of a validation fold, and how to score them; several processes share the clips out."""

    examples: Examples
    frames: Frames
    view: AnyView
    recipe: Recipe
    device: torch.device
    batch_size: int
    ranks: Ranks = ALONE
    windows: Validation | None = None  # that of labelled windows: a clip of each; what is heard in it is `secondary`

    @cached_property
    def clips(self) -> ClipList:
        """The clips that are scored after an epoch, at most `validation_clips` of a recording."""
        return covering_clips(self.examples, self.view.frames(self.recipe.clip_s), self.recipe.validation_clips)

    def predict(
        self,
        model: Classifier,
        where: str = "validation",
        advance: Advance = no_progress,
        clips: ClipList | None = None,
    ) -> tuple[Floats32, float]:
        """Score every recording: mean over its clips. The same in all processes.

        A TrainError if the loss is not a finite number: the last step of the epoch may have broken the weights.

        Parameters
        ----------
        where : the place, for the error about a loss that is not finite.
        advance : called with the number of clips scored since, of all processes.
        clips : to score; None = all that the recordings have.

        Returns
        -------
        (N, K) scores, and the mean loss of the clips against unsmoothed targets of their recordings.
        """
        if clips is None:
            clips = covering_clips(self.examples, self.view.frames(self.recipe.clip_s))
        mine = clips.subset(self.ranks.span(len(clips)))
        # label smoothing, class weights and a second view only help training
        unsmoothed = self.recipe.loss.model_copy(update={"label_smoothing": 0.0, "consistency": 0.0})
        plain = Loss(unsmoothed, torch.ones(self.examples.classes, device=self.device))
        # sums stay on the device, so that it computes on while the host is a few batches ahead
        sums_NK = torch.zeros(len(self.examples), self.examples.classes, dtype=torch.float64, device=self.device)
        loss, done = torch.zeros((), dtype=torch.float64, device=self.device), 0
        scorer = Scorer(model, self.frames, self.view, self.recipe, self.device, compiled=self.recipe.compile)
        for logits in scorer.logits(mine, self.batch_size):
            owner_B = mine.owner[done : done + len(logits.clip)]
            done += len(owner_B)
            loss += plain(logits, self._truth(owner_B)) * len(owner_B)
            sums_NK.index_add_(0, to_device(owner_B, self.device), scores(logits.clip, self.recipe.loss).double())
            advance(self.ranks.world * len(owner_B))
        mean_loss = float(self.ranks.total(loss)) / len(clips)
        check_finite(mean_loss, where)
        counts_N = np.bincount(clips.owner, minlength=len(self.examples))
        return (self.ranks.total(sums_NK).cpu().numpy() / counts_N[:, None]).astype(np.float32), mean_loss

    def _truth(self, owner_B: Ints) -> Batch:
        """The targets of clips of these recordings, as a batch without clips."""
        targets, weights = self.examples.targets(owner_B, self.recipe.secondary)
        none, alike = np.empty(0, np.float32), np.ones(len(owner_B), np.float32)
        return Batch(*(to_device(array, self.device) for array in (none, targets, weights, alike)))

    def metrics(self, model: Classifier, where: str = "validation", advance: Advance = no_progress) -> dict[str, float]:
        """Loss and metrics per recording by the clips of an epoch, each as it is, see `predict`; metrics of windows."""
        recipe = self.recipe.model_copy(update={"rolls": 1})
        windows = replace(self.windows, recipe=recipe) if self.windows else None
        once = replace(self, recipe=recipe, windows=windows)
        return once.measured(model, *once.predict(model, where, advance, self.clips), advance)

    def measured(
        self, model: Classifier, scores_NK: Floats32, loss: float, advance: Advance = no_progress
    ) -> dict[str, float]:
        """Loss and metrics of scores of the recordings; metrics of windows are named `windows.<metric>`."""
        examples, scores_NK = self.examples, self.examples.answers(scores_NK)
        found = {"loss": loss, **recording_metrics(examples.primary, examples.unjudged, scores_NK)}
        if self.windows is None:
            return found
        window_NK, _ = self.windows.predict(model, "windows", advance)
        heard_NK, unknown_NK = self.windows.examples.secondary, self.windows.examples.unknown
        of_windows = window_metrics(heard_NK, window_NK, None if unknown_NK is None else ~unknown_NK)
        return found | {f"windows.{name}": value for name, value in of_windows.items()}


def check_split(name: str, fold: int, trained: Examples, validated: Examples, recipe: Recipe) -> None:
    """Refuse, by a TrainError, an empty side of a split, or one class alone where softmax would give it every score."""
    for side, examples in (("train", trained), ("validate", validated)):
        if not len(examples):
            raise TrainError(
                f"{name}-{fold}: no recording is left to {side} on; see reports/folds/folds.csv and lower folds.count"
            )

    taught_K = trained.taught(recipe.secondary)
    if recipe.loss.exclusive and taught_K.sum() < 2:
        raise TrainError(
            f"{name}-{fold}: the recordings to train on teach one class alone, {named(trained.labels, taught_K)}, and "
            f"loss.kind: {recipe.loss.kind} shares a score of 1 among the classes, so that every sound would get it; "
            "add recordings without it under the label nocall, or set loss.kind: bce; if there are more classes, see "
            "reports/folds/folds.csv for the fold that holds them"
        )


def check_windows(name: str, fold: int, taught: Examples | None, judged: Examples | None, recipe: Recipe) -> None:
    """Refuse, by a TrainError, a share of windows where there is none to train on, and to judge by ones that cannot."""
    if recipe.sampling.shares.soundscapes and not taught:
        raise TrainError(
            f"{name}-{fold}: no labelled window of a soundscape is left to train on; name their table in "
            "data.soundscape_labels, or set sampling.shares.soundscapes: 0.0"
        )
    heard_NK = judged.secondary if judged else np.zeros((0, 0), bool)
    if recipe.judge != "recordings" and not (heard_NK.any(axis=0) & ~heard_NK.all(axis=0)).any():
        raise TrainError(
            f"{name}-{fold}: no class is heard in some labelled windows of the fold and not in others, so they cannot "
            "judge; see reports/folds for what each fold holds, lower folds.count, or set judge: recordings"
        )


def split_lines(
    trained: Examples, validated: Examples, recipe: Recipe, windows: Examples | None = None
) -> Iterator[str]:
    """Lines on the size of the split, the clips that an epoch draws of rare and common classes, and missing classes."""
    sampler = Sampler(trained.primary, trained.part, recipe.sampling, recipe.seed, trained.weight)
    has_times = trained.events is not None and len(trained.events.row) > 0
    kind = "recordings and annotated times" if has_times else "recordings"
    yield (f"training on {len(trained)} {kind}, {sampler.clips} clips an epoch; validating on {len(validated)}")
    taught_K = np.bincount(trained.primary, minlength=trained.classes)
    heard_K: Bools = np.zeros(trained.classes, bool)
    if windows is not None and recipe.sampling.shares.soundscapes:
        heard_K = np.asarray(windows.secondary.any(axis=0))
        share, soundscapes = recipe.sampling.shares.of_soundscapes, counted(len(set(windows.names)), "soundscapes")
        yield f"{share:.0%} of the clips are {len(windows)} labelled windows of {soundscapes}"
    drawn_K = effective_counts(trained.primary, sampler.probability_N, sampler.clips, trained.classes)
    yield "clips an epoch draws of a class: " + ", ".join(
        f"{trained.labels[k]} {drawn_K[k]:.1f} (has {taught_K[k]})" for k in rarest_and_commonest(taught_K)
    )
    if not has_times and (always := named(trained.labels, taught_K == len(trained))):
        yield (
            f"warning: every recording to train on has the label {always}, so nothing teaches where it is absent, and "
            "no score of it means anything; add recordings without it under the label nocall"
        )
    if missing := named(trained.labels, (taught_K == 0) & ~heard_K):
        yield f"warning: no recording of {missing} is in the training folds, so these classes cannot be learned"
    yield from _unmeasured(validated)


def rarest_and_commonest(counts_K: Ints) -> list[int]:
    """The three rarest and the three commonest classes; all, if there are no more than six."""
    order = np.argsort(counts_K, kind="stable").tolist()
    return order if len(order) <= 6 else [*order[:3], *order[-3:]]


def named(labels: Sequence[str], chosen_K: Bools) -> str:
    """The chosen labels, the first twelve by name."""
    found = [label for label, chosen in zip(labels, chosen_K, strict=True) if chosen]
    rest = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
    return ", ".join(found[:MOST_NAMED]) + rest


def _unmeasured(validated: Examples) -> Iterator[str]:
    """Lines on classes that the metrics leave out: those without a positive or, masks aside, a negative."""
    positives_K = np.bincount(validated.primary, minlength=validated.classes)
    negatives_K = len(validated) - positives_K - validated.unjudged.sum(axis=0)
    if validated.classes < 2:
        yield f"warning: {validated.labels[0]} is the only class, so no answer can be wrong: accuracy and F1 are nan"
    if not ((positives_K > 0) & (negatives_K > 0)).any():
        yield (
            "warning: no class has both positives and negatives in the validation fold, so macro ROC-AUC is nan; "
            "the best epoch is the one with the lowest validation loss"
        )
    if absent := named(validated.labels, positives_K == 0):
        yield f"without a recording in the validation fold, so not in its metrics: {absent}"
