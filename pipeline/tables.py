"""CSV tables: reading what users bring, with problems told by spreadsheet row, and what stages hand on."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import pandas as pd

from cache.places import Place, reaching
from pipeline.errors import PipelineError

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
    "duration_s": "number",
    "sample_rate_hz": "count",
    "channels": "count",
}


def read_text_table(path: Place, required: Iterable[str], separator: str = ",") -> pd.DataFrame:
    """Read a user's CSV file as text, stripped of outer spaces; rows without any content are dropped.

    Returns
    -------
    A table of str ("" for an empty cell), indexed by row as a spreadsheet shows it: the header is row 1.

    Raises
    ------
    PipelineError
        If the file is missing, is not a CSV table in UTF-8, or lacks a required column.
    StoreError
        If it is remote and its service cannot be reached.
    """
    try:
        with reaching(path):
            file = path.open("rb")
        with file, warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows with more cells than the header
            table = pd.read_csv(
                file,
                sep=separator,
                dtype=str,
                keep_default_na=False,
                index_col=False,
                skip_blank_lines=False,
                encoding="utf-8-sig",
            )
    except OSError as error:
        why = error.strerror or error
        raise PipelineError(f"{path}: cannot be read ({why}); restore it, or correct params.yaml") from error
    except (ValueError, pd.errors.ParserWarning) as error:
        raise PipelineError(f"{path}: is not a CSV table in UTF-8 ({str(error).strip()}); export it again") from error
    table = table.fillna("").apply(lambda column: column.str.strip())  # a short row ends in missing cells
    table.index = pd.RangeIndex(2, len(table) + 2)
    missing = [column for column in required if column not in table.columns]
    if missing:
        raise PipelineError(f"{path}: lacks column(s) {', '.join(missing)}; row 1 must name them")
    filled: pd.DataFrame = table[(table != "").any(axis=1)]
    return filled


def refuse_rows(path: Place, problems: Iterable[tuple[pd.Series[bool], str]]) -> None:
    """Raise one error for all bad rows of a table.

    Parameters
    ----------
    path
        The table's file.
    problems
        For each rule a mask of the rows that break it, and the rule with its way out.

    Raises
    ------
    PipelineError
        If any mask holds a True.
    """
    lines = [f"  row(s) {row_ranges(mask.index[mask])}: {rule}" for mask, rule in problems if mask.any()]
    if lines:
        raise PipelineError("\n".join([f"{path}: {len(lines)} problem(s); row 1 is the header", *lines]))


def row_ranges(rows: Iterable[int]) -> str:
    """Write rising row numbers with runs joined: 2, 5-7."""
    runs: list[list[int]] = []
    for row in rows:
        if runs and row == runs[-1][1] + 1:
            runs[-1][1] = row
        else:
            runs.append([row, row])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


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
    table = read_text_table(path, columns).reset_index(drop=True)
    try:
        return pd.DataFrame({name: to_kind(table[name], kind) for name, kind in columns.items()})
    except (ValueError, TypeError) as error:
        raise PipelineError(f"{path}: {error}; it was changed by hand, run `dvc repro`") from error


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV in UTF-8 with \\n line ends, the same bytes for the same content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False, lineterminator="\n", encoding="utf-8")
