"""Labels of mixtures, and labels out of scores. P mixture, N clip, K class."""

from typing import NamedTuple

import numpy as np

from birdcache.arrays import Floats32, Floats64, Ints
from train.data.augment_draws import RULES, Mixtures


class Labels(NamedTuple):
    """Labels of clips."""

    targets: Floats32  # (N, K)
    weights: Floats32  # (N, K), 0 for cells left out of the loss
    importance: Floats32  # (N,) weight of the clip in the loss


def mixed_labels(labels: Labels, others: Labels, mixtures: Mixtures) -> Labels:
    """Labels of clips, mixed with those of their partners as the clips are; `labels` is overwritten."""
    chosen = mixtures.partnered
    own, other = (Labels(*(column[chosen] for column in each)) for each in (labels, others))
    share, rule = mixtures.share[chosen], mixtures.rule[chosen]
    both = mix_targets(own.targets, other.targets, share, rule)
    labels.targets[chosen], labels.weights[chosen] = both, mix_weights(own.weights, other.weights, both)
    labels.importance[chosen] = mix_importance(own.importance, other.importance, share, rule)
    return labels


def mix_targets(first_PK: Floats32, second_PK: Floats32, share_P: Floats64, rule_P: Ints) -> Floats32:
    """Targets of mixtures, each by the rule of that number in `RULES`: (P, K).

    lambda: weighted by the share of the first clip. max: both sounds fully present. sum: added, at most 1.
    """
    mixed_PK = np.empty_like(first_PK)
    for number, rule in enumerate(RULES):
        chosen_P = rule_P == number
        first, second, share = first_PK[chosen_P], second_PK[chosen_P], share_P[chosen_P, None]
        if rule == "lambda":
            mixed_PK[chosen_P] = share * first + (1 - share) * second
        else:
            mixed_PK[chosen_P] = np.maximum(first, second) if rule == "max" else np.minimum(first + second, 1)
    return mixed_PK


def mix_weights(first_PK: Floats32, second_PK: Floats32, targets_PK: Floats32) -> Floats32:
    """Weights of mixtures in the loss: 1 where a class is present, else the product of both clips' weights: (P, K)."""
    return np.where(targets_PK > 0, np.float32(1), first_PK * second_PK)


def mix_importance(first_P: Floats32, second_P: Floats32, share_P: Floats64, rule_P: Ints) -> Floats32:
    """Importance of mixtures: by share under rule lambda, else that of the more important clip: (P,)."""
    weighted_P = share_P * first_P + (1 - share_P) * second_P
    return np.where(rule_P == RULES.index("lambda"), weighted_P, np.maximum(first_P, second_P)).astype(np.float32)


def sharpened(scores_NK: Floats32, threshold: float, power: float) -> Floats32:
    """Labels out of scores: 0 below the threshold, else the score to this power: (N, K).

    Source: powers above 1 against noise, as the winners of BirdCLEF 2025.
    """
    return np.where(scores_NK < threshold, 0, scores_NK.astype(np.float64) ** power).astype(np.float32)
