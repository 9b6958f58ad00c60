"""The loss of a recipe. Section `train.<recipe>.loss` of params.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from birdcache.params.checks import beside
from birdcache.params.sections import NonNegative, Probability, Section

OfEachClass = Literal["bce", "focal_bce", "asymmetric", "distribution_balanced"]  # one yes or no


class LossParams(Section):
    """The loss between logits and (mixed, smoothed) targets.

    Sources: focal loss, Lin et al. 2017; asymmetric, Ridnik et al. 2021; distribution-balanced, Wu et al. 2020; zlpr,
    Su et al. 2022; two_way, Kobayashi 2023; soft AUC, the pairwise logistic surrogate of Yan et al. 2003; consistency,
    Liang et al. 2021; label smoothing, Szegedy et al. 2016; effective number of samples, Cui et al. 2019;
    weights of positives as `pos_weight` of torch; clip + frame_max, the loss of sound event detectors (Kong et al.
    2020), with which BirdCLEF's winners train; ratings as weights, BirdCLEF 2021 to 2023.
    """

    kind: Literal["ce", "focal_ce", OfEachClass, "zlpr", "two_way"]
    focal_gamma: Annotated[float, Field(ge=0, le=100)]
    focal_alpha: Probability
    soft_auc: Probability
    consistency: NonNegative = 0.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    class_weights: Literal["none", "inverse", "effective"]
    effective_beta: Annotated[float, Field(ge=0, lt=1)]
    pos_weight: Annotated[
        float,
        Field(ge=1, le=10_000),
        beside(
            "kind",
            lambda weight, kind: weight == 1 or kind in ("bce", "focal_bce"),
            "is for kinds bce and focal_bce, not {}; set pos_weight: 1.0",
        ),
    ] = 1.0
    lowest_rating_weight: Probability
    clip: NonNegative
    frame_max: Annotated[
        NonNegative,
        beside(
            "clip",
            lambda frame_max, clip: clip + frame_max > 0,
            "clip and frame_max are both 0, so nothing is learnt; raise one",
        ),
    ]

    @property
    def exclusive(self) -> bool:
        """True if scores share one unit among the classes (softmax), False if each class has its own (sigmoid)."""
        return self.kind in ("ce", "focal_ce")
