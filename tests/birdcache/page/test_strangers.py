"""Bundles from strangers in the page: their words are words, and whatever their graphs do, the page goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from onnx import ModelProto, helper

from tests.birdcache.page.conftest import BY_TURNS, ROW, begin, choose, known_bundle, served, states, write_known
from tests.fixtures.browser import Browser, listening
from tests.fixtures.hostile_bundle import DESCRIBED, SAMPLES, endless, model

HOSTILE = "</script><img src=x onerror='document.title=1'>&{{ 7 }}"


@contextmanager
def opened(
    browser: Browser, folder: Path, runtime: Path, graph: ModelProto | None = None, **changes: Any
) -> Iterator[None]:
    """A browser with the page of a bundle."""
    with served(folder / "site", known_bundle(folder / "x.bundle", graph, **changes), runtime) as address:
        begin(browser, address)
        yield


def test_words_of_a_bundle_never_become_markup(browser: Browser, runtime: Path, tmp_path: Path) -> None:
    names, members = {"robin": HOSTILE, "wren": "__proto__"}, {HOSTILE: DESCRIBED["members"]["base"]}
    with opened(browser, tmp_path, runtime, name=HOSTILE, names=names, members=members):
        choose(browser, write_known(tmp_path / "a.wav"))
        browser.until(lambda: browser.at("#result").is_displayed(), 60)
        assert browser.texts(".lane b") == [f"{HOSTILE} (robin)", "__proto__ (wren)", "owl"]
        assert browser.texts("#bundle") == [f"{HOSTILE}, float32, members {HOSTILE} 1.00"]
        assert browser.all("img") == browser.all("body script") == []
        assert browser.driver.title == "birdcache: what sings here?"
        assert browser.errors() == []


def test_nothing_can_be_sent_anywhere(browser: Browser, address: str) -> None:
    with listening() as (other, asked):
        begin(browser, address)
        script = (
            "const done = arguments[arguments.length - 1], other = arguments[0];"
            "const image = new Image(); image.src = other + '/image';"
            "fetch(other + '/fetched', { mode: 'no-cors' }).then(() => done('sent'), () => done('refused'))"
        )
        assert browser.driver.execute_async_script(script, other) == "refused"
        assert asked == []


CUT = helper.make_node("Slice", ["waveform", "begin", "scores_end", "axis"], ["some"])
GRAPHS = {
    "NaN": ([CUT, helper.make_node("Sqrt", ["below"], ["scores_cut"])], "gives NaN instead of a score from 0 to 1"),
    "too large": ([CUT, helper.make_node("Add", ["some", "two"], ["scores"])], "instead of a score from 0 to 1"),
    "other classes": (
        [helper.make_node("Slice", ["waveform", "begin", "axis", "axis"], ["scores"])],
        "gives float32 [1,1] for 1 clips of 3 classes",
    ),
}


@pytest.mark.parametrize(("nodes", "words"), GRAPHS.values(), ids=GRAPHS)
def test_a_graph_that_gives_no_scores_is_told(
    browser: Browser, runtime: Path, tmp_path: Path, nodes: list[Any], words: str
) -> None:
    numbers = {"below": np.full((1, 3), -1, np.float32), "two": np.array(2, np.float32)}
    with opened(browser, tmp_path, runtime, model(nodes, numbers, classes=3, axes=("batch", ROW))):
        choose(browser, write_known(tmp_path / "a.wav", BY_TURNS[:1]))
        browser.until(lambda: words in states(browser).get("a.wav", ""), 60)
        assert not browser.at("#waiting").is_displayed()


def test_a_graph_that_is_another_one_is_told(browser: Browser, runtime: Path, tmp_path: Path) -> None:
    with opened(browser, tmp_path, runtime, model(classes=3, axes=("batch", ROW), inputs=("sound", "waveform"))):
        choose(browser, write_known(tmp_path / "a.wav", BY_TURNS[:1]))
        browser.until(lambda: "another one than bundle.json describes" in states(browser).get("a.wav", ""), 60)


def test_a_graph_without_an_end_leaves_the_page_alive_and_ends_when_it_is_removed(
    browser: Browser, runtime: Path, tmp_path: Path
) -> None:
    for name, level in (("loud.wav", 1.0), ("quiet.wav", 0.0)):  # a step of the graph for each part of the level
        soundfile.write(tmp_path / name, np.full(SAMPLES, level), SAMPLES, "FLOAT")
    usual = {name: DESCRIBED[name] for name in ("labels", "submission_labels", "names", "thresholds", "inputs")}
    with opened(browser, tmp_path, runtime, endless(None), **usual, window_s=1.0, hop_s=1.0):
        choose(browser, tmp_path / "loud.wav", tmp_path / "quiet.wav")
        browser.until(lambda: browser.at("#waiting").text == "loud.wav: is being scored, 1 more wait", 60)
        browser.at('button[aria-label="Remove loud.wav"]').click()
        browser.until(lambda: "detection" in states(browser).get("quiet.wav", ""), 60)
        assert list(states(browser)) == ["quiet.wav"]
