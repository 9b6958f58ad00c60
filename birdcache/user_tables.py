"""CSV files of users: read strictly, with all problems reported at once, by spreadsheet row."""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
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
SEPARATORS = ";\t|"
SAMPLE_ROWS = 100_000  # after so many, columns of ever new texts are no longer searched for equal ones
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
    padded
        Rows that end before row 1 does; the missing cells count as empty.
    header
        Whether row 1 names the columns; otherwise a row is a line of the file.
    """

    path: AnyPath
    cells: pd.DataFrame
    problems: dict[str, list[int]] = field(default_factory=dict)
    padded: frozenset[int] = frozenset()
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
        Others that are used if it has them; all else is left out, and tolerated. Names match in any case.
    tabs
        Cells are parted by tabs, quotation marks are text, and a row may end before its last optional cells.

    Raises
    ------
    PipelineError
        If the file is missing, out of bounds or no CSV table in UTF-8, or row 1 does not name the columns.
    StoreError
        If it is remote and its service cannot be reached.
    """
    records = read_records(path, bounds, tabs)
    header = _header(path, records, required, used, tabs)
    reader = _RowReader(header, [*required, *used], 0 if not tabs else max(map(header.index, required)) + 1, tabs)
    for row, record in records:
        reader.add(row, record)
    table = pd.DataFrame(reader.columns, index=pd.Index(reader.rows, dtype=int), dtype=str)
    return UserTable(path, table, reader.problems, frozenset(reader.padded))


class _RowReader:
    """Cells of the columns that are wanted, gathered row by row; of equal cells of a column only one text is kept."""

    def __init__(self, header: Sequence[str], wanted: Sequence[str], fewest: int, tabs: bool) -> None:
        self._header, self._fewest, self._tabs = header, fewest, tabs
        self.columns: dict[str, list[str]] = {name: [] for name in wanted if name in header}
        self._once: dict[str, dict[str, str]] = {name: {} for name in self.columns}
        self._places: list[tuple[int, Callable[[str], None], dict[str, str] | None]] = [
            (header.index(name), cells.append, self._once[name]) for name, cells in self.columns.items()
        ]
        self.rows: list[int] = []
        self.padded: list[int] = []
        self.problems: dict[str, list[int]] = {}

    def add(self, row: int, record: list[str] | str) -> None:
        """Take a row, or note the rule that it breaks; rows without content are passed over."""
        rule = record if isinstance(record, str) else self._fitted(row, record)
        if isinstance(record, str) or rule:
            self.problems.setdefault(rule, []).append(row)
        elif record:
            self.rows.append(row)
            if len(self.rows) == SAMPLE_ROWS:
                self._forget_distinct()
            for place, append, once in self._places:
                cell = record[place].strip()
                append(cell if once is None else once.setdefault(cell, cell))

    def _forget_distinct(self) -> None:
        places = zip(self._places, self._once.values(), strict=True)
        self._places = [(*place[:2], once if len(once) < SAMPLE_ROWS / 2 else None) for place, once in places]
        self._once.clear()

    def _fitted(self, row: int, record: list[str]) -> str:
        """Give a row as many cells as row 1 has, none if it has no content; return the rule that it breaks."""
        text = "".join(record)
        if not text.strip():
            record.clear()
            return ""
        if not text.isprintable() and (rule := text_problem(record, self._tabs)):
            return rule
        count = len(self._header)
        while len(record) > count and not record[-1].strip():
            record.pop()
        if self._fewest <= len(record) < count and self._tabs:
            if any(self._header[len(record) :]):
                self.padded.append(row)
            record.extend([""] * (count - len(record)))
        if len(record) != count:
            quoted = "" if self._tabs else "put quotation marks around cells with commas, or "
            return f"does not have {count} cells like row 1; {quoted}add the missing ones"
        return "" if text.isprintable() else self._control_problem(record)

    def _control_problem(self, record: Sequence[str]) -> str:
        names = (name for name in self.columns if CONTROLS.search(record[self._header.index(name)].strip()))
        name = next(names, None)
        return f"{name} holds a control character, such as a line end; remove it" if name else ""


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
    path: AnyPath,
    records: Iterator[tuple[int, list[str] | str]],
    required: Sequence[str],
    used: Sequence[str],
    tabs: bool,
) -> list[str]:
    _, record = next(records, (1, list[str]()))
    if isinstance(record, str):
        raise PipelineError(f"{path}: row 1: {record}")
    header = _called([_checked_name(path, name, tabs) for name in record], [*required, *used])
    if not any(header):
        raise PipelineError(f"{path}: is empty; row 1 must name the columns {', '.join(required)}; export it again")
    missing = [column for column in required if column not in header]
    if missing:
        other = next((mark for mark in f"{SEPARATORS}," if tabs and mark in header[0]), None)
        hint = f", separated by '\\t', not by {other!r}" if other else ""
        raise PipelineError(f"{path}: lacks column(s) {', '.join(missing)}; row 1 must name them{hint}")
    twice = [name for name, times in Counter(filter(None, header)).items() if times > 1]
    if twice:
        raise PipelineError(f"{path}: row 1 names column(s) {', '.join(map(ascii, twice))} twice; keep one of each")
    return header


def _called(header: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """The header with the names of wanted columns as these are spelt, where they differ in case and blanks only."""
    spelt = {" ".join(name.lower().split()): name for name in wanted if name not in header}
    return [spelt.get(" ".join(name.lower().split()), name) for name in header]


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
    lines = _lines(text)
    try:
        first = next(lines, "")
    except csv.Error as error:
        yield 1, str(error)
        return
    style: Any = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if tabs else {"delimiter": _separator(first)}
    reader = csv.reader(itertools.chain([first], lines), strict=True, **style)
    for row in itertools.count(1):
        try:
            yield row, next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield row, next((rule for mark, rule in RULES.items() if mark in str(error)), str(error))


def _separator(first: str) -> str:
    """What parts the cells of a CSV file whose first line this is: a comma, or, if it has none, what else it has."""
    return "," if "," in first else next((mark for mark in SEPARATORS if mark in first), ",")


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
