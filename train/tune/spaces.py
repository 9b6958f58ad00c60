"""Spaces of a search: from params.yaml to Optuna's distributions, and back from its draws."""

import json
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from birdcache.params.tune import ChoiceParams, RangeParams, is_whole

DIGITS = 3  # of tried values: enough for any key of a recipe, and short to paste

AnySpace = RangeParams | ChoiceParams


def distribution(key: str, space: AnySpace) -> BaseDistribution:
    """Optuna's distribution of a space: integers where the recipe has them; choices of any kind as JSON text."""
    if isinstance(space, ChoiceParams):
        return CategoricalDistribution([json.dumps(choice) for choice in space.choices])
    if is_whole(key):
        return IntDistribution(int(space.low), int(space.high), log=space.log)
    return FloatDistribution(space.low, space.high, log=space.log)


def value_at(key: str, space: AnySpace, share: float) -> Any:
    """The value that lies a share, 0 to 1 (excluded), of the way through a space."""
    if isinstance(space, ChoiceParams):
        return space.choices[int(share * len(space.choices))]
    low, high = space.low, space.high + (1 if is_whole(key) else 0)
    value = low * (high / low) ** share if space.log else low + (high - low) * share
    return int(value) if is_whole(key) else min(float(value), float(space.high))


def holds(space: AnySpace, value: Any) -> bool:
    """True if a value may be drawn."""
    if isinstance(space, ChoiceParams):
        return value in space.choices
    return value is not None and space.low <= value <= space.high


def encoded(space: AnySpace, value: Any) -> Any:
    """A value of the space in Optuna's form."""
    return json.dumps(space.choices[space.choices.index(value)]) if isinstance(space, ChoiceParams) else value


def decoded(space: AnySpace, drawn: Any, standing: Any) -> Any:
    """Optuna's draw as the value in params.yaml; a float has few digits, within its range, unless it stands there."""
    if isinstance(space, ChoiceParams):
        return json.loads(drawn)
    if drawn == standing or not isinstance(drawn, float):
        return drawn
    return min(max(float(f"{drawn:.{DIGITS}g}"), float(space.low)), float(space.high))
