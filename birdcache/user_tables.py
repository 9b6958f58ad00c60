"""CSV files of users: read strictly, with all problems reported at once, by spreadsheet row."""

from __future__ import annotations

import functools
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from birdcache.audio.paths import Bounds, folded
from birdcache.csv_records import SEPARATORS, read_records, row_1, text_problem
from birdcache.errors import PipelineError
from birdcache.storage import AnyPath
from birdcache.text import counted, is_printable

RUNS_SHOWN = 20  # of row numbers for each rule
CACHED = 2**16  # texts of a column
BLOCK_ROWS = 2**10
MOST_KEPT = 400_000  # different texts of a column; beyond, equal ones are no longer looked for


Problem = tuple["pd.Series[bool]", str]


@dataclass(frozen=True)
class UserTable:
    """A user's table."""

    path: AnyPath  # the file
    # text without outer spaces, "" for an empty cell, indexed by row as a spreadsheet shows it: the header is row 1.
    # Rows without any content, and rows with problems, are left out
    cells: pd.DataFrame
    # rules that rows broke while they were read, with these rows
    problems: dict[str, list[int]] = field(default_factory=dict)
    padded: frozenset[int] = frozenset()  # rows that end before row 1 does; the missing cells count as empty
    header: bool = True  # whether row 1 names the columns; otherwise a row is a line of the file
    called: Mapping[str, str] = field(default_factory=dict)  # names in the file of columns that are renamed in `cells`

    def refuse(self, problems: Iterable[Problem]) -> None:
        """Raise one error for all bad rows; a PipelineError if any row breaks any rule.

        Parameters
        ----------
        problems : for each further rule a mask of the rows of `cells` that break it, and the rule with its way out.
        """
        found = dict(self.problems)
        for mask, rule in problems:
            name, _, rest = rule.partition(" ")
            found[f"{self.called.get(name, name)} {rest}"] = list(mask.index[mask])
        if lines := [f"  {row_ranges(rows)}: {rule}" for rule, rows in found.items() if rows]:
            first = "row 1 is the header" if self.header else "rows are lines of the file"
            raise PipelineError("\n".join([f"{self.path}: {counted(len(lines), 'problems')}; {first}", *lines]))


def read_user_table(
    path: AnyPath, required: Sequence[str], used: Sequence[str], bounds: Bounds, tabs: bool = False
) -> UserTable:
    """Read a user's CSV file.

    A PipelineError if the file is missing, out of bounds or no CSV table in UTF-8, or row 1 does not name the columns.
    A StoreError if it is remote and its service cannot be reached.

    Parameters
    ----------
    required : columns that it must have.
    used : others that are used if it has them; all else is left out, and tolerated. Names match in any case.
    tabs : cells are parted by tabs, quotation marks are text, and a row may end before its last optional cells.
    """
    records = read_records(path, bounds, tabs)
    header = _header(path, row_1(path, records, tabs), required, used, tabs)
    reader = _RowReader(header, [*required, *used], 0 if not tabs else max(map(header.index, required)) + 1, tabs)
    for row, record in records:
        reader.add(row, record)
    reader.end_block()
    index = pd.Index(np.array(reader.rows, np.int64))
    table = pd.DataFrame(index=index)
    for name in list(reader.columns):  # one at a time: there are tables of millions of rows
        table[name] = pd.Series(reader.columns.pop(name), index=index, dtype=str)
    return UserTable(path, table, reader.problems, frozenset(reader.padded))


class _RowReader:
    """Cells of the columns that are wanted, gathered block by block; of equal cells of a column one text is kept."""

    def __init__(self, header: Sequence[str], wanted: Sequence[str], fewest: int, tabs: bool) -> None:
        self._header, self._fewest, self._tabs = header, fewest, tabs
        self.columns: dict[str, list[str]] = {name: [] for name in wanted if name in header}
        self._once: dict[str, dict[str, str]] = {name: {} for name in self.columns}
        self._block: list[list[str]] = []
        self.rows = array("q")
        self.padded: list[int] = []
        self.problems: dict[str, list[int]] = {}

    def add(self, row: int, record: list[str] | str) -> None:
        """Take a row, or note the rule that it breaks; rows without content are passed over."""
        rule = record if isinstance(record, str) else self._fitted(row, record)
        if isinstance(record, str) or rule:
            self.problems.setdefault(rule, []).append(row)
        elif record:
            self.rows.append(row)
            self._block.append(record)
            if len(self._block) == BLOCK_ROWS:
                self.end_block()

    def end_block(self) -> None:
        """Take the cells of the last rows out of their records."""
        for name, cells in self.columns.items():
            place = self._header.index(name)
            texts = [record[place].strip() for record in self._block]
            once = self._once.get(name)
            cells += texts if once is None else map(once.setdefault, texts, texts)
            if once is not None and len(once) > MOST_KEPT:
                del self._once[name]
        self._block.clear()

    def _fitted(self, row: int, record: list[str]) -> str:
        """Give a row as many cells as row 1 has, none if it has no content; return the rule that it breaks."""
        text = "".join(record)
        if not text or text.isspace():
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
        for name in () if text.isprintable() else self.columns:
            if not is_printable(record[self._header.index(name)].strip()):
                return f"{name} holds a control character, such as a line end; remove it"
        return ""


def _header(path: AnyPath, row_1: Sequence[str], required: Sequence[str], used: Sequence[str], tabs: bool) -> list[str]:
    """The header by row 1, in which wanted columns that differ in case and blanks only are spelt as they are here."""
    spelt = {" ".join(name.lower().split()): name for name in [*required, *used] if name not in row_1}
    header = [spelt.get(" ".join(name.lower().split()), name) for name in row_1]
    if not any(header):
        raise PipelineError(f"{path}: is empty; row 1 must name the columns {', '.join(required)}; export it again")
    if missing := [column for column in required if column not in header]:
        other = next((mark for mark in f"{SEPARATORS}," if tabs and mark in header[0]), None)
        hint = f", separated by '\\t', not by {other!r}" if other else ""
        raise PipelineError(f"{path}: missing columns: {', '.join(missing)}; row 1 must name them{hint}")
    if twice := [name for name, times in Counter(filter(None, header)).items() if times > 1]:
        raise PipelineError(f"{path}: columns named twice in row 1: {', '.join(map(ascii, twice))}; keep one of each")
    return header


def row_ranges(rows: Iterable[int]) -> str:
    """Row numbers in words, with runs joined: rows 2, 5-7. Only so many runs are named, the other rows are counted."""
    runs: list[list[int]] = []
    for row in (rising := sorted(rows)):
        if runs and row == runs[-1][1] + 1:
            runs[-1][1] = row
        else:
            runs.append([row, row])
    shown = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs[:RUNS_SHOWN])
    more = sum(last - first + 1 for first, last in runs[RUNS_SHOWN:])
    return f"row{'s' * (len(rising) > 1)} {shown}{f' and {more} more' * (more > 0)}"


def mapped(column: pd.Series[str], function: Callable[[str], Any]) -> pd.Series[Any]:
    """A function of each cell; of equal texts it is mostly called once, and never are many of them kept."""
    once = functools.lru_cache(CACHED)(function)
    return pd.Series(list(map(once, column.tolist())), index=column.index, dtype=object).infer_objects()


def colliding(names: pd.Series[str]) -> pd.Series[bool]:
    """A mask of names that differ from another one in case or Unicode form only; equal names and "" do not."""
    distinct = names.drop_duplicates()
    digests = np.fromiter((hash(folded(name)) for name in distinct.tolist()), np.int64, len(distinct))
    suspects = distinct[pd.Series(digests).duplicated(keep=False).to_numpy()]  # few, if any
    shared = suspects[pd.Series(list(map(folded, suspects)), index=suspects.index).duplicated(keep=False)]
    return names.isin(shared) & (names != "")
