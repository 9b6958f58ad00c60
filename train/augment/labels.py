"""What mixtures of two clips are called and how much they count. Small arrays, so this is done on the host.

B clip, P partner, K class.
"""

from __future__ import annotations

import numpy as np

from train.data.augment_draws import RULES, Float32s, Mixtures
from train.data.random import Floats, Ints


def mixed_labels(
    targets: Float32s, weights: Float32s, importance: Float32s, mixtures: Mixtures
) -> tuple[Float32s, Float32s, Float32s]:
    """Targets, weights and importance of a batch, mixed as its clips are.

    Parameters
    ----------
    targets, weights : (B + P, K) of clips, then partners; `importance` : (B + P,).

    Returns
    -------
    (B, K), (B, K) and (B,) float32.
    """
    place, size = mixtures.place, len(importance) - len(mixtures.place)
    mixed = targets[:size].copy(), weights[:size].copy(), importance[:size].copy()
    if len(place):
        both = mix_targets(targets[place], targets[size:], mixtures.share, mixtures.rule)
        mixed[0][place] = both
        mixed[1][place] = mix_weights(weights[place], weights[size:], both)
        mixed[2][place] = mix_importance(importance[place], importance[size:], mixtures.share, mixtures.rule)
    return mixed


def mix_targets(first_PK: Float32s, second_PK: Float32s, share_P: Floats, rule_P: Ints) -> Float32s:
    """Targets of mixtures, each by the rule of that number in `RULES`: (P, K).

    lambda: weighted by the share of the first clip. max: both sounds fully present. sum: added, at most 1.
    """
    by_rule = {
        "lambda": _weighted(first_PK, second_PK, share_P[:, None]),
        "max": np.maximum(first_PK, second_PK),
        "sum": np.minimum(first_PK + second_PK, 1),
    }
    return np.choose(rule_P[:, None], [by_rule[rule] for rule in RULES]).astype(np.float32)


def mix_weights(first_PK: Float32s, second_PK: Float32s, targets_PK: Float32s) -> Float32s:
    """Where the loss looks at mixtures: where it looks at both clips, and where either is sure of the class: (P, K)."""
    return np.where(targets_PK > 0, 1, first_PK * second_PK).astype(np.float32)


def mix_importance(first_P: Float32s, second_P: Float32s, share_P: Floats, rule_P: Ints) -> Float32s:
    """How much mixtures count: by share under rule lambda, else as much as the more important clip: (P,)."""
    weighted_P = _weighted(first_P, second_P, share_P)
    return np.where(rule_P == RULES.index("lambda"), weighted_P, np.maximum(first_P, second_P)).astype(np.float32)


def _weighted(first: Float32s, second: Float32s, share: Floats) -> Floats:
    return share * first + (1 - share) * second
