"""Words that stand for nothing known, in the spellings that tables hold, and names that look like them."""

from __future__ import annotations

import pytest

from birdcache.unknown import is_unknown, plain


@pytest.mark.parametrize(
    "text",
    [
        *[
            "",
            "-",
            "--",
            "?",
            "???",
            ".",
            "n/a",
            "N.A.",
            "#N/A",
            "NA",
            "<NA>",
            "nan",
            "NaN",
            "None",
            "NULL",
            "(null)",
            "nil",
        ],
        *["Unknown", "UNKNOWN", "[unknown]", "unknown author", "Recordist unknown", "Unknown recordist", "Anonymous"],
        *["anon.", "Anonym", "Anónimo", "no author", "No Recordist", "not specified", "Not known", "Unspecified"],
        *["no score", "without name", "Unbekannt", "Okänd", "неизвестно", "未知", "\u00a0", "\u200b"],
    ],
)
def test_word_for_unknown_is_known_as_one(text: str) -> None:
    assert is_unknown(text)


@pytest.mark.parametrize(
    "text",
    [
        *[
            "0",
            "7",
            "Ann",
            "Nan Ann",
            "Jan Null",
            "Anna",
            "Nadia",
            "Norman",
            "The Recordist of Kent",
            "user 12",
            "user",
        ],
        *["anonymous 12", "Nilsson", "No", "Author", "Not", "NABU", "राम", "李"],
    ],
)
def test_name_is_no_word_for_unknown(text: str) -> None:
    assert not is_unknown(text)


def test_vowel_signs_of_other_scripts_are_no_accents() -> None:
    assert plain("राम") != plain("रोम")
    assert plain("Søren  O\u2019Brien-Łuk") == "soren o brien luk"
