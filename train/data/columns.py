"""Named tuples of columns, one row for each clip, nested or not: the same done to all of them. N clip."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np

from birdcache.arrays import Bools, Ints

Columns = TypeVar("Columns", bound=tuple[Any, ...])


def mapped(columns: Columns, function: Callable[..., Any], *others: Columns) -> Columns:
    """A (nested) named tuple of arrays or tensors with a function of each of them, and of those in their place."""
    each = [
        mapped(column, function, *there) if isinstance(column, tuple) else function(column, *there)
        for column, *there in zip(columns, *others, strict=True)
    ]
    return type(columns)(*each) if hasattr(columns, "_fields") else type(columns)(each)


def part(columns: Columns, rows: slice) -> Columns:
    """The same rows of all columns of a named tuple."""
    return mapped(columns, lambda column: column[rows])


def without(plain_N: Bools, drawn: Columns) -> Columns:
    """Mixtures or effects, but nothing for some clips: no partner, 0 dB, no added sound, no shift, masks of width 0."""
    zeroed: Any = mapped(drawn, lambda column: (column.T * ~plain_N).T)
    alone = np.where(plain_N[:, None], np.array([1, 0, 0], np.float32), zeroed.weights)
    return cast(Columns, zeroed._replace(weights=alone))


def replaced(columns: Columns, rows: Ints, others: Columns) -> Columns:
    """Mixtures and effects with others in some rows; bands or masks that only one of the two has are 0 in the other."""

    def filled(column: Any, values: Any) -> Any:
        most = max(column.shape[1:], values.shape[1:])
        rooms = [[(0, 0), *((0, more) for more in np.subtract(most, each.shape[1:]))] for each in (column, values)]
        both = np.pad(column, rooms[0])
        both[rows] = np.pad(values, rooms[1])
        return both

    return mapped(columns, filled, others)
