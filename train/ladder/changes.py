"""What one resolved member has otherwise than another, key by key."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from train.members import ResolvedMember

NAMES = ("name", "recipe", "override", "seed", "store_digest", "weights_sha256")  # how it is called, not what it is


def changes(before: ResolvedMember, after: ResolvedMember) -> list[str]:
    """Lines such as `optimiser.lr`: 0.001 -> 0.01, in the order of params.yaml."""
    old, new = _flat(before), _flat(after)
    keys = [*new, *(key for key in old if key not in new)]
    return [f"`{key}`: {_shown(old, key)} -> {_shown(new, key)}" for key in keys if old.get(key) != new.get(key)]


def _flat(member: ResolvedMember) -> dict[str, Any]:
    """All that decides a training, by dotted key: the member's own keys, then the recipe's."""
    sections = (member.member.model_dump(), member.recipe.model_dump())
    return {key: value for section in sections for key, value in _leaves(section)}


def _leaves(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in section.items():
        if not prefix and key in NAMES:
            continue
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _shown(values: Mapping[str, Any], key: str) -> str:
    return json.dumps(values[key]) if key in values else "none"
