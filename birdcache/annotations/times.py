"""Times of annotations as programs and spreadsheets write them: seconds with points or commas, or H:MM:SS."""

from __future__ import annotations

import math
import re

import pandas as pd

MIXED_RULE = "holds a decimal comma, but other times of the table have decimal points; write points"
_COMMA = re.compile(r"[+-]?\d+,\d+")
_CLOCK = re.compile(r"(\d+):([0-5]?\d):([0-5]?\d(?:[.,]\d+)?)")
DIGITS = 9  # of seconds: sums are not exact, and no program writes so many


def point(text: str) -> str:
    """The text of a time as seconds with a decimal point; as it is, if it is no time."""
    if found := _CLOCK.fullmatch(text):
        hours, minutes, seconds = found.groups()
        return repr(round(3600 * int(hours) + 60 * int(minutes) + float(seconds.replace(",", ".")), DIGITS))
    return text.replace(",", ".") if _COMMA.fullmatch(text) else text


def seconds(text: str) -> float:
    """The number that `point` has written, NaN if it is none or not finite."""
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


def mixed(times: pd.DataFrame) -> pd.Series[bool]:
    """Rows with a decimal comma in a table that has decimal points too: 1,200 could be 1200."""
    commas, points = (times.apply(lambda texts, mark=mark: texts.str.contains(mark, regex=False)) for mark in ",.")
    return pd.Series(commas.any(axis=1) & bool(points.any(axis=None)), index=times.index, dtype=bool)
