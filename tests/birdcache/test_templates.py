"""Nothing that a page is told becomes part of its markup, whatever its template is called."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from jinja2 import nodes

from commands.export.bundle_files import plain
from commands.report.build import templates
from tests.fixtures.tiny import ROOT
from tests.test_house import FILES

HOSTILE = (
    """</title></script><meta http-equiv=refresh content="0;url=//evil.example"><img src=x onerror='a()'>&{{ 7 }}`"""
)
TEMPLATES = sorted(path for path in ROOT.glob("*/*/templates/*") if path.suffix == ".j2")


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_every_template_escapes_all_that_it_is_told(path: Path) -> None:
    made = templates()
    assert made.autoescape is True
    assert made.from_string("{{ told }}").render(told=HOSTILE).count("<") == 0
    tree = made.parse(path.read_text())
    assert {each.name for each in tree.find_all(nodes.Filter)}.isdisjoint({"safe", "forceescape", "xmlattr"})
    assert not [*tree.find_all((nodes.MarkSafe, nodes.MarkSafeIfAutoescape, nodes.ScopedEvalContextModifier))]
    assert not re.search(r"=\{[{%]", path.read_text()), "a value outside quotation marks may add attributes"


def test_environments_are_made_in_one_place() -> None:
    assert len(TEMPLATES) > 8
    made = re.compile(r"\bEnvironment\(|\brender_template|\bTemplate\(|import (jinja2|Template)|render_string")
    makers = [path.relative_to(ROOT).as_posix() for path in FILES if made.search(path.read_text())]
    assert makers == ["commands/export/kaggle.py", "commands/report/build.py"], "the first one's are no HTML"
    marked = [path.relative_to(ROOT).as_posix() for path in FILES if "Markup(" in path.read_text()]
    assert marked == ["commands/report/build.py", "commands/report/charts.py"], "own scripts, styles and charts alone"


def test_names_in_a_model_card_are_words() -> None:
    assert plain("Bewick's Wren (wren)") == "Bewick's Wren (wren)"
    assert plain("a|b\n# c") == r"a\|b \# c"
    assert not re.search(r"(?<!\\)[<>|\[\]`&*_]", plain(HOSTILE + "[x](y)|*_"))
