"""CSV tables that the project writes and reads again: none of their cells opens as a formula in a spreadsheet.

Numbers stay as they are; how texts do, see `birdcache.formulas`.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.api.types import is_numeric_dtype

from birdcache.formulas import escaped, unescaped


def write_csv(table: pd.DataFrame, path: Path, float_format: str | None = None) -> None:
    """Write a table without its index, in UTF-8 with \\n line ends, the same bytes for the same content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    written = _each_text(table, escaped)
    # before Python 3.13 a carriage return would stand there without quotation marks, and end a row
    quoting = csv.QUOTE_NONNUMERIC if _holds(written, "\r") else csv.QUOTE_MINIMAL
    form: Any = {"lineterminator": "\n", "encoding": "utf-8", "float_format": float_format, "quoting": quoting}
    written.to_csv(path, index=False, **form)


def read_csv(path: Path, dtype: Any) -> pd.DataFrame:
    """Read a table of `write_csv`: columns of the types of `dtype`, others as pandas guesses; empty text is ""."""
    table = pd.read_csv(path, dtype=dtype, keep_default_na=False, encoding="utf-8")
    read: pd.DataFrame = _each_text(table, unescaped)
    return read


def _holds(table: pd.DataFrame, mark: str) -> bool:
    texts = [column for _, column in table.items() if not is_numeric_dtype(column)]
    return any(isinstance(cell, str) and mark in cell for column in texts for cell in column)


def _each_text(table: pd.DataFrame, change: Any) -> pd.DataFrame:
    """The table with its texts changed, the names of columns among them."""

    def changed(cell: Any) -> Any:
        return change(cell) if isinstance(cell, str) else cell

    columns = {name: column if is_numeric_dtype(column) else column.map(changed) for name, column in table.items()}
    return pd.DataFrame(columns, index=table.index).rename(columns=changed)
