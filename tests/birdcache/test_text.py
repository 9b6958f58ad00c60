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
