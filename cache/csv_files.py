"""Typed CSV files: read and checked, written so that none of their cells opens as a formula in a spreadsheet.

Numbers stay as they are; for texts see `birdcache.formulas`. The tables themselves are in `cache.tables`.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pandas.api.types import is_numeric_dtype

from birdcache.errors import PipelineError
from birdcache.files import replacing
from birdcache.formulas import escaped, unescaped


@dataclass(frozen=True)
class CsvColumn:
    """Type of a column, and the meaning of an empty cell ("": there is none).

    text is str, with "" for an empty cell; number is float64, with NaN; count is int64, or, where cells may be empty,
    Int64 with NA. A table of an older version may lack a `newer` column, all of whose cells are empty then.
    """

    kind: Literal["text", "number", "count"] = "text"
    empty: str = ""
    newer: bool = False

    def typed(self, texts: pd.Series[str], where: str) -> pd.Series:
        """Convert a column of text.

        A ValueError if a cell is empty or no number, and must not be; `where` names the column.
        """
        is_empty = texts == ""
        if is_empty.any() and not self.empty:
            raise ValueError(f"{_first_row(is_empty)}, {where} is empty")
        if self.kind == "text":
            return texts.map(unescaped)
        numbers = pd.to_numeric(texts.where(~is_empty, None), errors="coerce").astype("float64")
        is_bad = ~is_empty & (numbers.isna() | ((self.kind == "count") & (numbers % 1 != 0)))
        if is_bad.any():
            what = "number" if self.kind == "number" else "whole number"
            raise ValueError(f"{_first_row(is_bad)}, {where}: {texts[is_bad].iloc[0]!r} is not a {what}")
        return numbers if self.kind == "number" else numbers.astype("Int64" if self.empty else "int64")


def _first_row(is_bad: pd.Series[bool]) -> str:
    return f"row {int(is_bad.to_numpy().argmax()) + 2}"  # row 1 names the columns


@dataclass(frozen=True)
class CsvTable:
    """A CSV file with typed columns."""

    path: Path  # relative to the project's root
    columns: Mapping[str, CsvColumn]  # by name, in the order of the file

    def at(self, path: Path) -> CsvTable:
        """The same columns in another file."""
        return replace(self, path=path)

    def read(self, *wanted: str) -> pd.DataFrame:
        """Read these columns, or all of them if none is named; the file may hold others beside them.

        A PipelineError if the file is missing, lacks a column, or holds a cell of another type.
        """
        try:
            texts = pd.read_csv(self.path, dtype=str, keep_default_na=False, encoding="utf-8")
            wanted = wanted or tuple(self.columns)
            missing = [name for name in wanted if name not in texts]
            texts = texts.assign(**{name: "" for name in missing if self.columns[name].newer})
            if missing := [name for name in missing if not self.columns[name].newer]:
                raise ValueError(f"missing columns: {', '.join(missing)}")
            return pd.DataFrame({name: self.columns[name].typed(texts[name], f"column {name}") for name in wanted})
        except OSError as error:
            raise PipelineError(f"{self.path}: cannot be read ({error.strerror or error}); run `dvc repro`") from error
        except ValueError as error:
            raise PipelineError(f"{self.path}: {error}; it was changed by hand, run `dvc repro`") from error

    def write(self, frame: pd.DataFrame, float_format: str | None = None) -> None:
        """Write the table's columns of a frame, which may have others; `newer` ones that it lacks are empty."""
        lacking = {name: "" for name, column in self.columns.items() if column.newer and name not in frame}
        write_csv(frame.assign(**lacking)[list(self.columns)], self.path, float_format)


def write_csv(frame: pd.DataFrame, path: Path, float_format: str | None = None) -> None:
    """Write a frame without its index, in UTF-8 with \\n line ends: a `CsvTable`, or one that only people read."""
    columns = {name: column if is_numeric_dtype(column) else column.map(_escape) for name, column in frame.items()}
    written = pd.DataFrame(columns, index=frame.index).rename(columns=_escape)
    texts = [column for _, column in written.items() if not is_numeric_dtype(column)]
    # before Python 3.13 a carriage return would stand there without quotation marks, and end a row
    has_return = any(isinstance(cell, str) and "\r" in cell for column in texts for cell in column)
    quoting = csv.QUOTE_NONNUMERIC if has_return else csv.QUOTE_MINIMAL
    form: Any = {"lineterminator": "\n", "float_format": float_format, "quoting": quoting}
    with replacing(path) as file:
        written.to_csv(file, index=False, **form)


def _escape(cell: Any) -> Any:
    return escaped(cell) if isinstance(cell, str) else cell
