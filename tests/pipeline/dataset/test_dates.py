"""Days in the forms that tables hold: read where only one day can be meant, told where not."""

from __future__ import annotations

import pandas as pd
import pytest

from pipeline.dataset.dates import read_dates

DAY = "2019-05-25"


def read(*texts: str) -> tuple[list[str], list[str]]:
    warnings: list[str] = []
    return list(read_dates(pd.Series(texts, dtype=str), warnings.append)), warnings


@pytest.mark.parametrize(
    "text",
    [
        *[
            "2019-05-25",
            "2019-5-25",
            "2019/05/25",
            "2019.05.25",
            "20190525",
            "25.05.2019",
            "25. 5. 2019",
            "25-May-2019",
        ],
        *["25 May 2019", "May 25, 2019", "25th may 2019", "2019-May-25", "Sat, 25 May 2019", "5/25/2019", "25/5/2019"],
        *["25-05-2019", "05-25-2019", "5.25.2019", "2019-05-25T08:00:00Z", "2019-05-25 08:00", "20190525T080000"],
        *["20190525_080000", "5/25/2019 8:00 AM", "25.05.2019, 08:00"],
    ],
)
def test_day_that_can_be_only_one_is_read(text: str) -> None:
    assert read(text) == ([DAY], [])


@pytest.mark.parametrize(
    "text",
    [
        *["", "2019", "2019-05", "2019-05-00", "2019-00-00", "0000-00-00", "1900-01-01", "1899-12-30", "1970-01-01"],
        *["0001-01-01T00:00:00", "9999-12-31", "May 2019", "0/0/2019", "00.05.2019"],
    ],
)
def test_placeholder_and_part_of_a_day_are_no_date_and_no_fault(text: str) -> None:
    assert read(text) == ([""], [])


@pytest.mark.parametrize(
    "text",
    [
        *[
            "2019-02-30",
            "2019-13-01",
            "13/14/2019",
            "25.05.19",
            "5/25/19",
            "43610",
            "2019-05-25/2019-05-27",
            "25 Foo 2019",
        ],
        *["2019-05-25 2019-05-27", "25052019", "spring"],
    ],
)
def test_text_that_is_no_single_day_is_told(text: str) -> None:
    dates, warnings = read(DAY, text)
    assert dates == [DAY, ""]
    assert warnings == [
        f"1 of 2 dates cannot be read, such as {text!r}: write YYYY-MM-DD, since place and day keep recordings together"
    ]


def test_dates_that_may_be_two_days_are_told_and_not_read() -> None:
    dates, (warning,) = read("5/6/2019", "7/6/2019", "6/6/2019")
    assert dates == ["", "", "2019-06-06"]
    assert warning.startswith("2 of 3 dates may be two different days, such as '5/6/2019'")


@pytest.mark.parametrize(
    ("sure", "date"), [("25/5/2019", "2019-06-05"), ("5/25/2019", "2019-05-06"), ("25-5-2019", ""), ("25.5.2019", "")]
)
def test_one_sure_date_orders_the_others_of_its_column(sure: str, date: str) -> None:
    assert read(sure, "5/6/2019")[0] == [DAY, date]


def test_column_of_both_orders_orders_nothing() -> None:
    assert read("25/5/2019", "5/25/2019", "5/6/2019")[0] == [DAY, DAY, ""]
    assert read("25.5.2019", "5.6.2019") == ([DAY, "2019-06-05"], [])
    assert read("25.5.2019", "5.25.2019", "5.6.2019")[0] == [DAY, DAY, ""]
