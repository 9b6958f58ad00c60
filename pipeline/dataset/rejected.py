"""The list of refused files: which, of what class, why, and the way out; and when they are too many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from birdcache.errors import PipelineError
from cache.csv_files import write_csv

COLUMNS = ["file", "code", "detail", "hint"]
CHOSEN = ("too-short", "too-long")  # data.shortest_s and data.longest_s ask for these: they are no fault of the data


def write_refused(refused: pd.DataFrame, path: Path) -> None:
    """Write a table with the columns file, code, detail and hint, sorted by file; only its header if it is empty."""
    write_csv(refused[COLUMNS].sort_values(["file", "code"]), path)


def counts_text(quantized: Iterable[str]) -> str:
    """How many of each class: `damaged 2, truncated 5`; "none" if there is none."""
    counts = sorted(Counter(quantized).items())
    return ", ".join(f"{code} {count}" for code, count in counts) or "none"


def check_share(quantized: Sequence[str], files: int, most: float, listed: Path) -> None:
    """Fail if too many files were refused, once all others are done with.

    Parameters
    ----------
    codes : of the refused files; those that are too short or too long do not count.
    files : how many there were, refused or not.
    most : data.max_refused_share.
    listed : where the refused ones are listed.

    Raises
    ------
    PipelineError
        If more than their share was refused.
    """
    faults = [code for code in quantized if code not in CHOSEN]
    if len(faults) > most * files:
        raise PipelineError(
            f"params.yaml: data.max_refused_share = {most:g}: {len(faults)} of {files} files "
            f"({len(faults) / files:.1%}) were refused ({counts_text(faults)}), each listed with its way out in "
            f"{listed}; the others are done; mend, fetch or remove them, or raise data.max_refused_share"
        )
