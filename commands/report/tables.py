"""Tables of the page."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

NONE = "\N{EN DASH}"  # where there is no number


@dataclass(frozen=True)
class Cell:
    """A cell of a table."""

    text: str
    sort: float | None = None  # number by which the column is sorted; None = by the text, and behind all numbers
    numeric: bool = False  # True in columns of numbers
    bar: float | None = None  # share of the cell's width that a bar fills; None = no bar
    mark: str = ""  # a class of the style sheet that highlights the cell


@dataclass(frozen=True)
class Table:
    """A table with an id that is unique on the page."""

    id: str
    caption: str
    rows: Sequence[Mapping[str, Cell]]  # cells by the names of their columns, the same for each row
    help: Mapping[str, str] = field(default_factory=dict)  # explanations of columns, by name
    note: str = ""  # a remark below it, such as on rows that are left out
    filtered: bool = True  # True if its rows can be searched


def number(value: float, digits: int = 0, bar: bool = False, unit: str = "") -> Cell:
    """A number with `digits` digits after the point; a bar shows it as a share of 1; with the unit %, it is one."""
    if not math.isfinite(value):
        return Cell(NONE, numeric=True)
    shown = f"{100 * value if unit == '%' else value:,.{digits}f}{unit and ' '}{unit}"
    return Cell(shown, float(value), True, min(max(float(value), 0.0), 1.0) if bar else None)


def with_interval(value: float, between: tuple[float, float], digits: int = 3, bar: bool = False) -> Cell:
    """A number and its 95 % interval."""
    cell, bounds = number(value, digits, bar), span(between, digits)
    return replace(cell, text=f"{cell.text} ({bounds})") if cell.sort is not None and bounds else cell


def span(between: tuple[float, float], digits: int = 3) -> str:
    """An interval as text, "" if it is unknown."""
    low, high = between
    return f"{low:.{digits}f}{NONE}{high:.{digits}f}" if math.isfinite(low + high) else ""


def text(value: object, mark: str = "") -> Cell:
    """A cell of text."""
    return Cell(str(value), mark=mark)
