"""The pages fit together, and what they quote is what the code says."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import docs.parameters as parameters
from birdcache.cli import build_parser
from tests.docs.blocks import PAGES
from tests.fixtures.tiny import ROOT

DOCS = ROOT / "docs"
SOURCES = ("birdcache", "cache", "commands", "pipeline", "train")


def test_every_page_is_in_the_table_of_contents() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    listed = [name for block in re.findall(r"```{toctree}\n(.*?)```", index, re.DOTALL) for name in pages_in(block)]
    assert sorted(listed) == sorted({page.stem for page in DOCS.glob("*.md")} - {"index"}), (
        "name each page of docs/ once in a toctree of docs/index.md"
    )


def pages_in(block: str) -> Iterator[str]:
    for line in block.splitlines():
        if line and not line.startswith(":"):
            named = re.fullmatch(r".*<(\w+)>|(\w+)", line)
            assert named, line
            yield named[1] or named[2]


def test_the_reference_of_parameters_is_current() -> None:
    current = parameters.PAGE.read_text(encoding="utf-8") == parameters.page()
    assert current, "docs/parameters.md is not what schema and params.yaml say; run `python -m docs.parameters`"


def test_the_reference_tells_type_bounds_value_and_effect_of_each_key() -> None:
    page = parameters.page()
    assert "| `n_mels` | whole number ≥\u00a08, ≤\u00a0512 | `128` | mel bins |" in page
    assert "| `layout` | `birdclef`, `folders`, `annotations` | `birdclef` |" in page
    assert "| `soundscape_truth` | text or `null` | `test_soundscapes_labels.csv` |" in page
    assert "| `channels` | list of `level`, `pcen`, `slope`, 1 to 3 | `[level]` |" in page
    assert "Source: mixup, Zhang et al. 2018" in page
    without = re.findall(r"^\| `(\w+)` .*\| +\|$", page, flags=re.MULTILINE)
    # told above their tables, since they stand in one line of params.yaml
    assert set(without) == {"rung", "without", "low", "high", "log", "choices", "power", "top_k", "class_name"}


def test_comments_of_params_yaml_go_on_in_the_lines_below() -> None:
    told = parameters.comments(
        "a:\n  b: 1   # one ...\n         # and two\n  c:       # three\n    d: 'x'\n# apart\ne: 5\n"
    )
    assert told == {"a": "", "a.b": "one ... and two", "a.c": "three", "a.c.d": "", "e": ""}


def test_every_command_is_on_the_page_of_commands() -> None:
    page = (DOCS / "commands.md").read_text(encoding="utf-8")
    (commands,) = (action for action in build_parser()._actions if action.dest == "command")
    assert commands.choices is not None
    for name in commands.choices:
        assert f"`birdcache {name}" in page, name
    for target in re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE):
        assert target == "setup" or f"`make {target}`" in page, target


def literals() -> str:
    """All texts of the code, one a line; what varies in them is left out."""
    found = []
    for path in (path for package in SOURCES for path in sorted((ROOT / package).rglob("*.py"))):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = [str(part.value) if isinstance(part, ast.Constant) else "\0" for part in node.values]
                found.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


def test_quoted_messages_are_those_of_the_code() -> None:
    page = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    own = page[page.index("## Messages of birdcache") :]
    quoted = re.findall(r"^\| `([^`]+)` \|", own, flags=re.MULTILINE)
    assert len(quoted) > 30
    known = literals()
    for message in quoted:
        pattern = "[^\n]*".join(re.escape(piece) for piece in message.split("..."))
        assert re.search(pattern, known), message


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:", target):
            continue
        file, _, heading = target.partition("#")
        linked = page.parent / file if file else page
        assert linked.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), flags=re.MULTILINE)
            assert heading in {parameters.anchor(title) for title in titles}, target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_pages_name_exist(page: Path) -> None:
    folders = "|".join((*SOURCES, "benchmarks", "docs", "optional", "tests"))
    for name in re.findall(rf"`((?:{folders})/[\w./-]*)`", page.read_text(encoding="utf-8")):
        assert (ROOT / name).exists(), f"{name}: no such file; name the one that has its place"
