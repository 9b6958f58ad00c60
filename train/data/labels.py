"""Labels of mixtures. P mixture, K class."""

import numpy as np

from birdcache.arrays import Floats32, Floats64, Ints
from train.data.augment_draws import RULES, Mixtures


def mixed_labels(
    targets: Floats32, weights: Floats32, importance: Floats32, mixtures: Mixtures
) -> tuple[Floats32, Floats32, Floats32]:
    """Targets, weights and importance of clips, mixed as the clips are.

    Parameters
    ----------
    targets, weights : (N + P, K) of clips, then of partners; `importance` : (N + P,). Those of clips are overwritten.

    Returns
    -------
    (N, K), (N, K) and (N,) float32.
    """
    place, size = np.flatnonzero(mixtures.partnered), len(mixtures.partnered)
    share, rule = mixtures.share[place], mixtures.rule[place]
    both = mix_targets(targets[place], targets[size:], share, rule)
    targets[place] = both
    weights[place] = mix_weights(weights[place], weights[size:], both)
    importance[place] = mix_importance(importance[place], importance[size:], share, rule)
    return targets[:size], weights[:size], importance[:size]


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
