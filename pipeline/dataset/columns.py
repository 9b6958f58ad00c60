"""Tables of recordings whose columns are called as in BirdCLEF, as by xeno-canto, or as `data.columns` says."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, get_args

import pandas as pd

from birdcache.audio.paths import Bounds
from birdcache.params.sections import Columns, TableColumn
from birdcache.storage import AnyPath
from birdcache.user_tables import UserTable, mapped, read_user_table
from cache.tables import NAMES

BIRDCLEF = {"label": "primary_label", "file": "filename", "secondary": "secondary_labels"}  # others are called alike
XENO_CANTO: dict[str, list[str]] = {  # https://xeno-canto.org/explore/api; its version 3 calls a longitude lon
    **{"label": ["gen", "sp"], "scientific_name": ["gen", "sp"], "common_name": ["en"], "file": ["file-name"]},
    **{"secondary": ["also"], "author": ["rec"], "rating": ["q"], "latitude": ["lat"], "longitude": ["lng", "lon"]},
}
RATINGS = dict(zip("ABCDE", "54321", strict=True))


def read_recording_table(path: AnyPath, columns: Columns, bounds: Bounds, warn: Callable[[str], None]) -> UserTable:
    """Read a table of recordings, under BirdCLEF's names of columns.

    Of other tables than BirdCLEF's, blanks inside labels become _, secondary labels may stand between commas or
    semicolons, and ratings be A (5) to E (1). PipelineError and StoreError as `read_user_table`.
    """
    given: Mapping[Any, str] = {} if isinstance(columns, str) else columns
    own = {name: [theirs] for name, theirs in given.items()} or (XENO_CANTO if columns else {})
    called = {BIRDCLEF.get(name, name): own.get(name, [BIRDCLEF.get(name, name)]) for name in get_args(TableColumn)}
    called |= {name: own.get(name, [name]) for name in NAMES}
    must = [called["primary_label"], called["filename"], *([theirs] for theirs in given.values())]
    required = list(dict.fromkeys(each for theirs in must for each in theirs))
    used = dict.fromkeys(each for theirs in called.values() for each in theirs if each not in required)
    read = read_user_table(path, required, list(used), bounds)
    if not own:
        return read
    cells = read.cells.reindex(columns=[*required, *used], fill_value="")
    rows = {name: zip(*(cells[each] for each in theirs), strict=True) for name, theirs in called.items()}
    joined = {name: [" ".join(row).strip() for row in each] for name, each in rows.items()}
    table = pd.DataFrame(joined, cells.index, dtype=str)
    table["primary_label"] = table["primary_label"].str.replace(" ", "_")
    table["secondary_labels"] = mapped(table["secondary_labels"], _listed).astype(str)
    table["rating"] = table["rating"].replace(RATINGS)
    nobody = table["primary_label"].str.startswith(("Mystery_", "Sonus_")) & (own == XENO_CANTO)
    if nobody.any():
        warn(f"recordings left out, being of genus Mystery or Sonus, which is no single species: {nobody.sum()}")
    return replace(read, cells=table[~nobody], called={name: " and ".join(theirs) for name, theirs in called.items()})


def _listed(text: str) -> str:
    """A list as BirdCLEF writes it, of names between commas or semicolons, in brackets and quotes or without."""
    words = [word.strip(" '\"").replace(" ", "_") for word in re.split("[;,]", text.strip("[] "))]
    return repr([word for word in words if word])
