"""Refused files: their list, how many of each class there are, and the rule when they are too many."""

from collections import Counter
from collections.abc import Iterable, Sequence

import pandas as pd

from birdcache.audio.rejected import RejectedAudio
from birdcache.errors import PipelineError
from cache.csv_files import CsvTable
from cache.report_tables import REFUSED
from cache.tables import Col

CHOSEN = {"too-short", "too-long", "not-used"}  # by data.shortest_s, data.longest_s, or by name: no fault of data


def refused_rows(refused: Iterable[RejectedAudio]) -> pd.DataFrame:
    """Rows of `cache.report_tables.REFUSED`."""
    rows = [(each.file, each.code, each.detail, each.hint) for each in refused]
    return pd.DataFrame(rows, columns=list(REFUSED.columns), dtype=str)


def write_refused(refused: pd.DataFrame, table: CsvTable) -> None:
    """Write `cache.report_tables.REFUSED`, or its like at another path, sorted by file."""
    table.write(refused.sort_values([Col.FILE, Col.CODE]))


def counts_text(codes: Iterable[str]) -> str:
    """Number of files of each class: `damaged 2, truncated 5`; "none" if there is none."""
    counts = sorted(Counter(codes).items())
    return ", ".join(f"{code} {count}" for code, count in counts) or "none"


def check_share(codes: Sequence[str], files: int, most: float, listed: CsvTable) -> None:
    """Fail if too many files were refused, once all others are done with.

    A PipelineError if more than their share was refused.

    Parameters
    ----------
    codes : of the refused files; those of `CHOSEN` do not count.
    files : how many there were, refused or not.
    most : data.max_refused_share.
    listed : the table where the refused ones are listed.
    """
    faults = [code for code in codes if code not in CHOSEN]
    if len(faults) > most * files:
        raise PipelineError(
            f"params.yaml: data.max_refused_share = {most:g}: {len(faults)} of {files} files "
            f"({len(faults) / files:.1%}) were refused ({counts_text(faults)}), each listed with a hint in "
            f"{listed.path}; the others are done; repair, fetch or remove these, or raise data.max_refused_share"
        )
