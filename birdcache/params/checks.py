"""Rules of single values, and between a value and one that stands above it, with the words that tell of them."""

import re
from collections.abc import Callable
from typing import Any

from pydantic import AfterValidator, ValidationInfo


def kept(is_kept: Callable[[Any], bool], rule: str) -> AfterValidator:
    """The rule of a value, which is said where it is broken."""

    def check(value: Any) -> Any:
        if not is_kept(value):
            raise ValueError(rule)
        return value

    return AfterValidator(check)


def each_once(what: str, way_out: str = "name each once") -> AfterValidator:
    """The rule of a list whose values, each of which is `what`, differ."""
    return kept(lambda values: len(set(values)) == len(values), f"names {what} twice; {way_out}")


def beside(key: str, is_kept: Callable[[Any, Any], bool], rule: str) -> AfterValidator:
    """The rule of a value and another one of its section, for which {} stands in the words.

    Parameters
    ----------
    key : of the other, which must be declared before this one; nothing is said if it is wrong itself.
    """

    def check(value: Any, info: ValidationInfo) -> Any:
        known = getattr(info, "data", None) or {}  # none where a value is checked by itself
        if key in known and not is_kept(value, known[key]):
            raise ValueError(rule.format(known[key]))
        return value

    return AfterValidator(check)


def is_kernel(smoothing: float | list[float]) -> bool:
    """True for the share of each neighbour, or for taps: an odd number of shares with the sum one."""
    if not isinstance(smoothing, list):
        return 0 <= smoothing <= 0.5
    return len(smoothing) in range(1, 100, 2) and min(smoothing) >= 0 and abs(sum(smoothing) - 1) < 1e-6


def tells_place(pattern: str) -> bool:
    """True for a regular expression with a group `site`, `date` or both, and no other named one but `time`."""
    try:
        return {*re.compile(pattern).groupindex} - {"time"} in ({"site"}, {"date"}, {"site", "date"})
    except (re.error, RecursionError, OverflowError):
        return False
