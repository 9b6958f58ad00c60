"""YAML from strangers: bombs, broken text and false tags are refused in words, at once."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from birdcache.params import load as params
from birdcache.params.load import ParamsError
from birdcache.params.yaml_file import LONGEST, MOST_BYTES, MOST_NODES, parse_yaml
from tests.fixtures import tiny

LAUGHS = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 20))
MERGES = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}], k{n}: 1}}\n" for n in range(1, 40))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (LAUGHS, "over 10,000 values and keys (aliases counted out)"),
        (MERGES, "over 10,000 values and keys (aliases counted out)"),
        ("[" + "a," * (MOST_BYTES // 3) + "]", "over 10,000 values and keys"),
        ("a: " + "[" * 5000, "line 1: over 50 brackets are open"),
        ("a: " + "{a: " * 5000, "over 50 levels of nesting"),
        ("a: " + "[" * 5000 + "]" * 5000, "over 50 brackets are open"),
        ("- " * 5000, "over 50 levels of nesting"),
        ("? " * 5000, "over 50 levels of nesting"),
        ("a: &a [*a]", "line 1: the alias *a stands within what it repeats"),
        ("a: &a {<<: *a}", "the alias *a stands within what it repeats"),
        ("a: *b", "line 1, column 4: found undefined alias 'b'"),
        ("b: 1\na: " + "9" * 5000, "line 2: a value has over 3000 characters"),
        ("a: 0x" + "f" * 5000, "line 1: a value has over 3000 characters"),
        ("%YAML 1.1\n---\na: 1" + ":1" * 50_000, "line 3: a value has over 3000 characters"),
        ("a: 1\nb: 2\na: 3", 'line 3, column 1: found duplicate key "a"'),
        ("a: b\0c", "unacceptable character #x0000"),
        ('a: "b\\0c"', "or one that is not text"),
        ('a: "\\e[31m"', "or one that is not text"),
        ('a: "\\ud800"', "or one that is not text"),
        ("a:\n\tb: 1", "line 2, column 1: found character '\\t' that cannot start any token; indent with blanks"),
        ("a: 1\n---\nb: 1", "line 2, column 1: but found another document"),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor for the tag"),
        ("a: 2026-13-01", "a value is no number or date, but looks or is marked like one: month must be in 1..12"),
        ("a: !!bool maybe", "a value is no number or date, but looks or is marked like one"),
        ("a: !!binary x", "line 1, column 4: failed to decode base64 data"),
        ("{a: 1}: 1", "found unhashable key"),
    ],
)
def test_what_would_keep_a_reader_busy_or_is_no_yaml_is_refused_at_once(text: str, told: str) -> None:
    begin = time.perf_counter()
    with pytest.raises(ValueError, match=r"line|value|character") as refused:
        parse_yaml(text)
    assert told in str(refused.value)
    assert time.perf_counter() - begin < 5  # a tenth of a second, but of a machine that is busy


def test_aliases_and_merges_of_an_honest_file_are_read() -> None:
    assert parse_yaml("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: [*a, *a]") == {
        "a": {"x": 1, "y": 2},
        "b": {"x": 1, "y": 3},
        "c": [{"x": 1, "y": 2}] * 2,
    }


def test_the_bounds_leave_the_shipped_file_room() -> None:
    shipped = (tiny.ROOT / "params.yaml").read_text(encoding="utf-8")
    assert len(shipped.encode()) * 4 < MOST_BYTES
    assert parse_yaml("\n".join(f"- {number}" for number in range(MOST_NODES - 1)))[-1] == MOST_NODES - 2
    assert parse_yaml("a: " + "b" * LONGEST) == {"a": "b" * LONGEST}


def test_a_file_that_is_none_or_not_in_utf_8_is_refused_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes("demo: {}\ndata: {root: Vögel}\n".encode("latin-1"))
    with pytest.raises(ParamsError, match="line 2: the byte 0xf6 is not UTF-8; save the file in UTF-8"):
        params.load(path)
    path.write_bytes(b"# \n" * MOST_BYTES)
    with pytest.raises(ParamsError, match="is larger than 128 KiB, which no parameters are"):
        params.load(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ParamsError, match="is no regular file"):
        params.load(path)
    with pytest.raises(ParamsError, match="is no regular file"):
        params.load(tmp_path)


@pytest.mark.parametrize("text", ["demo: {1: {}}", "? [a]\n: 1", "null: 1", "true: 1", "2026-01-01: 1"])
def test_a_key_that_is_no_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a key must be text; put it in quotes"):
        parse_yaml(text)


@pytest.mark.parametrize("text", ["a: {b: 2026-01-01}", "a: {b: !!set {x, y}}", "a: {b: !!binary YQ==}"])
def test_a_value_that_parameters_never_are_is_refused_by_its_key(text: str) -> None:
    with pytest.raises(ValueError, match=r"^a\.b = .*: is read as a (date|set|bytes); put it in quotes$"):
        parse_yaml(text)


@pytest.mark.parametrize("text", ["", "- a", "3"])
def test_a_file_without_named_sections_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(ParamsError, match="must hold sections"):
        params.load(tmp_path / "params.yaml")
