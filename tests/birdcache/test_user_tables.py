"""Users' CSV files: what is wrong is told at once, by rows; what is right is read as it stands."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pandas as pd
import pytest

from birdcache.audio.paths import Bounds, folded
from birdcache.csv_records import LONGEST_LINE, read_header
from birdcache.errors import PipelineError
from birdcache.files import is_inner_path
from birdcache.labels import is_label
from birdcache.user_tables import UserTable, colliding, read_user_table, row_ranges


def read(folder: Path, content: bytes | str) -> UserTable:
    (folder / "t.csv").write_bytes(content.encode() if isinstance(content, str) else content)
    return read_user_table(folder / "t.csv", ["a"], ["b"], Bounds(folder, "inside"))


def rejected(folder: Path, content: bytes | str) -> str:
    with pytest.raises(PipelineError) as caught:
        read(folder, content).refuse([])
    return str(caught.value)


def test_cells_are_text_without_outer_spaces_by_spreadsheet_row(tmp_path: Path) -> None:
    table = read(tmp_path, 'a, b ,c\n 1 ,"x ""y"", z",\n\n,,\nNA,2,"=1\n3"\n')
    assert table.cells.to_dict("index") == {
        2: {"a": "1", "b": 'x "y", z'},
        5: {"a": "NA", "b": "2"},
    }


@pytest.mark.parametrize(
    "content", [b"\xef\xbb\xbfa,b\nr\xc3\xa9n,1\n", b"a,b\r\nr\xc3\xa9n,1\r\n", b"a,b\rr\xc3\xa9n,1"]
)
def test_marks_and_line_ends_of_other_systems_are_read(tmp_path: Path, content: bytes) -> None:
    assert read(tmp_path, content).cells.to_dict("list") == {"a": ["rén"], "b": ["1"]}


@pytest.mark.parametrize("text", ["a;b\n1,5;2\n", "a\tb\n1,5\t2\n", 'a,b\n"1,5",2,,\n', 'B , A\n2,"1,5"\n'])
def test_other_separators_surplus_empty_cells_and_names_in_another_case_are_read(tmp_path: Path, text: str) -> None:
    table = read(tmp_path, text)
    assert (table.cells.to_dict("list"), table.problems) == ({"a": ["1,5"], "b": ["2"]}, {})


def test_exact_name_of_a_column_comes_before_one_in_another_case(tmp_path: Path) -> None:
    assert read(tmp_path, "A,a,B,b\n1,2,3,4\n").cells.to_dict("list") == {"a": ["2"], "b": ["4"]}
    assert "named twice in row 1: 'b'" in rejected(tmp_path, "a,B,B\n1,2,3\n")


def test_rows_between_tabs_may_end_early_but_not_before_what_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("c\ta\tb\n1\t2\t3\n1\t2\n1\n\n")
    table = read_user_table(tmp_path / "t.txt", ["a"], ["b"], Bounds(tmp_path, "inside"), tabs=True)
    assert table.cells.to_dict("index") == {2: {"a": "2", "b": "3"}, 3: {"a": "2", "b": ""}}
    assert table.padded == {3}
    assert table.problems == {"does not have 3 cells like row 1; add the missing ones": [4]}


def test_unnamed_columns_are_left_out(tmp_path: Path) -> None:
    assert list(read(tmp_path, ",a,,b\n0,1,,2\n").cells.columns) == ["a", "b"]


def test_everything_wrong_is_told_at_once(tmp_path: Path) -> None:
    rows = ["a,b,c", "1,1,1", "1,1", "1,\x01,1", '1,"1"1,1', "1,1,\0", "1,\xe9,1", "1,1,\x02", "1,1,1,1", '1,1,"1']
    table = read(tmp_path, "\n".join(rows).encode("latin-1"))
    assert {tuple(bad): rule.partition(";")[0] for rule, bad in table.problems.items()} == {
        (3, 9): "does not have 3 cells like row 1",
        (4,): "b holds a control character, such as a line end",
        (5,): "text follows a closing quotation mark",
        (6,): "holds NUL characters",
        (7,): "holds bytes that are not UTF-8, as files in Latin-1 or Windows-1252 do",
        (10,): "a quotation mark that opens in it is never closed",
    }
    assert list(table.cells.index) == [2, 8]  # row 8: nobody reads column c
    with pytest.raises(PipelineError, match=r"(?s)t\.csv: 7 problems; row 1 is.*rows 3, 9: does.*row 2: one"):
        table.refuse([(table.cells["a"].index.to_series() == 2, "one")])


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ("", "is empty; row 1 must name the columns a; export it again"),
        ("\n1\n", "is empty; row 1 must name"),
        ("b\n1\n", r"missing columns: a; row 1 must name them"),
        ("a,b,b\n1,2,3\n", "columns named twice in row 1: 'b'; keep one of each"),
        ('a,"b\n', "row 1: a quotation mark that opens in it is never closed"),
        (b"a,\xe9\n", "row 1: is not text in UTF-8"),
        ("a,b\n".encode("utf-16"), "is text in UTF-16; save it as CSV in UTF-8"),
        ("a\n" + "x" * (csv.field_size_limit() + 1), "row 2: a cell holds more than 131,072 characters"),
        ("a\n" + "x" * (LONGEST_LINE + 1), "row 2: its line holds more than 1,048,576 characters"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, content: bytes | str, rule: str) -> None:
    assert rule in rejected(tmp_path, content)


def test_longest_cells_and_lines_that_are_allowed(tmp_path: Path) -> None:
    assert len(read(tmp_path, "a\n" + "x" * csv.field_size_limit()).cells["a"].iloc[0]) == csv.field_size_limit()


def test_only_files_inside_are_opened(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    os.mkfifo(tmp_path / "pipe")  # would be waited for
    (tmp_path / "secret").write_text("a\n1\n")
    bounds, link = Bounds(tmp_path / "root", "inside"), tmp_path / "root/t.csv"
    for name, rule in (("pipe", "is a pipe, not a file"), ("secret", "leads out of"), ("root", "is a folder")):
        link.symlink_to(tmp_path / name)
        with pytest.raises(PipelineError, match=rule):
            read_user_table(link, ["a"], [], bounds)
        with pytest.raises(PipelineError, match=rule):
            read_header(link, bounds)
        link.unlink()
    (tmp_path / "root/t.csv").symlink_to(tmp_path / "secret")
    assert read_header(tmp_path / "root/t.csv", Bounds(tmp_path / "root", "anywhere")) == ["a"]


def test_many_rows_are_counted_after_some_runs() -> None:
    assert row_ranges(range(2, 60, 2)).endswith(", 38, 40 and 9 more")
    assert row_ranges([9, 2, 4, 5, 6]) == "rows 2, 4-6, 9"
    assert row_ranges([7]) == "row 7"
    assert row_ranges(range(2, 10_000)) == "rows 2-9999"


@pytest.mark.parametrize(
    "text", ["a.ogg", "wren/XC1.ogg", "a #1.ogg", "wren/./a.ogg", "2020-05-01T10:00:00.ogg", "ren\xe9"]
)
def test_paths_below_the_folder(text: str) -> None:
    assert is_inner_path(text)


NO_PATHS = ["", ".", "..", "/a", "//h/s/a", "a/../b", "a/..", "C:/a", "c:a", "\\a", "a\\b", "\\\\h\\s\\a", "a://b"]


@pytest.mark.parametrize("text", [*NO_PATHS, "a\0b", "a\nb", "a" * 256, "a/" + "\xe9" * 128])
def test_paths_that_are_none(text: str) -> None:
    assert not is_inner_path(text)


@pytest.mark.parametrize("text", ["song::b", "a?b", "%2e%2e/a", "10:00.ogg"])
def test_names_that_would_make_another_url(text: str) -> None:
    assert is_inner_path(text)
    assert not is_inner_path(text, remote=True)


def test_names_collide_by_case_and_form_but_not_with_themselves() -> None:
    names = pd.Series(["caf\xe9", "cafe\u0301", "Wren", "wren", "wren", "owl", "owl", "", ""])
    assert list(colliding(names)) == [True, True, True, True, True, False, False, False, False]
    assert folded("STRASSE") == folded("stra\xdfe")


@pytest.mark.parametrize(
    "text", ["row_id", "ROW_ID", "con", "Nul", "aux.wav", "lpt1", "w" * 65, "wren.", "=1", "-a", "a\n"]
)
def test_labels_that_are_unsafe_as_names(text: str) -> None:
    assert not is_label(text)


@pytest.mark.parametrize("text", ["row_ids", "cone", "w" * 64, "Corvus corax", "a.b", "1"])
def test_labels_that_are_safe(text: str) -> None:
    assert is_label(text)
