"""Tables that spreadsheets cannot mistake for formulas, and that are read as they were written."""

from __future__ import annotations

import ast
from pathlib import Path

import pandas as pd
import pytest

from birdcache.formulas import escaped, starts_formula, unescaped
from cache.csv_files import read_csv, write_csv
from tests.tiny import ROOT

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
    pd.testing.assert_frame_equal(read_csv(tmp_path / "t.csv", {"text": str, "=name": str, "'=name": str}), table)
    raw = pd.read_csv(tmp_path / "t.csv", dtype=str, keep_default_na=False)
    assert not any(starts_formula(cell) for column in raw for cell in [column, *raw[column]])


def test_numbers_are_not_touched(tmp_path: Path) -> None:
    table = pd.DataFrame({"row_id": ["dawn_5"], "wren": [-0.25], "owl": [1e-9], "count": [-3]})
    write_csv(table, tmp_path / "t.csv", "%.6f")
    assert (tmp_path / "t.csv").read_bytes() == b"row_id,wren,owl,count\ndawn_5,-0.250000,0.000000,-3\n"


def test_tables_are_written_by_one_function_only() -> None:
    """The demo writes data like a user's; rows of predict, lr_find and tune go through csv, text by `escaped`."""
    allowed = {"cache/csv_files.py": "to_csv", "pipeline/demo.py": "to_csv"}
    allowed |= dict.fromkeys(
        ("birdcache/files.py", "commands/tune/command.py", "commands/inspect/lr_find.py"), "writer"
    )
    found = {}
    for package in ("birdcache", "cache", "pipeline", "train", "commands"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Attribute) and node.attr in ("to_csv", "writer", "DictWriter"):
                    found[path.relative_to(ROOT).as_posix()] = node.attr
    assert found == allowed
