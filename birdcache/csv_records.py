"""Records of users' CSV files, in whatever way their cells are parted, and the rules that lines of them break."""

import codecs
import csv
import io
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from birdcache.audio.paths import Bounds
from birdcache.errors import PipelineError
from birdcache.storage import AnyPath, reaching

LONGEST_LINE = 2**20  # characters; the longest cell is csv.field_size_limit(), 131,072
OTHER_ENCODINGS = {codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}
NOT_UTF8 = re.compile("[\udc80-\udcff]")
SEPARATORS = ";\t|"  # of cells, where the first line holds no comma
RULES = {  # of what Python's csv says
    "unexpected end of data": "a quotation mark that opens in it is never closed; close it, or write it twice",
    "field larger": f"a cell holds more than {csv.field_size_limit():,} characters; shorten it",
    "expected after": "text follows a closing quotation mark; write quotation marks inside a cell twice",
}
TOO_LONG = f"its line holds more than {LONGEST_LINE:,} characters; is this a table?"


def read_records(path: AnyPath, bounds: Bounds, tabs: bool = False) -> Iterator[tuple[int, list[str] | str]]:
    """Each record with its row; in place of one that cannot be read, the rule that it breaks.

    A PipelineError if the file is missing, out of bounds or in another encoding. A StoreError if it is remote and its
    service cannot be reached.
    """
    bounds.check(path)
    try:
        with reaching(path):
            file: BinaryIO = path.open("rb")
        with file:
            if encoding := OTHER_ENCODINGS.get(file.read(2)):
                raise PipelineError(f"{path}: is text in {encoding}; {save_hint(tabs)}")
            file.seek(0)
            text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
            yield from _parsed(text, tabs)
    except OSError as error:
        why = error.strerror or error
        raise PipelineError(f"{path}: cannot be read ({why}); restore it, or correct params.yaml") from error


def read_header(path: AnyPath, bounds: Bounds) -> list[str]:
    """Row 1 of a user's CSV file, without outer spaces; [] if the file is empty; errors as of `read_user_table`."""
    return row_1(path, read_records(path, bounds), tabs=False)


def row_1(path: AnyPath, records: Iterator[tuple[int, list[str] | str]], tabs: bool) -> list[str]:
    """The first of some records, without outer spaces, [] if there is none; a PipelineError if it is no text."""
    _, record = next(records, (1, list[str]()))
    if isinstance(record, str):
        raise PipelineError(f"{path}: row 1: {record}")
    if bad := next((name for name in record if NOT_UTF8.search(name) or "\0" in name), ""):
        raise PipelineError(f"{path}: row 1: is not text in UTF-8 ({bad[:40]!a}); {save_hint(tabs)}")
    return [name.strip() for name in record]


def _parsed(text: io.TextIOWrapper, tabs: bool) -> Iterator[tuple[int, list[str] | str]]:
    lines = _lines(text)
    try:
        first = next(lines, "")
    except csv.Error as error:
        yield 1, str(error)
        return
    separator = "," if "," in first else next((mark for mark in SEPARATORS if mark in first), ",")
    style: Any = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if tabs else {"delimiter": separator}
    reader = csv.reader(itertools.chain([first], lines), strict=True, **style)
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


def text_problem(record: Sequence[str], tabs: bool) -> str:
    """The reason why a record is no text, with the way out; "" if it is."""
    text = "".join(record)
    if NOT_UTF8.search(text):
        return "holds bytes that are not UTF-8, as files in Latin-1 or Windows-1252 do; " + save_hint(tabs)
    if "\0" in text:
        return "holds NUL characters; " + save_hint(tabs)
    return ""


def save_hint(tabs: bool) -> str:
    """The way out for a file that is not text in UTF-8."""
    return "save it as text in UTF-8" if tabs else "save it as CSV in UTF-8"
