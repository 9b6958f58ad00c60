"""Notes on files that are used although something about them is odd: one table, a count, and one line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from birdcache.audio.notes import Note
from cache.csv_files import CsvTable
from cache.tables import Col
from pipeline.dataset.rejected import counts_text

Noted = tuple[str, Note]  # a file, as other tables name it, and the remark


def noted(files: pd.DataFrame) -> list[Noted]:
    """The notes of files that are used, with the columns `path` and of `pipeline.dataset.scan.Scan`."""
    used = files[files[Col.CODE] == ""]
    return [(path, note) for path, notes in zip(used[Col.PATH], used["notes"], strict=True) for note in notes]


def write_notes(notes: Iterable[Noted], table: CsvTable) -> None:
    """Write `cache.report_tables.NOTES`, or its like at another path, sorted by file."""
    rows = sorted({(file, note.code, note.detail) for file, note in notes})
    table.write(pd.DataFrame(rows, columns=list(table.columns), dtype=str))


def notes_text(notes: Sequence[Noted], table: CsvTable) -> str:
    """Number of notes of each kind, with one example; there are some."""
    file, note = min(notes)
    counts = counts_text(each.code for _, each in notes)
    return f"notes: {counts}, first {file}: {note.detail}; listed in {table.path}"
