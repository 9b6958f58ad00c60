"""Teachers: what a member learns of another model's embeddings or scores. Section `members.<member>.teacher`."""

import math
from typing import Annotated, Literal

from pydantic import Field

from birdcache.params.sections import Label, Name, NonNegative, Probability, Section


class SoftParams(Section):
    """Labels mixed with scores: alpha * score ** power + (1 - alpha) * label (distillation, Hinton et al. 2015)."""

    alpha: Probability
    power: Annotated[float, Field(gt=0, le=100)] = 1.0
    threshold: Probability = 0.0


class TeacherParams(Section):
    """What is learnt of a view of kind embedding beside the labels.

    Source: regression to features, Romero et al. 2015, FitNets; to those of bird models, winners of BirdCLEF 2025.
    """

    view: Name
    loss: Literal["cosine", "mse", "kl"] = "cosine"
    weight: NonNegative = 1.0
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    until: Annotated[float, Field(gt=0, le=1)] = 1.0
    projection: Literal["linear", "mlp"] = "linear"
    stop_gradient: bool = False
    logits: bool = False
    soft: SoftParams | None = None
    labels: Annotated[dict[Label, str | int], Field(default_factory=dict)]

    def weight_at(self, epoch: int, epochs: int) -> float:
        """Weight in the loss of an epoch, counted from 0: falls to 0 at `until` of the training, or ends there."""
        done = epoch / (self.until * epochs)
        if done >= 1:
            return 0.0
        left = {"constant": 1.0, "linear": 1 - done, "cosine": 0.5 + 0.5 * math.cos(math.pi * done)}
        return self.weight * left[self.schedule]
