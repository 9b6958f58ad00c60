"""Writing small tables and texts without pandas: whole or not at all, the same bytes for the same content."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from birdcache.files import naming, temporary_name


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> int:
    """Write a CSV file in UTF-8 with \\n line ends, row by row, and say how many rows there are."""
    written = 0
    with replacing(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            writer.writerow(row)
            written += 1
    return written


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8."""
    write_lines(path, [text])


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write lines of text in UTF-8, one at a time; each brings its own end of line."""
    with replacing(path) as file:
        file.writelines(lines)


@contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """A file that takes its place once it is whole; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    try:
        with naming(path), temporary.open("w", encoding="utf-8", newline="") as file:
            yield file
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
