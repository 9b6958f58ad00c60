"""The tables of docs/reruns.md and README.md, "you change X", say what dvc.yaml leads to."""

from __future__ import annotations

import re
from typing import Any

import pytest
from ruamel.yaml import YAML

from birdcache.code import stage_digests
from tests.fixtures.tiny import ROOT

ENTRIES: dict[str, Any] = {
    name: entry.get("do", entry)
    for name, entry in YAML(typ="safe", pure=True).load((ROOT / "dvc.yaml").read_text())["stages"].items()
}
TRAINING = {"train", "predict", "submit", "evaluate", "report"}
MOMENTARY = {"check", "member"}  # they run in a moment, so the tables leave them out
ELSEWHERE = {  # rows whose claim is not one of keys, and what tests it
    "audio files, rows of `train.csv`": "tests/commands/plan/test_plan.py: an added recording is alone decoded",
    "a file in `teachers/`": "tests/test_teachers_dvc.py: another network runs its own view alone",
    "labels, authors, ratings": "tests/test_dvc.py: changed labels decode nothing",
    "a comment or docstring in the code": "tests/birdcache/test_code.py and tests/test_dvc.py",
    "code that draws pictures or the report": "below",
    "colours of pictures, the report's page": "below",
    "other code": "tests/birdcache/test_code.py: a table of edits",
}


def rows(page: str) -> dict[str, str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    table = text[text.index("| you change ") :].split("\n\n")[0].splitlines()[2:]
    return {cells[0]: cells[1] for cells in ([cell.strip() for cell in row.strip("|").split("|")] for row in table)}


def paths(entries: list[Any]) -> set[str]:
    """Paths, of a template the part before it."""
    names = [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]
    return {re.split(r"/?\$\{", name)[0] for name in names} - {""}


def after(stages: set[str]) -> set[str]:
    """The stages, and all that read what they write; what `check` writes never changes."""
    found = set(stages)
    for name in stages - {"check"}:
        entry = ENTRIES[name]
        outs = paths([*entry.get("outs", []), *entry.get("metrics", []), *entry.get("plots", [])])
        for other, reader in ENTRIES.items():
            deps = paths(reader["deps"])
            if any(f"{dep}/".startswith(f"{out}/") or f"{out}/".startswith(f"{dep}/") for dep in deps for out in outs):
                found.add(other)
    return found if found == stages else after(found)


def touched(key: str) -> set[str]:
    """Stages that declare a key, one above it or one below it."""
    section = re.sub(r"\.(pcen|<\w+>)", "", key)
    declared = {
        name: [re.sub(r"\.\$\{.*?\}", "", each) for each in ENTRIES[name].get("params", [])] for name in ENTRIES
    }
    return {
        name
        for name, entries in declared.items()
        if any(f"{each}.".startswith(f"{section}.") or f"{section}.".startswith(f"{each}.") for each in entries)
    }


def keys(cell: str) -> list[str]:
    """The keys that a cell names: `predict.hop_s`, `shifts_s` are two of one section."""
    found, section = [], ""
    for name in re.findall(r"`([\w.<>*]+)`", cell):
        section = name.split(".")[0] if "." in name else section
        found.append((name if "." in name else f"{section}.{name}").removesuffix(".*"))
    return found


def named(cell: str) -> set[str]:
    """The stages that a cell names; training stands for several."""
    stages = set(re.findall(r"`(\w+)(?:@\w+)?`", cell)) & set(ENTRIES)
    is_training = re.search(r"training|member", cell)
    return stages | (TRAINING if is_training else set())


@pytest.mark.parametrize("page", ["docs/reruns.md", "README.md"])
def test_each_row_of_keys_names_the_stages_that_run_again(page: str) -> None:
    table = {cell: text for cell, text in rows(page).items() if cell not in ELSEWHERE}
    assert len(table) >= 4
    for cell, text in table.items():
        concerned = {stage for key in keys(cell) for stage in after(touched(key))}
        assert keys(cell), cell
        assert named(text) - MOMENTARY == concerned - MOMENTARY, cell


def test_code_of_pictures_and_of_the_page_concerns_the_report_alone() -> None:
    drawn = ("birdcache/figures.py", "commands/report/")
    stages = {name for name, files in stage_digests(ROOT).items() if any(file.startswith(drawn) for file in files)}
    assert stages & set(ENTRIES) == {"report"}
