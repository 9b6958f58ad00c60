"""The page in a real browser: a recording is handed in, shown, filtered and played; bad ones are told."""

from __future__ import annotations

import itertools
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
from selenium.webdriver.common.keys import Keys

from birdcache.predict.predictor import FileScores
from birdcache.serve.app import create_app
from birdcache.serve.jobs import JobQueue
from tests.birdcache.serve.conftest import LABELS, FakePredictor, running, sound
from tests.fixtures.browser import PHONE, Browser


@pytest.fixture
def address(queue: JobQueue) -> Iterator[str]:
    """Of a server that runs."""
    with running(create_app(queue, 2**22), most_bytes=2**23) as started:
        yield started.callers.address


def hand_in(browser: Browser, path: Path) -> None:
    browser.at("#file").send_keys(str(path))


@pytest.fixture
def shown(browser: Browser, address: str, tmp_path: Path) -> Browser:
    """The page with a recording of 20 s."""
    browser.open(address)
    (tmp_path / "dawn.ogg").write_bytes(sound())
    hand_in(browser, tmp_path / "dawn.ogg")
    browser.until(lambda: browser.at("#result").is_displayed(), 60)
    return browser


def rows(browser: Browser) -> list[tuple[str, str]]:
    times = browser.texts("#rows td:nth-child(1)")
    return sorted(zip(times, browser.texts("#rows td:nth-child(2)"), strict=True))


def now(browser: Browser) -> float:
    return float(browser.run("return document.getElementById('audio').currentTime"))


def test_a_recording_is_shown_with_what_is_heard_in_it(shown: Browser, address: str) -> None:
    assert shown.at("#name").text == "dawn.ogg"
    assert shown.at("#facts").text == "0:20, windows of 5 s"
    assert rows(shown) == [
        ("▶ 0:00", "robin"),
        ("▶ 0:05", "Winter Wren (wren)"),
        ("▶ 0:10", LABELS[2]),
        ("▶ 0:15", "robin"),
    ]
    assert shown.texts(".lane b") == ["robin", "Winter Wren (wren)", LABELS[2]]
    assert not shown.at("#waiting").is_displayed()
    assert shown.errors() == []
    assert all(url.startswith(address) for url in shown.requests())


def test_its_spectrogram_is_painted(shown: Browser) -> None:
    colours = shown.run(
        "const canvas = document.getElementById('spectrogram');"
        "const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);"
        "return [canvas.width, canvas.height, new Set(new Uint32Array(data.buffer)).size]"
    )
    assert colours[:2] == [1251, 128]
    assert colours[2] > 20


def test_a_detection_is_played_from_where_it_is(shown: Browser) -> None:
    button = next(each for each in shown.all("#rows button") if each.text == "▶ 0:10")
    button.click()
    shown.until(lambda: now(shown) > 10.1)
    assert now(shown) < 14
    assert shown.at("#play").get_attribute("aria-label") == "Pause"
    shown.at("#play").click()
    shown.until(lambda: shown.at("#play").get_attribute("aria-label") == "Play")


def test_a_click_on_the_spectrogram_plays_from_there(shown: Browser) -> None:
    shown.click_at("#spectrogram", 0.75)
    shown.until(lambda: now(shown) > 14.5)
    assert now(shown) < 18


def test_keys_move_and_play(shown: Browser) -> None:
    shown.run("document.getElementById('view').focus()")
    shown.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    shown.until(lambda: now(shown) == 10)
    shown.press(Keys.ARROW_LEFT)
    shown.until(lambda: now(shown) == 5)
    shown.until(lambda: shown.at("#view").get_attribute("aria-valuetext") == "0:05")
    shown.press(" ")
    shown.until(lambda: now(shown) > 5.1)
    shown.press(Keys.HOME)
    shown.until(lambda: now(shown) < 5)


def test_zooming_widens_the_picture(shown: Browser) -> None:
    before = shown.at("#wide").size["width"]
    shown.run("document.getElementById('view').focus()")
    shown.press("+", "+")
    assert shown.at("#wide").size["width"] == pytest.approx(4 * before, rel=0.01)
    shown.press("-")
    assert shown.at("#wide").size["width"] == pytest.approx(2 * before, rel=0.01)


def set_slider(browser: Browser, selector: str, value: float) -> None:
    browser.run(
        "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))", browser.at(selector), value
    )


def test_detections_follow_the_score_and_the_name_that_are_asked_for(shown: Browser) -> None:
    set_slider(shown, "#least", 0.95)
    assert rows(shown) == []
    set_slider(shown, "#least", 0.05)
    assert len(rows(shown)) == 12
    shown.at("#filter").send_keys("WRE")
    assert {label for _, label in rows(shown)} == {"Winter Wren (wren)"}
    assert shown.at("#count").text == "4 detections"


ABOVE = (0.2248, 0.9, 0.5)
SCORES = [[0.2248, 0.899, 0.4999], [0.2299, 0.901, 0.1], [0.2201, 0.9, 0.5], [0.22476, 0.1, 0.50002]]
WREN, OWL = "Winter Wren (wren)", LABELS[2]
CALLED = [(0, "robin"), (5, "robin"), (5, WREN), (10, WREN), (10, OWL), (15, OWL)]


def test_an_untouched_slider_shows_what_is_saved(
    browser: Browser, address: str, queue: JobQueue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakePredictor, "final", lambda *_: np.array(SCORES, np.float32))
    queue.wanted.above[:] = ABOVE
    browser.open(address)
    (tmp_path / "dawn.ogg").write_bytes(sound())
    hand_in(browser, tmp_path / "dawn.ogg")
    browser.until(lambda: browser.at("#result").is_displayed(), 60)
    by_thresholds = [(f"▶ 0:{time_s:02}", name) for time_s, name in CALLED]
    assert rows(browser) == sorted(by_thresholds)
    with urllib.request.urlopen(browser.at("#save-csv").get_attribute("href") or "") as saved:
        assert len(saved.read().decode().splitlines()) == 1 + len(by_thresholds)
    set_slider(browser, "#least", 0.24)
    assert rows(browser) == [row for row in sorted(by_thresholds) if row[1] != "robin"]
    set_slider(browser, "#least", 0.22)
    assert len(rows(browser)) == 10, "left of where it stood, the slider alone counts"


def states(browser: Browser) -> dict[str, str]:
    """What the list says of each recording."""
    return dict(zip(browser.texts("#files li > button:first-child"), browser.texts("#files li > span"), strict=True))


def drop(browser: Browser, *paths: Path) -> None:
    """Drop files or folders, as from a file manager."""
    data = {"items": [], "files": list(map(str, paths)), "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        place = {"type": kind, "x": 200, "y": 150, "data": data}
        browser.driver.execute_cdp_cmd("Input.dispatchDragEvent", place)


def test_of_several_dropped_recordings_each_has_its_result_or_its_error(
    browser: Browser, address: str, tmp_path: Path
) -> None:
    names = ["cut.ogg", "<img src=x onerror=alert(1)>.ogg", "good.ogg", "._good.ogg", "voice.m4a"]
    contents = [sound()[:-800], sound(5), sound(20), b"Mac OS X", bytes(4) + b"ftypM4A "]
    for name, content in zip(names, contents, strict=True):
        (tmp_path / name).write_bytes(content)
    browser.open(address)
    drop(browser, *(tmp_path / name for name in names))
    browser.until(lambda: len(states(browser)) == 5 and not browser.at("#waiting").is_displayed(), 60)
    said = states(browser)
    assert list(said) == names
    assert "fetch it again" in said["cut.ogg"]
    assert said[names[1]] == "1 detection"
    assert said["good.ogg"] == "4 detections"
    assert "with a dot before their name" in said["._good.ogg"]
    assert "ffmpeg -i voice.m4a voice.m4a.flac" in said["voice.m4a"]
    assert browser.at("#name").text == names[1], "the first that has a result is shown"
    assert browser.all("img") == []
    browser.all("#files li > button:first-child")[2].click()
    browser.until(lambda: browser.at("#name").text == "good.ogg")
    assert browser.texts("#files li[aria-current] > button:first-child") == ["good.ogg"]
    assert len(rows(browser)) == 4
    assert [message for message in browser.errors() if "415" not in message] == []


def test_of_a_dropped_folder_its_recordings_are_taken_and_the_rest_is_counted(
    browser: Browser, address: str, tmp_path: Path
) -> None:
    inner = tmp_path / "season" / "may"
    inner.mkdir(parents=True)
    (inner / "dawn.ogg").write_bytes(sound(5))
    for name in ("._dawn.ogg", "notes.txt", ".DS_Store", "voice.m4a"):
        (inner / name).write_bytes(b"x")
    browser.open(address)
    drop(browser, tmp_path / "season")
    browser.until(lambda: states(browser) == {"dawn.ogg": "1 detection"}, 60)
    assert browser.at("#left").text.startswith("4 other files are no recordings by their names, and were left out: ")


def test_a_result_that_the_server_no_longer_keeps_is_told(
    browser: Browser, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("birdcache.serve.jobs.MOST_KEPT", 1)
    for name in ("a.ogg", "b.ogg"):
        (tmp_path / name).write_bytes(sound(1))
    browser.open(address)
    drop(browser, tmp_path / "a.ogg", tmp_path / "b.ogg")
    browser.until(lambda: states(browser) == {"a.ogg": "1 detection", "b.ogg": "1 detection"}, 60)
    browser.all("#files button")[0].click()
    browser.until(lambda: "keeps only the latest ones; hand it in again" in states(browser)["a.ogg"])


@contextmanager
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Event]:
    """The first recording is analysed only when the event is set."""
    go_on, score, calls = Event(), FakePredictor.score, itertools.count()

    def slow(*arguments: Any) -> FileScores:
        if next(calls) == 0:
            go_on.wait(60)
        return score(*arguments)

    monkeypatch.setattr(FakePredictor, "score", slow)
    try:
        yield go_on
    finally:
        go_on.set()


def test_a_recording_that_comes_later_waits_for_the_first_one_or_is_removed(
    browser: Browser, address: str, queue: JobQueue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser.open(address)
    for name, seconds in (("first.ogg", 20), ("second.ogg", 5), ("third.ogg", 1)):
        (tmp_path / name).write_bytes(sound(seconds))
    with held(monkeypatch) as go_on:
        for name in ("first.ogg", "second.ogg", "third.ogg"):
            hand_in(browser, tmp_path / name)
        waiting = "first.ogg: is being analysed, 2 more wait"
        browser.until(lambda: browser.at("#waiting").text == waiting)
        browser.at('button[aria-label="Remove second.ogg"]').click()
        go_on.set()
        browser.until(lambda: states(browser) == {"first.ogg": "4 detections", "third.ogg": "1 detection"}, 60)
    assert browser.at("#name").text == "third.ogg", "what was handed in last is shown"
    assert not browser.at("#waiting").is_displayed()
    browser.at('button[aria-label="Remove first.ogg"]').click()
    browser.until(lambda: [each.name for each in queue.recordings.values()] == ["third.ogg"])


def test_removing_what_is_analysed_ends_that(
    browser: Browser, address: str, queue: JobQueue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser.open(address)
    (tmp_path / "long.ogg").write_bytes(sound(20))
    with held(monkeypatch):
        hand_in(browser, tmp_path / "long.ogg")
        browser.until(lambda: "is being analysed" in browser.at("#waiting").text)
        browser.at('button[aria-label="Remove long.ogg"]').click()
        browser.until(lambda: not queue.recordings and not browser.at("#waiting").is_displayed())


def test_too_large_a_file_and_a_server_that_has_ended_are_told(browser: Browser, address: str, tmp_path: Path) -> None:
    browser.open(address)
    (tmp_path / "large.wav").write_bytes(bytes(2**22 + 1))
    hand_in(browser, tmp_path / "large.wav")
    hint = "is larger than 4 MB: cut it, or start the server with a larger --max-mb"
    browser.until(lambda: states(browser) == {"large.wav": hint}, 60)
    assert not [url for url in browser.requests() if url.endswith("/recordings")], "it is not even sent"
    (tmp_path / "small.wav").write_bytes(b"x")
    browser.run("window.fetch = async () => new Response('words of the server', { status: 413 })")
    hand_in(browser, tmp_path / "small.wav")
    browser.until(lambda: states(browser)["small.wav"] == "words of the server")
    browser.run("window.fetch = async () => { throw new TypeError('Failed to fetch') }")
    (tmp_path / "lost.wav").write_bytes(b"x")
    hand_in(browser, tmp_path / "lost.wav")
    browser.until(lambda: "the server has ended" in states(browser)["lost.wav"])


def test_a_short_recording_is_told_in_tenths_of_a_second(browser: Browser, address: str, tmp_path: Path) -> None:
    browser.open(address)
    (tmp_path / "call.ogg").write_bytes(sound(0.6))
    hand_in(browser, tmp_path / "call.ogg")
    browser.until(lambda: browser.at("#result").is_displayed(), 60)
    assert browser.at("#facts").text == "0:00.6, windows of 5 s"
    assert browser.texts("#axis span") == [f"0:00.{tenth}" for tenth in range(6)]
    assert rows(browser) == [("▶ 0:00.0", "robin")]


def test_times_are_written_as_they_are(shown: Browser) -> None:
    script = (
        "const done = arguments[arguments.length - 1];"
        "import('/static/drawing.js').then(({ timeText }) => done(arguments[0].map((each) => timeText(...each))))"
    )
    times = [[0], [9.99], [59.9, True], [2.3, True], [7 * 0.1, True], [600], [3600], [36061.5, True]]
    told = ["0:00", "0:09", "0:59.9", "0:02.3", "0:00.7", "10:00", "1:00:00", "10:01:01.5"]
    assert shown.driver.execute_async_script(script, times) == told


def test_a_jump_brings_the_playhead_into_view(shown: Browser) -> None:
    inside = (
        "const box = document.getElementById('view').getBoundingClientRect();"
        "const { left } = document.getElementById('head').getBoundingClientRect();"
        "return left >= box.left && left <= box.right"
    )
    shown.run("document.getElementById('view').focus()")
    shown.press(*"++++++")
    for key, second in ((Keys.END, 20), (Keys.ARROW_LEFT, 15), (Keys.HOME, 0)):
        shown.press(key)
        shown.until(lambda: shown.run(inside))
        assert now(shown) == pytest.approx(second, abs=0.1)
    next(each for each in shown.all("#rows button") if each.text == "▶ 0:10").click()
    shown.until(lambda: now(shown) > 9.9 and shown.run(inside))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_it_without_scrolling_sideways(shown: Browser, scheme: str) -> None:
    shown.look(PHONE, scheme)
    width = shown.run("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert width[0] <= width[1]
    dark = shown.run("return getComputedStyle(document.body).backgroundColor")
    assert dark == ("rgb(20, 23, 26)" if scheme == "dark" else "rgb(251, 250, 247)")
