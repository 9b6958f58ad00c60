"""Tables of the page."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

NONE = "\N{EN DASH}"  # where there is no number


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes
    ----------
    text
        Its content.
    sort
        Number by which the column is sorted; None = by the text.
    bar
        Share of the cell's width that a bar fills; None = no bar.
    mark
        A class of the style sheet that highlights the cell.
    """

    text: str
    sort: float | None = None
    bar: float | None = None
    mark: str = ""


@dataclass(frozen=True)
class Column:
    """A column: its heading, an explanation, and whether it holds numbers."""

    name: str
    numeric: bool = False
    help: str = ""


@dataclass(frozen=True)
class Table:
    """A table with an id that is unique on the page.

    Attributes
    ----------
    note
        A remark below it, such as on rows that are left out.
    filtered
        True if its rows can be searched.
    """

    id: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    filtered: bool = True


def number(value: float, digits: int = 0, bar: bool = False) -> Cell:
    """A number with `digits` digits after the point; a bar shows it as a share of 1."""
    if not math.isfinite(value):
        return Cell(NONE)
    return Cell(f"{value:,.{digits}f}", float(value), min(max(float(value), 0.0), 1.0) if bar else None)


def with_interval(value: float, between: tuple[float, float], digits: int = 3, bar: bool = False) -> Cell:
    """A number and its 95 % interval."""
    cell, bounds = number(value, digits, bar), span(between, digits)
    return Cell(f"{cell.text} ({bounds})", cell.sort, cell.bar) if cell.sort is not None and bounds else cell


def span(between: tuple[float, float], digits: int = 3) -> str:
    """An interval as text, "" if it is unknown."""
    low, high = between
    return f"{low:.{digits}f}{NONE}{high:.{digits}f}" if math.isfinite(low + high) else ""


def percent(value: float, digits: int = 1) -> Cell:
    """A share in percent."""
    return Cell(f"{100 * value:.{digits}f} %", float(value)) if math.isfinite(value) else Cell(NONE)


def text(value: object, mark: str = "") -> Cell:
    """A cell of text."""
    return Cell(str(value), mark=mark)
