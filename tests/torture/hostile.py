"""Data sets by strangers: kinds of hostile rows, tables and files, with what must be said of each.

A kind changes a good data set in BirdCLEF's layout. Rows are counted as a spreadsheet does; `HOSTILE_ROW` is the one
that is changed, of the recording `BIRD`.
"""

from __future__ import annotations

import os
import socket
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.torture.ogg_files import sound

HOSTILE_ROW = 4
COLUMNS = ("primary_label", "filename", "secondary_labels", "author", "rating", "latitude", "longitude", "fold")
GOOD: tuple[dict[str, str], ...] = tuple(
    {"primary_label": label, "filename": f"{label}/XC{number}.ogg", "author": f"ann {number}", "rating": "4"}
    for number, label in enumerate(("wren", "wren", "robin", "robin", "owl", "owl"))
)
BIRD = GOOD[HOSTILE_ROW - 2]["filename"]
FORMULA = "=cmd|' /C calc'!A0"
PATH_RULE = "filename must be a path inside the audio folder"
LEAVES = "leads out of chorus by a symbolic link"
Change = Callable[[Path, Path], object]  # of the data set's root; the second folder lies outside


@dataclass(frozen=True)
class Kind:
    """A hostile data set.

    Attributes
    ----------
    rule
        What the error must say; None if the data set is right as it is.
    change
        What to do with the good data set.
    data
        Keys of section data of params.yaml.
    listed
        File and code that reports/data/refused.csv must hold, where one file is refused and the others go on.
    holds
        Text that files of the project must hold if all is right, such as an escaped cell.
    """

    rule: str | None
    change: Change
    data: Mapping[str, Any] = field(default_factory=dict)
    listed: str = ""
    holds: Mapping[str, str] = field(default_factory=dict)


def write_good(root: Path) -> None:
    """The data set that kinds change: six recordings, a soundscape, all tables."""
    for number, row in enumerate(GOOD):
        path = root / "train_audio" / row["filename"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(sound(0.6 + number / 10, 16_000, 1, "VORBIS", number))
    (root / "test_soundscapes").mkdir()
    (root / "test_soundscapes/dawn.ogg").write_bytes(sound(1, 16_000, 1, "VORBIS", 9))
    write_rows(root, GOOD)
    (root / "taxonomy.csv").write_text("primary_label,common_name\nwren,Wren\nrobin,Robin\n")
    (root / "sample_submission.csv").write_text("row_id,owl,robin,wren\n")
    (root / "truth.csv").write_text("row_id,labels\ndawn_5,wren\n")


def write_outside(folder: Path) -> None:
    """What no row may lead to: good audio, good tables, a pipe on which a reader would wait for ever."""
    (folder / "wren").mkdir(parents=True)
    for name in ("secret.ogg", "wren/secret.ogg"):
        (folder / name).write_bytes(sound(1, 16_000, 1, "VORBIS", 77))
    (folder / "secret.csv").write_text("primary_label,filename\nwren,wren/XC0.ogg\n")
    os.mkfifo(folder / "pipe.ogg")


def csv_text(rows: tuple[Mapping[str, str], ...]) -> str:
    """A table with quotation marks around every cell."""
    lines = [",".join(COLUMNS)]
    for row in rows:
        lines.append(",".join('"' + row.get(column, "").replace('"', '""') + '"' for column in COLUMNS))
    return "\n".join(lines) + "\n"


def write_rows(root: Path, rows: tuple[Mapping[str, str], ...]) -> None:
    """Write train.csv."""
    (root / "train.csv").write_bytes(csv_text(rows).encode())


def cells(**changed: str) -> Change:
    """Other cells in the hostile row."""
    rows = list(GOOD)
    rows[HOSTILE_ROW - 2] = rows[HOSTILE_ROW - 2] | changed
    return lambda root, outside: write_rows(root, tuple(rows))


def named(filename: str, make: Callable[[Path, Path], object]) -> Change:
    """The hostile row names a file that is made: `make(path, outside)`."""

    def change(root: Path, outside: Path) -> None:
        make(root / "train_audio" / filename, outside)
        cells(filename=filename)(root, outside)

    return change


def added(*rows: Mapping[str, str]) -> Change:
    """Further rows."""
    return lambda root, outside: write_rows(root, (*GOOD, *rows))


def content(name: str, change: Callable[[bytes], bytes]) -> Change:
    """Another content of a table."""

    def rewrite(root: Path, outside: Path) -> None:
        path = root / name
        path.write_bytes(change(path.read_bytes()))

    return rewrite


def whole(new: bytes) -> Change:
    """Another train.csv."""
    return content("train.csv", lambda old: new)


def lines(change: Callable[[str], str], row: int = HOSTILE_ROW) -> Change:
    """Another text of one row of train.csv."""

    def rewrite(table: bytes) -> bytes:
        every = table.decode().split("\n")
        every[row - 1] = change(every[row - 1])
        return "\n".join(every).encode()

    return content("train.csv", rewrite)


def linked(name: str, target: str) -> Change:
    """In place of a file or folder of the data set a link to something outside."""

    def change(root: Path, outside: Path) -> None:
        path = root / name
        if path.exists():
            path.rename(root.parent / "kept")
        path.symlink_to(outside / target)

    return change


def bind(path: Path) -> None:
    """Make a socket; its path may be longer than sockets allow."""
    there = os.open(path.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(f"/proc/self/fd/{there}/{path.name}")
    os.close(there)


def both(*changes: Change) -> Change:
    """One change after another."""

    def change(root: Path, outside: Path) -> None:
        for each in changes:
            each(root, outside)

    return change


def other_form(text: str) -> str:
    """The same letters as other code points."""
    return unicodedata.normalize("NFD", text)


def in_row(rule: str) -> str:
    """What is said of the hostile row."""
    return f"row {HOSTILE_ROW}: {rule}"
