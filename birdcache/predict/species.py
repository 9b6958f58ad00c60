"""Lists of a place's species, and how scores follow them. W window, K class, Y week of the year.

A list is a text file with one species a line (a label, a scientific or common name, or both as BirdNET writes them,
`Turdus merula_Eurasian Blackbird`), or a CSV file with column species, and, if wanted, week (1 to 48, four a month, as
eBird and BirdNET count), or month (1 to 12), and share (0 to 1: how likely the species is there, default 1).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from birdcache.annotations.label_names import LabelNames
from birdcache.arrays import Floats32
from birdcache.audio.paths import Bounds
from birdcache.csv_records import read_records
from birdcache.errors import PipelineError
from birdcache.joins import join_warnings
from birdcache.text import is_printable
from birdcache.user_tables import UserTable, read_user_table

WEEKS_A_MONTH, WEEKS = 4, 48
USED = ["week", "month", "share"]
HINT = "write a label, a scientific or a common name; other species are not scored"
_DATE = re.compile(r"(?<![0-9])(?:19|20)[0-9]{2}-?(0[1-9]|1[0-2])-?([0-2][0-9]|3[01])(?![0-9])")


@dataclass(frozen=True)
class SpeciesList:
    """The shares of all classes in all weeks, and how much they count."""

    shares: Floats32  # (Y, K)
    weight: float  # 0 = not at all, 1 = a species that is not in the list scores 0

    def __call__(self, scores_WK: Floats32, name: str) -> Floats32:
        """Scores times 1 - weight * (1 - share): (W, K).

        The share is that of the first date in the soundscape's name; without one, the greatest of the year.
        """
        week = week_of(name)
        share_K = self.shares.max(axis=0) if week is None else self.shares[week - 1]
        return np.asarray(scores_WK * (1 - self.weight * (1 - share_K)), np.float32)


def week_of(text: str) -> int | None:
    """The week, 1 to 48, of the first date YYYYMMDD or YYYY-MM-DD in a name; None without one."""
    found = _DATE.search(text)
    return (int(found[1]) - 1) * WEEKS_A_MONTH + min((int(found[2]) - 1) // 7, 3) + 1 if found else None


def taxonomy_of(labels: Sequence[str], common_names: Mapping[str, str]) -> pd.DataFrame:
    """Names of the classes as `read_species` takes them, where only common names are known, and not of all."""
    columns = {"scientific_name": [""] * len(labels), "common_name": [common_names.get(label, "") for label in labels]}
    return pd.DataFrame(columns, index=list(labels), dtype=str)


def read_species(path: Path, taxonomy: pd.DataFrame, weight: float) -> tuple[SpeciesList, list[str]]:
    """Read a list; returns it, and warnings of species that no class is of.

    A PipelineError if it is no such file, a row breaks a rule, or no species is a class.

    Parameters
    ----------
    taxonomy : names of the classes in their order: columns scientific_name and common_name, indexed by label.
    """
    table = _read(path)
    cells = table.cells.reindex(columns=["species", *USED], fill_value="")
    week, month, share = (_number(cells[name]) for name in USED)
    both = (cells["week"] != "") & (cells["month"] != "")
    rules = [
        (cells["species"] == "", "species is empty; name it"),
        (~cells["species"].map(is_printable).astype(bool), "species is no printable text; is this a list of species?"),
        ((cells["week"] != "") & ~week.isin(range(1, WEEKS + 1)), f"week must be 1 to {WEEKS}, four a month"),
        ((cells["month"] != "") & ~month.isin(range(1, 13)), "month must be 1 to 12"),
        ((cells["share"] != "") & ~share.between(0, 1), "share must be a number from 0 to 1"),
        (both, "has a week and a month; keep one of them"),
    ]
    table.refuse(rules)
    names = LabelNames(taxonomy.index, taxonomy)
    number = {label: place for place, label in enumerate(taxonomy.index)}
    place = cells["species"].map({text: _class_of(text, names, number) for text in cells["species"].unique()})
    if table.cells.empty:
        raise PipelineError(f"{path}: names no species; {HINT}")
    warnings = join_warnings(
        f"species of {path}", list(cells["species"]), list(place >= 0), set(taxonomy.index), "one of the classes", HINT
    )
    shares_YK = np.zeros((WEEKS, len(taxonomy)), np.float32)
    first = week.fillna((month - 1) * WEEKS_A_MONTH + 1).fillna(1).astype(int) - 1
    length = np.where(week.notna(), 1, np.where(month.notna(), WEEKS_A_MONTH, WEEKS))
    for row, label in zip(np.flatnonzero(place >= 0), place[place >= 0].astype(int), strict=True):
        weeks = slice(first.iloc[row], first.iloc[row] + length[row])
        shares_YK[weeks, label] = np.maximum(shares_YK[weeks, label], share.fillna(1).iloc[row])
    return SpeciesList(shares_YK, weight), warnings


def _read(path: Path) -> UserTable:
    """The file's table; lines without a header are a column of species."""
    bounds = Bounds(path.parent, "anywhere")
    records = list(read_records(path, bounds))
    if records and any(cell.strip().lower() == "species" for cell in records[0][1]):
        return read_user_table(path, ["species"], USED, bounds)
    lines = {row: record[0].strip() for row, record in records if isinstance(record, list) and any(record)}
    problems = {record: [row] for row, record in records if isinstance(record, str)}
    return UserTable(path, pd.DataFrame({"species": lines}, dtype=str), problems, header=False)


def _number(column: pd.Series[str]) -> pd.Series[float]:
    return pd.to_numeric(column, errors="coerce").astype(float)


def _class_of(text: str, names: LabelNames, number: Mapping[str, int]) -> int:
    """The class that is called so, wholly or by its part before or after a _; -1 if there is none."""
    scientific, _, common = text.partition("_")
    with suppress(LookupError):
        for called in filter(None, (text, scientific, common)):
            if (label := names.label_of(called)) in number:
                return number[label]
    return -1
