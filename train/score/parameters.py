"""Parameters of resolved members, key by key, and the differences between members.

A file of its own, since the ladder depends on it and not on the other tables.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from train.data.member import ResolvedMember

NAMES = ("recipe", "seed")  # how a training is called, not what it is


def changes(before: ResolvedMember, after: ResolvedMember) -> list[str]:
    """Lines such as `optimiser.lr`: 0.001 -> 0.01, in the order of params.yaml."""
    old, new = _flat(before), _flat(after)
    keys = [key for key in dict.fromkeys([*new, *old]) if key not in NAMES and old.get(key) != new.get(key)]
    return [f"`{key}`: {_shown(old, key)} -> {_shown(new, key)}" for key in keys]


def parameter_table(members: Sequence[ResolvedMember]) -> pd.DataFrame:
    """A row per key in the order of params.yaml, a column per member; first the keys in which the members differ."""
    columns = {member.name: _flat(member) for member in members}
    keys = dict.fromkeys(key for values in columns.values() for key in values)
    rows = [[key, *(_shown(values, key) for values in columns.values())] for key in keys]
    alike_last = sorted(rows, key=lambda row: len(set(row[1:])) == 1)
    return pd.DataFrame(alike_last, columns=["key", *columns])


def _flat(member: ResolvedMember) -> dict[str, Any]:
    """The parameters of a training by dotted key: the member's own, then the recipe's."""
    sections = (member.member.model_dump(), member.recipe.model_dump())
    return {key: value for section in sections for key, value in _leaves(section)}


def _leaves(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in section.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _shown(values: Mapping[str, Any], key: str) -> str:
    return json.dumps(values[key]) if key in values else "none"
