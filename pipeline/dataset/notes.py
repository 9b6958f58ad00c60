"""Notes on files that are used although something about them is odd: one table, a count, and one line."""

from collections.abc import Iterable

import pandas as pd

from birdcache.audio.notes import Note
from cache.csv_files import CsvTable
from cache.tables import Col

Noted = tuple[str, Note]  # a file, as other tables name it, and the remark


def noted(files: pd.DataFrame) -> list[Noted]:
    """The notes of files that are used, with the columns `path` and of `pipeline.dataset.scan.Scan`."""
    used = files[files[Col.CODE] == ""]
    return [(path, note) for path, notes in zip(used[Col.PATH], used["notes"], strict=True) for note in notes]


def write_notes(notes: Iterable[Noted], table: CsvTable) -> None:
    """Write `cache.report_tables.NOTES`, or its like at another path, sorted by file."""
    rows = sorted({(file, note.code, note.detail) for file, note in notes})
    table.write(pd.DataFrame(rows, columns=list(table.columns), dtype=str))
