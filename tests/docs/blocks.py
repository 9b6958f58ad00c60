"""The fenced blocks of README.md and docs/*.md, and how each wants to be tried.

A comment above a block of commands (```sh) or Python (```python) says how tests treat it:

    (none)                    run as a whole in the finished small project that all blocks share
    <!-- run: copy -->        run in a copy of that project, since it changes files
    <!-- run: slow -->        run in a copy when BIRDCACHE_DOCS=slow (`make docs-commands`), else only checked
    <!-- run: no: WHY -->     never run, only checked

Checked: the commands and modules are there, they know all flags that are given, files and stages that are named exist.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.fixtures.tiny import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SHELL = {"sh", "bash", "console"}
NOT_COMMANDS = {"text", "yaml", "python", "diff", "csv", "json", "html", "js", "{toctree}"}
HOW = ("", "copy", "slow", "no")
COMMANDS = ("birdcache", "dvc", "make", "python -m", "torchrun", "pip install", "dask")  # found in running text too


@dataclass(frozen=True)
class Block:
    """A fenced block: where it begins, what it holds, and how its comment wants it to be tried."""

    page: str
    line: int
    language: str
    text: str
    how: str
    why: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def commands(self) -> str:
        """What a shell is given: of a console's transcript the lines after its prompt, without the output."""
        if self.language != "console":
            return self.text
        return "\n".join(line[2:] for line in self.text.splitlines() if line.startswith("$ "))


@dataclass(frozen=True)
class Mention:
    """A command in running text, between backticks."""

    page: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.text}"


def blocks_of(page: str, text: str) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    comment, opened, held = "", None, list[str]()
    for number, line in enumerate(text.splitlines(), start=1):
        fence = re.match(r"\s*```\s*(\S*)\s*$", line)
        if opened is not None:
            if fence and not fence[1]:
                how, _, why = comment.partition(": ")
                yield Block(page, opened[0], opened[1], "\n".join(held) + "\n", how, why)
                opened, held, comment = None, [], ""
            else:
                held.append(line)
        elif fence:
            opened = (number, fence[1])
        elif marker := re.match(r"\s*<!-- run: (.*?) -->\s*$", line):
            comment = marker[1]
        elif line.strip():
            comment = ""


def mentions_of(page: str, text: str) -> Iterator[Mention]:
    """The commands in running text, outside of fenced blocks."""
    inside = False
    for number, line in enumerate(text.splitlines(), start=1):
        if re.match(r"\s*```", line):
            inside = not inside
        elif not inside:
            for code in re.findall(r"`([^`]+)`", line):
                if any(code.startswith(f"{command} ") for command in COMMANDS) and "<-" not in code:
                    yield Mention(page, number, code)


def all_blocks() -> list[Block]:
    """The fenced blocks of all pages."""
    return [block for page in PAGES for block in blocks_of(name_of(page), page.read_text(encoding="utf-8"))]


def all_mentions() -> list[Mention]:
    """The commands in running text of all pages."""
    return [each for page in PAGES for each in mentions_of(name_of(page), page.read_text(encoding="utf-8"))]


def name_of(page: Path) -> str:
    """The page as it is called in this project."""
    return page.relative_to(ROOT).as_posix()
