"""Tables of annotated times as people bring them: plain CSV, selection tables of Raven, label tracks of Audacity.

A CSV has the columns file, start_s, end_s and label; others, such as score, are left alone. So what `birdcache predict`
writes can be corrected by hand and come back.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from cache.formulas import unescaped
from pipeline.annotations.annotation import recording_of
from pipeline.annotations.audacity import is_audacity, read_audacity
from pipeline.annotations.selections import read_raven
from pipeline.errors import PipelineError
from pipeline.inside import Bounds
from pipeline.labels import LABEL_RULE, is_label
from pipeline.user_tables import UserTable, read_user_table

COLUMNS = ["file", "start_s", "end_s", "label"]


def read_annotations(folder: Path, label_of: Callable[[str], str]) -> pd.DataFrame:
    """Read all tables in a folder and below it: `*.csv`, and `*.txt` of Raven and Audacity; others are left alone.

    Parameters
    ----------
    label_of : the label that a cell names, for instance by its common name; the cell itself if it names none.

    Returns
    -------
    One row for each annotation: file (as the table names it), start_s, end_s, label, table, row (as a spreadsheet
    shows it).

    Raises
    ------
    PipelineError
        If the folder is missing, a file is no such table, or a row breaks a rule; all bad rows of a table at once.
    """
    if not folder.is_dir():
        raise PipelineError(f"{folder}: no such folder; make it, or correct data.annotations in params.yaml")
    bounds = Bounds(folder, "inside")
    paths = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in _READERS]
    tables = [_read(path, bounds, label_of) for path in paths]
    empty = pd.DataFrame({name: [] for name in COLUMNS}).assign(table="", row=0)
    return pd.concat(tables, ignore_index=True) if tables else empty


def _read_csv(path: Path, bounds: Bounds) -> UserTable:
    return read_user_table(path, COLUMNS, (), bounds)


def _read_txt(path: Path, bounds: Bounds) -> UserTable:
    if not is_audacity(path):
        return read_raven(path, bounds)
    rows = [(recording_of(path), repr(each.begin_s), repr(each.end_s), each.label) for each in read_audacity(path)]
    return UserTable(path, pd.DataFrame(rows, columns=COLUMNS, index=range(1, len(rows) + 1), dtype=str))


_READERS: dict[str, Callable[[Path, Bounds], UserTable]] = {".csv": _read_csv, ".txt": _read_txt}


def _read(path: Path, bounds: Bounds, label_of: Callable[[str], str]) -> pd.DataFrame:
    user_table = _READERS[path.suffix.lower()](path, bounds)
    table = user_table.cells[COLUMNS].map(unescaped)
    label, start, end = table["label"].map(label_of), table["start_s"].map(_seconds), table["end_s"].map(_seconds)
    user_table.refuse(
        [
            (table["file"] == "", "file is empty; name the recording"),
            (label == "", "label is empty; name the species, or remove the row"),
            (~label.map(_is_word).astype(bool) & (label != ""), f"label is no label without spaces; {LABEL_RULE}"),
            (~(start >= 0), "start_s must be a number of seconds from 0; correct it"),
            (~(end > start) & (start >= 0), "end_s must be a number of seconds above start_s; correct it"),
        ]
    )
    return table.assign(label=label, start_s=start, end_s=end, table=str(path), row=table.index)


def _is_word(label: str) -> bool:
    return " " not in label and is_label(label)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan
