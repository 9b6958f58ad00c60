"""Charts as markup of the page."""

from __future__ import annotations

import re

import numpy as np

from commands.report.charts import COLOURS, FAINT, INK, Chart, chart
from commands.report.timelines import soundscapes_to_show

HOSTILE = '<script>alert("$x$ & \\frac")</script>'


def drawn(name: str = "chart-a", label: str = HOSTILE) -> Chart:
    made = Chart(name, "Title", f'What "{label}" shows')
    with chart(made) as axes:
        axes.plot([1, 2, 3], [0.123456, 0.5, 0.2], marker="o", color=COLOURS[0], label=label)
        axes.legend()
        axes.set(xlabel=label)
    return made


def test_words_stay_words_and_are_escaped() -> None:
    svg = drawn().svg
    assert svg.startswith("<svg")
    assert "<script" not in svg
    assert svg.count("&lt;script&gt;alert(") == 3, "legend, axis, and the words for those who do not see it"
    assert "$x$ &amp; \\frac" in svg, "no formula is made of a name"


def test_ink_and_grid_have_the_colours_of_the_page() -> None:
    svg = drawn().svg
    assert INK not in svg
    assert FAINT not in svg
    assert "currentColor" in svg
    assert "var(--grid)" in svg
    assert COLOURS[0] in svg


def test_two_charts_share_no_id_and_refer_to_their_own() -> None:
    one, other = (set(re.findall(r' id="([^"]+)"', drawn(name).svg)) for name in ("chart-a", "chart-b"))
    assert one
    assert not one & other
    for name in ("chart-a", "chart-b"):
        svg = drawn(name).svg
        used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', svg))
        assert used == set(re.findall(r' id="([^"]+)"', svg))


def test_nothing_reaches_beyond_the_chart_and_bytes_repeat() -> None:
    svg = drawn().svg
    assert "<style" not in svg, "a style within would hold for the whole page"
    assert "<metadata" not in svg
    assert "http" not in svg.replace("http://www.w3.org/2000/svg", "").replace("http://www.w3.org/1999/xlink", "")
    assert svg == drawn().svg
    assert not re.search(r'd="[^"]*\d\.\d{3}', svg), "two digits are enough"


def test_soundscapes_with_a_truth_are_shown_before_those_without() -> None:
    names = ["a", "a", "b", "b", "c", "c", "d", "d"]
    truth = np.zeros((8, 2), bool)
    assert soundscapes_to_show(names, truth, 3) == ["a", "b", "c"]
    truth[[3, 6], 1] = True
    assert soundscapes_to_show(names, truth, 3) == ["b", "d", "a"]
    assert soundscapes_to_show([], truth[:0], 3) == []
