"""The page's size: pieces are taken in turn while there is room."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from commands.report.build import WORDS_BYTES, fill


def pieces(kind: str, *sizes: int, made: list[str] | None = None) -> Iterator[dict[str, Any]]:
    for number, size in enumerate(sizes):
        if made is not None:
            made.append(f"{kind}{number}")
        yield {"name": f"{kind}{number}", "bytes": size}


def names(taken: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, list[str]]:
    return {kind: [piece["name"] for piece in each] for kind, each in taken.items()}


def test_with_room_for_all_nothing_is_cut() -> None:
    filled = fill({"a": pieces("a", 10, 20), "b": pieces("b", 5)}, 10**6)
    assert names(filled.taken) == {"a": ["a0", "a1"], "b": ["b0"]}
    assert filled.cut == frozenset()


def test_room_is_shared_in_turn_and_what_is_cut_is_told() -> None:
    room = 4 * (1000 + WORDS_BYTES)
    filled = fill({"a": pieces("a", *[1000] * 9), "b": pieces("b", *[1000] * 9), "c": pieces("c", 1000)}, room)
    assert names(filled.taken) == {"a": ["a0", "a1"], "b": ["b0"], "c": ["c0"]}
    assert filled.cut == {"a", "b"}


def test_a_large_piece_does_not_keep_small_ones_of_other_lists_out() -> None:
    filled = fill({"a": pieces("a", 10**6), "b": pieces("b", 100, 100)}, 3 * (100 + WORDS_BYTES))
    assert names(filled.taken) == {"a": [], "b": ["b0", "b1"]}
    assert filled.cut == {"a"}


def test_what_is_taken_never_exceeds_the_room() -> None:
    sizes = [3000, 7000, 500, 20000, 100]
    for room in range(0, 80000, 777):
        filled = fill({"a": pieces("a", *sizes), "b": pieces("b", *reversed(sizes))}, room)
        used = sum(piece["bytes"] + WORDS_BYTES for each in filled.taken.values() for piece in each)
        assert used <= max(room, 0)


def test_no_more_is_made_than_is_looked_at() -> None:
    made: list[str] = []
    fill({"a": pieces("a", 10, 10**9, 10, 10, made=made)}, 10**5)
    assert made == ["a0", "a1"]
    assert fill({"a": pieces("a", 10)}, -5).taken == {"a": []}
