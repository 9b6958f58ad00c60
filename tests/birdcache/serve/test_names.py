"""Names of recordings as the page, tables and downloads show them."""

from __future__ import annotations

import pytest

from birdcache.serve.jobs import shown_name


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("dawn.ogg", "dawn.ogg"),
        ("a/b\\c.wav", "c.wav"),
        ("a\r\nb\x00\x7f\ud800.ogg", "ab.ogg"),
        ("", "recording"),
        ("/", "recording"),
        ("\t.", "recording"),
        ("鳥" * 60 + ".flac", "鳥" * 31 + ".flac"),
        ("a." + "b" * 200, "a." + "b" * 98),
    ],
)
def test_a_name_is_shown_by_its_last_part_without_what_cannot_be_printed(sent: str, shown: str) -> None:
    assert shown_name(sent) == shown
