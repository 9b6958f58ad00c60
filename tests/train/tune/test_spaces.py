"""What is drawn from a space has the recipe's type and lies within its ends; the best of a search."""

from __future__ import annotations

from typing import Any

import pytest

from birdcache.params.tune import ChoiceParams, RangeParams
from train.tune.search import Outcome, best_of
from train.tune.spaces import value_at


@pytest.mark.parametrize(
    ("key", "space", "ends"),
    [
        ("optimiser.lr", RangeParams(low=0.01, high=1, log=True), (0.01, 0.1, 1.0)),
        ("optimiser.lr", RangeParams(low=1, high=3, log=False), (1.0, 2.0, 3.0)),
        ("epochs", RangeParams(low=2, high=4, log=False), (2, 3, 4)),
        ("epochs", RangeParams(low=1, high=99, log=True), (1, 10, 99)),
        ("short", ChoiceParams(choices=["pad", "loop", "x"]), ("pad", "loop", "x")),
    ],
)
def test_a_share_of_the_way_through_a_space(key: str, space: Any, ends: tuple[Any, ...]) -> None:
    values = [value_at(key, space, share) for share in (0.0, 0.5, 0.999999999)]
    assert values == pytest.approx(ends) if isinstance(ends[0], float) else values == list(ends)
    assert {type(value) for value in values} == {type(ends[0])}


def test_an_equal_later_trial_is_not_the_best() -> None:
    def outcome(number: int, merit: float) -> Outcome:
        return Outcome(number, "finished", {}, merit, 1, 1.0)

    alike = [outcome(1, 0.2), outcome(2, 0.7), outcome(3, 0.7)]
    assert best_of(alike, maximises=True) == alike[1]
    assert best_of(alike, maximises=False) == alike[0]
