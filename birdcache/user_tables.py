"""CSV files of users: read strictly, with all problems reported at once, by spreadsheet row."""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import pandas as pd

from birdcache.audio.paths import Bounds, folded
from birdcache.errors import PipelineError
from birdcache.storage import AnyPath, reaching

LONGEST_LINE = 2**20  # characters; the longest cell is csv.field_size_limit(), 131,072
RUNS_SHOWN = 20  # of row numbers for each rule
OTHER_ENCODINGS = {codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}
NOT_UTF8 = re.compile("[\udc80-\udcff]")
CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")  # and what turns text round
SEPARATORS = ";\t|,"
RULES = {  # of what Python's csv says
    "unexpected end of data": "a quotation mark that opens in it is never closed; close it, or write it twice",
    "field larger": f"a cell holds more than {csv.field_size_limit():,} characters; shorten it",
    "expected after": "text follows a closing quotation mark; write quotation marks inside a cell twice",
}
TOO_LONG = f"its line holds more than {LONGEST_LINE:,} characters; is this a table?"

Problem = tuple["pd.Series[bool]", str]


@dataclass(frozen=True)
class UserTable:
    """A user's table.

    Attributes
    ----------
    path
        The file.
    cells
        Text without outer spaces, "" for an empty cell, indexed by row as a spreadsheet shows it: the header is row 1.
        Rows without any content, and rows with problems, are left out.
    problems
        Rules that rows broke while they were read, with these rows.
    header
        Whether row 1 names the columns; otherwise a row is a line of the file.
    """

    path: AnyPath
    cells: pd.DataFrame
    problems: dict[str, list[int]] = field(default_factory=dict)
    header: bool = True

    def refuse(self, problems: Iterable[Problem]) -> None:
        """Raise one error for all bad rows.

        Parameters
        ----------
        problems
            For each further rule a mask of the rows of `cells` that break it, and the rule with its way out.

        Raises
        ------
        PipelineError
            If any row breaks any rule.
        """
        found = {**self.problems, **{rule: list(mask.index[mask]) for mask, rule in problems if mask.any()}}
        if found:
            lines = [f"  row(s) {row_ranges(rows)}: {rule}" for rule, rows in found.items()]
            first = "row 1 is the header" if self.header else "rows are lines of the file"
            raise PipelineError("\n".join([f"{self.path}: {len(lines)} problem(s); {first}", *lines]))


def read_user_table(
    path: AnyPath, required: Sequence[str], used: Sequence[str], bounds: Bounds, tabs: bool = False
) -> UserTable:
    """Read a user's CSV file.

    Parameters
    ----------
    required
        Columns that it must have.
    used
        Others that are used if it has them; in unused ones most is tolerated.
    tabs
        Cells are parted by tabs, and quotation marks are text.

    Raises
    ------
    PipelineError
        If the file is missing, out of bounds or no CSV table in UTF-8, or row 1 does not name the columns.
    StoreError
        If it is remote and its service cannot be reached.
    """
    records = read_records(path, bounds, tabs)
    header = _header(path, records, required, tabs)
    rows: list[int] = []
    cells: list[Sequence[str]] = []
    problems: dict[str, list[int]] = {}
    for row, record in records:
        if isinstance(record, list) and not "".join(record).strip():
            continue
        rule = record if isinstance(record, str) else _row_problem(record, header, tabs)
        if rule:
            problems.setdefault(rule, []).append(row)
        else:
            rows.append(row)
            cells.append(record)
    named = [number for number, name in enumerate(header) if name]
    columns = {header[number]: [record[number].strip() for record in cells] for number in named}
    table = UserTable(path, pd.DataFrame(columns, index=pd.Index(rows, dtype=int), dtype=str), problems)
    for column in (*required, *used):
        _note_controls(table, column)
    return table


def read_header(path: AnyPath, bounds: Bounds) -> list[str]:
    """Row 1 of a user's CSV file, without outer spaces; [] if the file is empty.

    Raises
    ------
    PipelineError, StoreError
        As `read_user_table`.
    """
    _, record = next(read_records(path, bounds), (1, list[str]()))
    if isinstance(record, str):
        raise PipelineError(f"{path}: row 1: {record}")
    return [_checked_name(path, name, tabs=False) for name in record]


def _header(
    path: AnyPath, records: Iterator[tuple[int, list[str] | str]], required: Sequence[str], tabs: bool
) -> list[str]:
    _, record = next(records, (1, list[str]()))
    if isinstance(record, str):
        raise PipelineError(f"{path}: row 1: {record}")
    header = [_checked_name(path, name, tabs) for name in record]
    if not any(header):
        raise PipelineError(f"{path}: is empty; row 1 must name the columns {', '.join(required)}; export it again")
    missing = [column for column in required if column not in header]
    if missing:
        other = next((mark for mark in SEPARATORS if mark in header[0]), None)
        separator = "\t" if tabs else ","
        hint = f", separated by {separator!r}, not by {other!r}" if other else ""
        raise PipelineError(f"{path}: lacks column(s) {', '.join(missing)}; row 1 must name them{hint}")
    twice = [name for name, times in Counter(filter(None, header)).items() if times > 1]
    if twice:
        raise PipelineError(f"{path}: row 1 names column(s) {', '.join(map(ascii, twice))} twice; keep one of each")
    return header


def _checked_name(path: AnyPath, name: str, tabs: bool) -> str:
    if NOT_UTF8.search(name) or "\0" in name:
        raise PipelineError(f"{path}: row 1: is not text in UTF-8 ({name[:40]!a}); {_save(tabs)}")
    return name.strip()


def _save(tabs: bool) -> str:
    return "save it as text in UTF-8" if tabs else "save it as CSV in UTF-8"


def text_problem(record: Sequence[str], tabs: bool) -> str:
    """The reason why a record is no text, with the way out; "" if it is."""
    text = "".join(record)
    if NOT_UTF8.search(text):
        return "holds bytes that are not UTF-8, as files in Latin-1 or Windows-1252 do; " + _save(tabs)
    if "\0" in text:
        return "holds NUL characters; " + _save(tabs)
    return ""


def _row_problem(record: Sequence[str], header: Sequence[str], tabs: bool) -> str:
    if rule := text_problem(record, tabs):
        return rule
    if len(record) != len(header):
        quoted = "" if tabs else "put quotation marks around cells with commas, or "
        return f"does not have {len(header)} cells like row 1; {quoted}add the missing ones"
    return ""


def _note_controls(table: UserTable, column: str) -> None:
    if column in table.cells:
        bad = table.cells[column].map(CONTROLS.search).notna()
        if bad.any():
            rule = f"{column} holds a control character, such as a line end; remove it"
            table.problems[rule] = list(table.cells.index[bad])


def read_records(path: AnyPath, bounds: Bounds, tabs: bool = False) -> Iterator[tuple[int, list[str] | str]]:
    """Each record with its row; in place of one that cannot be read, the rule that it breaks.

    Raises
    ------
    PipelineError, StoreError
        As `read_user_table`.
    """
    bounds.check(path)
    try:
        with reaching(path):
            file: BinaryIO = path.open("rb")
        with file:
            _check_encoding(path, file, tabs)
            text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
            yield from _parsed(text, tabs)
    except OSError as error:
        why = error.strerror or error
        raise PipelineError(f"{path}: cannot be read ({why}); restore it, or correct params.yaml") from error


def _parsed(text: io.TextIOWrapper, tabs: bool) -> Iterator[tuple[int, list[str] | str]]:
    style: Any = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if tabs else {}
    reader = csv.reader(_lines(text), strict=True, **style)
    for row in itertools.count(1):
        try:
            yield row, next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield row, next((rule for mark, rule in RULES.items() if mark in str(error)), str(error))


def _lines(text: io.TextIOWrapper) -> Iterator[str]:
    while line := text.readline(LONGEST_LINE):
        if len(line) == LONGEST_LINE and line[-1] not in "\r\n":
            raise csv.Error(TOO_LONG)
        yield line


def _check_encoding(path: AnyPath, file: BinaryIO, tabs: bool) -> None:
    encoding = OTHER_ENCODINGS.get(file.read(2))
    if encoding:
        raise PipelineError(f"{path}: is text in {encoding}; {_save(tabs)}")
    file.seek(0)


def row_ranges(rows: Iterable[int]) -> str:
    """Write rising row numbers with runs joined: 2, 5-7. Only so many runs are named, the other rows are counted."""
    runs: list[list[int]] = []
    for row in sorted(rows):
        if runs and row == runs[-1][1] + 1:
            runs[-1][1] = row
        else:
            runs.append([row, row])
    shown = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs[:RUNS_SHOWN])
    more = sum(last - first + 1 for first, last in runs[RUNS_SHOWN:])
    return f"{shown} and {more} more" if more else shown


def colliding(names: pd.Series[str]) -> pd.Series[bool]:
    """A mask of names that differ from another one in case or Unicode form only; equal names and "" do not."""
    distinct = names.drop_duplicates()
    shared = distinct[distinct.map(folded).duplicated(keep=False)]
    return names.isin(shared) & (names != "")
