"""Validation: fixed clips that cover whole recordings, scored and averaged per recording.

B batch, N recording, K class.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from birdcache.params.recipe import Recipe
from birdcache.params.views import AnyView
from birdcache.progress import Advance, untold
from train.augment.batch import Batch
from train.augment.ops import to_device
from train.data.examples import Examples, Ints
from train.data.frames import Frames
from train.loop.distributed import ALONE, Ranks
from train.model.classifier import Classifier
from train.model.losses import Loss, check_finite, scores
from train.score.inference import ClipList, Floats, Scorer, covering_clips
from train.score.metrics import recording_metrics


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

    @cached_property
    def clips(self) -> ClipList:
        """The clips that are scored."""
        return covering_clips(self.examples, self.view.frames(self.recipe.clip_s))

    def predict(self, model: Classifier, where: str = "validation", advance: Advance = untold) -> tuple[Floats, float]:
        """Score every recording: mean over its clips. The same in all processes.

        Parameters
        ----------
        where : what is said of a loss that is no number.
        advance : told how many clips, of all processes, were scored.

        Returns
        -------
        (N, K) scores, and the mean loss of the clips against unsmoothed targets of their recordings.

        Raises
        ------
        TrainError
            If the loss is not a finite number: the last step of the epoch may have broken the weights.
        """
        clips = self.clips
        mine = clips.subset(self.ranks.span(len(clips)))
        plain = self._plain_loss()
        # sums stay on the device, so that it computes on while the host is a few batches ahead
        sums_NK = torch.zeros(len(self.examples), self.examples.classes, dtype=torch.float64, device=self.device)
        loss, done = torch.zeros((), dtype=torch.float64, device=self.device), 0
        for logits in Scorer(model, self.frames, self.view, self.recipe, self.device).logits(mine, self.batch_size):
            owner_B = mine.owner[done : done + len(logits.clip)]
            done += len(owner_B)
            loss += plain(logits, self._truth(owner_B)) * len(owner_B)
            sums_NK.index_add_(0, to_device(owner_B, self.device), scores(logits.clip, self.recipe.loss).double())
            advance(self.ranks.world * len(owner_B))
        mean_loss = float(self.ranks.total(loss)) / len(clips)
        check_finite(mean_loss, where)
        counts_N = np.bincount(clips.owner, minlength=len(self.examples))
        return (self.ranks.total(sums_NK).cpu().numpy() / counts_N[:, None]).astype(np.float32), mean_loss

    def _plain_loss(self) -> Loss:
        """The recipe's loss without what is only meant to teach: label smoothing and class weights."""
        unsmoothed = self.recipe.loss.model_copy(update={"label_smoothing": 0.0})
        return Loss(unsmoothed, torch.ones(self.examples.classes, device=self.device))

    def _truth(self, owner_B: Ints) -> Batch:
        """What the loss compares the logits of clips of these recordings with."""
        targets, weights = self.examples.targets(owner_B, self.recipe.secondary)
        none, alike = np.empty(0, np.float32), np.ones(len(owner_B), np.float32)
        return Batch(*(to_device(array, self.device) for array in (none, targets, weights, alike)))

    def metrics(self, model: Classifier, where: str = "validation", advance: Advance = untold) -> dict[str, float]:
        """Loss and metrics per recording; see `predict`."""
        scores_NK, mean_loss = self.predict(model, where, advance)
        return {"loss": mean_loss, **recording_metrics(self.examples.primary, self.examples.secondary, scores_NK)}
