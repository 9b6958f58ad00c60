"""One recordist in several spellings is one, and a word for unknown is nobody."""

from __future__ import annotations

import pandas as pd

from pipeline.dataset.recordists import recordists


def read(*names: str) -> tuple[list[str], list[str]]:
    warnings: list[str] = []
    return list(recordists(pd.Series(names, dtype=str), warnings.append)), warnings


def test_spellings_of_a_name_are_one_recordist_under_the_commonest() -> None:
    spellings = ["Frank Lámbert", "frank lambert", "Frank  Lambert", "Lambert, Frank", "Frank\u00a0Lambert"]
    names, (warning,) = read(*spellings, "J.R. Smith", "J. R. Smith", "Ann Lambert", "Frank Lámbert")
    assert names[:5] == ["Frank Lámbert"] * 5
    assert read(*spellings[1:])[0] == ["frank lambert"] * 4
    assert names[5:] == ["J. R. Smith"] * 2 + ["Ann Lambert", "Frank Lámbert"]
    assert warning.startswith("recordists spelt in several ways and taken as one: 2, first ['Frank Lámbert'")


def test_words_for_unknown_name_nobody() -> None:
    assert read("Unknown", "n/a", "-", "anonymous", "Ann") == (["", "", "", "", "Ann"], [])


def test_names_of_several_people_keep_their_order() -> None:
    assert read("Ann, Bob, Eve", "Eve, Ann, Bob") == (["Ann, Bob, Eve", "Eve, Ann, Bob"], [])
