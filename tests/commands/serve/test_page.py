"""The page in a real browser: a recording is handed in, shown, filtered and played; bad ones are told."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from selenium.webdriver.common.keys import Keys
from werkzeug.serving import make_server

from commands.serve.app import create_app
from commands.serve.desk import Desk
from tests.browser import PHONE, Browser
from tests.commands.serve.conftest import LABELS, Telling, sound


@pytest.fixture
def address(desk: Desk) -> Iterator[str]:
    """Of a server that runs."""
    server = make_server("127.0.0.1", 0, create_app(desk, None, 2**22), threaded=True)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


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
    assert shown.at("#view").get_attribute("aria-valuetext") == "0:05"
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
    browser: Browser, address: str, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Telling, "final", lambda *_: np.array(SCORES, np.float32))
    desk.wanted.above[:] = ABOVE
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


def test_bad_audio_is_told_with_its_way_out_and_the_next_one_works(
    browser: Browser, address: str, tmp_path: Path
) -> None:
    browser.open(address)
    (tmp_path / "cut.ogg").write_bytes(sound()[:-800])
    hand_in(browser, tmp_path / "cut.ogg")
    browser.until(lambda: browser.at("#message").is_displayed(), 60)
    assert browser.at("#message").text.startswith("cut.ogg ")
    assert "fetch it again" in browser.at("#message").text
    (tmp_path / "good.ogg").write_bytes(sound(5))
    hand_in(browser, tmp_path / "good.ogg")
    browser.until(lambda: browser.at("#result").is_displayed(), 60)
    assert not browser.at("#message").is_displayed()


def test_too_large_a_file_is_told(browser: Browser, address: str, tmp_path: Path) -> None:
    browser.open(address)
    (tmp_path / "large.wav").write_bytes(bytes(2**22 + 1))
    hand_in(browser, tmp_path / "large.wav")
    browser.until(lambda: browser.at("#message").is_displayed(), 60)
    assert "start the server with a larger --max-mb" in browser.at("#message").text


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_it_without_scrolling_sideways(shown: Browser, scheme: str) -> None:
    shown.look(PHONE, scheme)
    width = shown.run("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert width[0] <= width[1]
    dark = shown.run("return getComputedStyle(document.body).backgroundColor")
    assert dark == ("rgb(20, 23, 26)" if scheme == "dark" else "rgb(251, 250, 247)")
