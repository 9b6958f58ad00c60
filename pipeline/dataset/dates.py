"""Days as people and programs write them, read where only one day can be meant."""

from __future__ import annotations

import datetime
import re
from collections import defaultdict
from collections.abc import Callable, Mapping

import pandas as pd

MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
FIRST_YEAR, LAST_YEAR, NEVER = 1901, 2100, 9999  # 1900-01-01, 0000-00-00 and 9999-12-31 stand for "unknown"
ZEROS = {(1904, 1, 1), (1970, 1, 1)}  # where calendars of programs begin
WAY_OUT = "write YYYY-MM-DD, since place and day keep recordings together"
_TIME = r"(?:[T_]\d.*|[T,\s]+\d{1,2}[:.h]\d\d.*)?"
_NAME, _GAP, _DAY = r"(?P<name>[A-Za-z]{3,9})", r"[-.,/\s]*", r"(?P<d>\d{1,2})(?:st|nd|rd|th)?"
_SURE = [
    re.compile(form + _TIME)
    for form in (
        r"(?P<y>\d{4})(?P<mark>[-/.])(?P<m>\d{1,2})(?P=mark)(?P<d>\d{1,2})",
        r"(?P<y>0000|1[89]\d\d|20\d\d|9999)(?P<m>\d\d)(?P<d>\d\d)",
        rf"(?:[A-Za-z]{{3,9}},?\s+)?{_DAY}{_GAP}{_NAME}{_GAP}(?P<y>\d{{4}})",
        rf"(?:[A-Za-z]{{3,9}},?\s+)?{_NAME}{_GAP}{_DAY}{_GAP}(?P<y>\d{{4}})",
        rf"(?P<y>\d{{4}}){_GAP}{_NAME}{_GAP}{_DAY}",
    )
]
_EITHER = re.compile(r"(?P<one>\d{1,2})(?P<mark>[-/.])\s*(?P<two>\d{1,2})(?P=mark)\s*(?P<y>\d{4})" + _TIME)
_NOT_TO_THE_DAY = re.compile(rf"\d{{4}}([-/.]\d{{1,2}})?|{_NAME}{_GAP}\d{{4}}")
_AMBIGUOUS, _NO_DATE = "ambiguous", "no date"
Orders = Mapping[str, set[str]]  # of day and month in a column, by the mark between them


def read_dates(column: pd.Series[str], warn: Callable[[str], None]) -> pd.Series[str]:
    """The days of a column as YYYY-MM-DD, "" for those that are not known.

    Of 5/6/2019 the column's other dates decide whether the day or the month comes first, as 5/25/2019 does; between
    dots the day does, unless they show otherwise. Dates that may still be two days, or none, are counted in a warning.
    """
    counts = column.value_counts()
    orders: Orders = defaultdict(set)
    for text in counts.index:
        if (found := _EITHER.fullmatch(text)) and (order := _sure_order(found)):
            orders[found["mark"]].add(order)
    dates = {text: _date(text, orders) for text in counts.index}
    for unread, why in ((_AMBIGUOUS, "may be two different days"), (_NO_DATE, "cannot be read")):
        texts = [text for text, date in dates.items() if date == unread]
        if texts:
            warn(f"{counts[texts].sum()} of {len(column)} dates {why}, such as {min(texts)!r}: {WAY_OUT}")
    return column.map({text: "" if date in {_AMBIGUOUS, _NO_DATE} else date for text, date in dates.items()})


def _sure_order(found: re.Match[str]) -> str:
    """The order that a date shows: "day" or "month" first; "" if both would do, or neither."""
    one, two = int(found["one"]), int(found["two"])
    if one > 12 >= two:
        return "day"
    return "month" if two > 12 >= one else ""


def _date(text: str, orders: Orders) -> str:
    if not text or _NOT_TO_THE_DAY.fullmatch(text):
        return ""
    if found := next((found for form in _SURE if (found := form.fullmatch(text))), None):
        parts = found.groupdict()
        word = re.sub("^sept$", "sep", parts.get("name", "").lower())  # a month's name or an abbreviation; 13: another
        named = next((number for number, month in enumerate(MONTHS, start=1) if month.startswith(word)), 13)
        return _checked(int(parts["y"]), named if word else int(parts["m"]), int(parts["d"]))
    found = _EITHER.fullmatch(text)
    if found is None:
        return _NO_DATE
    one, two = int(found["one"]), int(found["two"])
    shown = orders.get(found["mark"]) or ({"day"} if found["mark"] == "." else set())
    order = _sure_order(found) or (next(iter(shown)) if len(shown) == 1 else "")
    if not order and one != two and min(one, two) > 0 and max(one, two) <= 12:
        return _AMBIGUOUS
    return _checked(int(found["y"]), one if order == "month" else two, two if order == "month" else one)


def _checked(year: int, month: int, day: int) -> str:
    if year < FIRST_YEAR or year == NEVER or not month or not day or (year, month, day) in ZEROS:
        return ""
    try:
        return datetime.date(year, month, day).isoformat() if year <= LAST_YEAR else _NO_DATE
    except ValueError:
        return _NO_DATE
