"""CSV tables that stages hand on, typed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pandas as pd

from birdcache.errors import PipelineError
from cache.csv_files import read_csv

Kind = Literal["text", "number", "count"]  # str with "" for empty, float64 with NaN, Int64 with NA

RECORDINGS: dict[str, Kind] = {
    "recording": "text",
    "label": "text",
    "secondary": "text",
    "author": "text",
    "rating": "number",
    "latitude": "number",
    "longitude": "number",
    "date": "text",
    "fold": "count",
    "sha256": "text",
    "sound": "text",
    "duration_s": "number",
    "sample_rate_hz": "count",
    "channels": "count",
}


def to_kind(column: pd.Series[str], kind: Kind) -> pd.Series:
    """Convert a text column; an empty cell becomes "", NaN or NA."""
    if kind == "text":
        return column
    numbers = pd.to_numeric(column.where(column != "", None), errors="raise").astype("float64")
    return numbers if kind == "number" else numbers.astype("Int64")


def read_table(path: Path, columns: Mapping[str, Kind]) -> pd.DataFrame:
    """Read a table that an earlier stage wrote: exactly these columns, typed.

    Raises
    ------
    PipelineError
        If the file is missing, lacks a column, or holds a cell of another type.
    """
    try:
        table = read_csv(path, str)
        if missing := [name for name in columns if name not in table]:
            raise ValueError(f"lacks column(s) {', '.join(missing)}")
        return pd.DataFrame({name: to_kind(table[name], kind) for name, kind in columns.items()})
    except OSError as error:
        raise PipelineError(f"{path}: cannot be read ({error.strerror or error}); run `dvc repro`") from error
    except (ValueError, TypeError) as error:
        raise PipelineError(f"{path}: {error}; it was changed by hand, run `dvc repro`") from error
