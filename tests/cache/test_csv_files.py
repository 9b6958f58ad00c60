"""Tables that spreadsheets cannot mistake for formulas, and that are read as they were written."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pandas as pd
import pytest

from birdcache.errors import PipelineError
from birdcache.formulas import escaped, starts_formula, unescaped
from cache import report_tables, tables
from cache.csv_files import CsvColumn, CsvTable, write_csv
from tests.fixtures.tiny import ROOT

FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "\nx", "=cmd|' /C calc'!A0", "=", "＝1"]  # noqa: RUF001
PLAIN = ["", "wren", "a=1", "1-2", "'quoted'", "'", "a'=", " =1", "ren\xe9", '"', "a,b", "NA", "#N/A"]


@pytest.mark.parametrize("text", FORMULAS)
def test_text_that_starts_a_formula_is_written_behind_an_apostrophe(text: str) -> None:
    assert starts_formula(text)
    assert escaped(text) == "'" + text
    assert not starts_formula(escaped(text))


@pytest.mark.parametrize("text", PLAIN)
def test_other_text_stays_as_it_is(text: str) -> None:
    assert escaped(text) == text


@pytest.mark.parametrize("text", [*FORMULAS, *PLAIN, *("'" + text for text in FORMULAS), "'''=1"])
def test_reading_gives_back_what_was_written(text: str) -> None:
    assert unescaped(escaped(text)) == text
    assert not starts_formula(escaped(text))


def test_table_is_read_as_it_was_written_and_opens_as_text(tmp_path: Path) -> None:
    texts = [*FORMULAS, *PLAIN, *("'" + text for text in FORMULAS)]
    table = pd.DataFrame({"text": texts, "=name": texts, "number": range(len(texts))})
    write_csv(table, tmp_path / "t.csv")
    typed = CsvTable(tmp_path / "t.csv", {"text": CsvColumn("text", empty="none"), "number": CsvColumn("count")})
    pd.testing.assert_frame_equal(typed.read(), table[["text", "number"]])
    raw = pd.read_csv(tmp_path / "t.csv", dtype=str, keep_default_na=False)
    assert not any(starts_formula(cell) for column in raw for cell in [column, *raw[column]])


def test_numbers_are_not_touched(tmp_path: Path) -> None:
    table = pd.DataFrame({"row_id": ["dawn_5"], "wren": [-0.25], "owl": [1e-9], "count": [-3]})
    write_csv(table, tmp_path / "t.csv", "%.6f")
    assert (tmp_path / "t.csv").read_bytes() == b"row_id,wren,owl,count\ndawn_5,-0.250000,0.000000,-3\n"


def test_tables_are_written_by_one_function_only() -> None:
    """The demo writes data like a user's; rows of predict and tune go through `write_rows`."""
    allowed = {"cache/csv_files.py": "to_csv", "pipeline/demo.py": "to_csv", "birdcache/files.py": "writer"}
    found = {}
    for package in ("birdcache", "cache", "pipeline", "train", "commands"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Attribute) and node.attr in ("to_csv", "writer", "DictWriter"):
                    found[path.relative_to(ROOT).as_posix()] = node.attr
    assert found == allowed


FORM = {"name": CsvColumn("text"), "rating": CsvColumn("number", empty="unrated"), "count": CsvColumn("count")}


def test_empty_cells_are_read_as_their_columns_say(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("name,beside,count,rating\nwren,x,3,\nowl,,4,2.5\n")
    table = CsvTable(tmp_path / "t.csv", FORM)
    expected = pd.DataFrame({"name": ["wren", "owl"], "rating": [float("nan"), 2.5], "count": [3, 4]})
    pd.testing.assert_frame_equal(table.read(), expected)
    assert list(table.read("count")) == ["count"]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("name,rating,count\nwren,1,2\n,1,2\n", "row 3, column name is empty"),
        ("name,rating,count\nwren,many,2\n", "row 2, column rating: 'many' is not a number"),
        ("name,rating,count\nwren,nan,2\n", "row 2, column rating: 'nan' is not a number"),
        ("name,rating,count\nwren,1,2.5\n", "row 2, column count: '2.5' is not a whole number"),
        ("name,rating,count\nwren,1,inf\n", "row 2, column count: 'inf' is not a whole number"),
        ("name,rating\nwren,1\n", "missing columns: count"),
        ("", "No columns to parse from file"),
    ],
)
def test_cells_that_break_a_rule_are_named(tmp_path: Path, text: str, rule: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(PipelineError, match=rf"t\.csv: {re.escape(rule)}; it was changed by hand, run `dvc repro`"):
        CsvTable(tmp_path / "t.csv", FORM).read()


def test_missing_table_names_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"t\.csv: cannot be read \(No such file or directory\); run `dvc repro`"):
        CsvTable(tmp_path / "t.csv", FORM).read()


def test_every_table_is_defined_once() -> None:
    defined = [
        table.path for table in [*vars(tables).values(), *vars(report_tables).values()] if isinstance(table, CsvTable)
    ]
    assert len(set(defined)) == len(defined)


def test_tables_that_the_project_writes_are_read_through_their_definition_only() -> None:
    """What DVCLive writes, tab-separated, is no table of ours."""
    allowed = {"cache/csv_files.py", "train/loop/run.py"}
    packages = ("birdcache", "cache", "pipeline", "train", "commands")
    files = [path for package in packages for path in (ROOT / package).rglob("*.py")]
    assert {path.relative_to(ROOT).as_posix() for path in files if "pd.read_csv(" in path.read_text()} == allowed
