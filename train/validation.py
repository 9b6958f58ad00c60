"""Validation: fixed clips that cover whole recordings, scored and averaged per recording."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from params import MelView, PcenView, Recipe
from train.augment import to_device
from train.examples import Examples, targets
from train.inference import Floats, Scorer, covering_clips, mean_by_owner
from train.losses import check_finite, loss, scores
from train.metrics import recording_metrics
from train.residence import Frames


@dataclass(frozen=True)
class Validation:
    """The recordings of a validation fold, and how to score them."""

    examples: Examples
    frames: Frames
    view: MelView | PcenView
    recipe: Recipe
    device: torch.device
    batch_size: int

    def predict(self, model: nn.Module) -> tuple[Floats, float]:
        """Score every recording: mean over its clips.

        Returns
        -------
        (N, K) scores, and the mean loss of the clips against unsmoothed targets of their recordings.

        Raises
        ------
        TrainError
            If the loss is not a finite number: the last step of the epoch may have broken the weights.
        """
        clips = covering_clips(self.examples.rows, self.examples.frames, self.view.frames(self.recipe.clip_s))
        targets_NK, weights_NK = (
            to_device(array, self.device) for array in targets(self.examples, self.recipe.secondary)
        )
        plain = self.recipe.loss.model_copy(update={"label_smoothing": 0.0})
        collected, total, done = [], 0.0, 0
        for logits_BK in Scorer(model, self.frames, self.view, self.recipe, self.device).logits(clips, self.batch_size):
            owner = to_device(clips.owner[done : done + len(logits_BK)], self.device)
            total += float(loss(logits_BK, targets_NK[owner], weights_NK[owner], plain)) * len(logits_BK)
            done += len(logits_BK)
            collected.append(scores(logits_BK, self.recipe.loss.kind).cpu().numpy())
        check_finite(total, "validation")
        return mean_by_owner(np.concatenate(collected), clips.owner, len(self.examples)), total / done

    def metrics(self, model: nn.Module) -> dict[str, float]:
        """Loss and metrics per recording."""
        scores_NK, mean_loss = self.predict(model)
        return {"loss": mean_loss, **recording_metrics(self.examples.primary, self.examples.secondary, scores_NK)}
