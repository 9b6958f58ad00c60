"""Text: numbers of things agree with their names."""

from __future__ import annotations

import pytest

from birdcache.text import counted


@pytest.mark.parametrize(
    ("number", "things", "text"),
    [
        (0, "windows", "0 windows"),
        (1, "soundscapes", "1 soundscape"),
        (1, "classes", "1 class"),
        (2, "classes", "2 classes"),
        (1, "labelled windows", "1 labelled window"),
        (1, "files", "1 file"),
        (28000, "recordings", "28,000 recordings"),
    ],
)
def test_a_single_thing_is_one(number: int, things: str, text: str) -> None:
    assert counted(number, things) == text


@pytest.mark.parametrize(
    ("verb", "one", "two"),
    [
        ("are", "1 sound is", "2 sounds are"),
        ("have", "1 sound has", "2 sounds have"),
        ("cross", "1 sound crosses", "2 sounds cross"),
        ("score", "1 sound scores", "2 sounds score"),
    ],
)
def test_a_verb_agrees_with_the_number(verb: str, one: str, two: str) -> None:
    assert [counted(number, "sounds", verb) for number in (1, 2)] == [one, two]
