"""The page in a real browser: a recording is dropped, shown, filtered, played and saved; bad ones are told."""

from __future__ import annotations

from argparse import Namespace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import soundfile
from selenium.webdriver.common.keys import Keys

from birdcache.page.build import page_files, write_page
from tests.birdcache.page.conftest import BY_TURNS, OWL, begin, choose, known_bundle, rows, served, states, write_known
from tests.fixtures.browser import PHONE, Browser

WREN, OWLS = "Winter Wren (wren)", f"{OWL} (owl)"


@pytest.fixture
def shown(browser: Browser, address: str, tmp_path: Path) -> Browser:
    """The page with a recording of 20 s: robin, wren, owl and robin again, in windows of 5 s."""
    begin(browser, address)
    choose(browser, write_known(tmp_path / "dawn.wav"))
    browser.until(lambda: browser.at("#result").is_displayed(), 120)
    return browser


def now(browser: Browser) -> float:
    return float(browser.run("return document.getElementById('audio').currentTime"))


def set_slider(browser: Browser, selector: str, value: float) -> None:
    browser.run(
        "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))", browser.at(selector), value
    )


def drop(browser: Browser, *paths: Path) -> None:
    """Drop files or folders, as from a file manager."""
    data = {"items": [], "files": list(map(str, paths)), "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        place = {"type": kind, "x": 200, "y": 150, "data": data}
        browser.driver.execute_cdp_cmd("Input.dispatchDragEvent", place)


def test_a_recording_is_shown_with_what_is_heard_in_it(shown: Browser, address: str) -> None:
    assert shown.at("#name").text == "dawn.wav"
    assert shown.at("#facts").text == "0:20, windows of 5 s"
    assert rows(shown) == [("▶ 0:00", "robin"), ("▶ 0:05", WREN), ("▶ 0:10", OWLS), ("▶ 0:15", "robin")]
    assert shown.texts(".lane b") == ["robin", WREN, OWLS]
    assert shown.texts("#classes, #bundle") == ["3 classes", "birds, float32, members base 1.00"]
    assert states(shown) == {"dawn.wav": "4 detections"}
    assert shown.all("img") == []
    assert not shown.at("#waiting").is_displayed()
    assert shown.run("return crossOriginIsolated"), "so that threads may share memory"
    assert shown.errors() == []
    assert all(url.startswith(address) for url in shown.requests())


def test_its_spectrogram_shows_the_tone_where_it_is(shown: Browser) -> None:
    script = (
        "const canvas = document.getElementById('spectrogram');"
        "const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);"
        "const green = (frame, row) => data[4 * (row * canvas.width + frame) + 1];"
        "const rows = [...Array(canvas.height).keys()];"
        "const loudest = (frame) => rows.reduce((best, row) => green(frame, row) > green(frame, best) ? row : best, 0);"
        "return [canvas.width, canvas.height, canvas.height - 1 - loudest(157), canvas.height - 1 - loudest(470)]"
    )
    width, height, early, late = shown.run(script)
    assert (width, height) == (1 + 20 * 16_000 // 512, 128)
    for row, second in ((early, 5.02), (late, 15.04)):
        assert (row + 0.5) / 128 * 8000 == pytest.approx(500 + 2 * 100 * second, abs=100)
    assert shown.texts("#pitch span") == [f"{kilohertz} kHz" for kilohertz in range(1, 8)]


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


def test_keys_move_play_and_zoom(shown: Browser) -> None:
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
    before = shown.at("#wide").size["width"]
    shown.press("+", "+")
    assert shown.at("#wide").size["width"] == pytest.approx(4 * before, rel=0.01)
    shown.press("-")
    assert shown.at("#wide").size["width"] == pytest.approx(2 * before, rel=0.01)


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


def test_detections_follow_the_score_and_the_name_that_are_asked_for(shown: Browser) -> None:
    set_slider(shown, "#least", 0.95)
    assert rows(shown) == []
    set_slider(shown, "#least", 0.05)
    assert len(rows(shown)) == 12
    shown.at("#filter").send_keys("WRE")
    assert {label for _, label in rows(shown)} == {WREN}
    assert shown.at("#count").text == "4 detections"


def test_an_untouched_slider_shows_what_each_classs_own_threshold_lets_through(
    browser: Browser, runtime: Path, tmp_path: Path
) -> None:
    scores = [[0.2248, 0.899, 0.4999], [0.2299, 0.901, 0.1], [0.2201, 0.9, 0.5], [0.22476, 0.1, 0.50002]]
    bundle = known_bundle(tmp_path / "x.bundle", thresholds=[0.2248, 0.9, 0.5])
    called = [("▶ 0:00", "robin"), ("▶ 0:05", "robin"), ("▶ 0:05", WREN), ("▶ 0:10", WREN), ("▶ 0:10", OWLS)]
    with served(tmp_path / "site", bundle, runtime) as place:
        begin(browser, place)
        choose(browser, write_known(tmp_path / "dawn.wav", scores))
        browser.until(lambda: browser.at("#result").is_displayed(), 120)
        assert rows(browser) == sorted([*called, ("▶ 0:15", OWLS)])
        assert states(browser) == {"dawn.wav": "6 detections"}
        set_slider(browser, "#least", 0.24)
        assert len(rows(browser)) == 4
        set_slider(browser, "#least", 0.22)
        assert len(rows(browser)) == 10, "left of where it stood, the slider alone counts"


def wait_for(browser: Browser, path: Path) -> None:
    browser.until(lambda: path.exists() and path.stat().st_size)


def test_detections_are_saved_as_files(shown: Browser, tmp_path: Path) -> None:
    behaviour = {"behavior": "allow", "downloadPath": str(tmp_path)}
    shown.driver.execute_cdp_cmd("Browser.setDownloadBehavior", behaviour)
    for kind, ending in (("csv", "detections.csv"), ("raven", "selections.txt"), ("audacity", "labels.txt")):
        shown.at(f"#save-{kind}").click()
        wait_for(shown, tmp_path / f"dawn.wav.{ending}")
    lines = (tmp_path / "dawn.wav.detections.csv").read_text().splitlines()
    assert lines[:2] == ["file,start_s,end_s,label,score", "dawn.wav,0,5,robin,0.9000"]
    assert len(lines) == 5


def test_of_several_dropped_recordings_each_has_its_result_or_its_error(
    browser: Browser, address: str, tmp_path: Path
) -> None:
    names = ["text.ogg", "<img src=x onerror=alert(1)>.wav", "good.wav", "empty.mp3"]
    for name, content in (("text.ogg", b"<html>no sound</html>"), ("empty.mp3", b"")):
        (tmp_path / name).write_bytes(content)
    write_known(tmp_path / names[1], BY_TURNS[:1])
    write_known(tmp_path / "good.wav")
    begin(browser, address)
    drop(browser, *(tmp_path / name for name in names))
    browser.until(lambda: len(states(browser)) == 4 and not browser.at("#waiting").is_displayed(), 120)
    said = states(browser)
    assert list(said) == names
    assert said[names[1]] == "1 detection"
    assert said["good.wav"] == "4 detections"
    for name in ("text.ogg", "empty.mp3"):
        assert said[name].startswith("holds no sound that this browser decodes; convert it, such as: ffmpeg -i ")
    assert browser.at("#name").text == names[1], "the first that has a result is shown"
    assert browser.all("img") == []
    browser.all("#files li > button:first-child")[2].click()
    assert browser.at("#name").text == "good.wav"
    assert browser.texts("#files li[aria-current] > button:first-child") == ["good.wav"]
    assert len(rows(browser)) == 4
    browser.at('button[aria-label="Remove text.ogg"]').click()
    assert "text.ogg" not in states(browser)


def test_of_a_dropped_folder_its_recordings_are_taken_and_the_rest_is_counted(
    browser: Browser, address: str, tmp_path: Path
) -> None:
    inner = tmp_path / "season" / "may"
    inner.mkdir(parents=True)
    write_known(inner / "dawn.wav", BY_TURNS[:1])
    for name in ("._dawn.ogg", "notes.txt", ".DS_Store"):
        (inner / name).write_bytes(b"x")
    begin(browser, address)
    drop(browser, tmp_path / "season")
    browser.until(lambda: states(browser) == {"dawn.wav": "1 detection"}, 60)
    assert browser.at("#left").text.startswith("3 other files are no recordings by their names, and were left out: ")


def test_a_short_recording_is_told_in_tenths_of_a_second(browser: Browser, address: str, tmp_path: Path) -> None:
    begin(browser, address)
    choose(browser, write_known(tmp_path / "call.wav", BY_TURNS[:1], 0.6))
    browser.until(lambda: browser.at("#result").is_displayed(), 60)
    assert browser.at("#facts").text == "0:00.6, windows of 5 s"
    assert browser.texts("#axis span") == [f"0:00.{tenth}" for tenth in range(6)]
    assert rows(browser) == [("▶ 0:00.0", "robin")]


def test_a_recording_that_memory_cannot_hold_is_refused_before_it_is_decoded(
    browser: Browser, address: str, tmp_path: Path
) -> None:
    with soundfile.SoundFile(tmp_path / "night.flac", "w", 8000, 1) as file:
        for _ in range(150):
            file.write(np.zeros(60 * 8000))
    begin(browser, address)
    choose(browser, tmp_path / "night.flac")
    words = "lasts 2.5 hours, and the page takes up to 2: cut it; "
    browser.until(lambda: states(browser)["night.flac"].startswith(words), 60)


def test_times_are_written_as_they_are(browser: Browser, address: str) -> None:
    begin(browser, address)
    script = (
        "const done = arguments[arguments.length - 1];"
        "import('/drawing.js').then(({ timeText }) => done(arguments[0].map((each) => timeText(...each))))"
    )
    times = [[0], [9.99], [59.9, True], [2.3, True], [7 * 0.1, True], [600], [3600], [36061.5, True]]
    told = ["0:00", "0:09", "0:59.9", "0:02.3", "0:00.7", "10:00", "1:00:00", "10:01:01.5"]
    assert browser.driver.execute_async_script(script, times) == told


class Plain(SimpleHTTPRequestHandler):
    """A web server as others have one."""

    def log_message(self, *_: object) -> None:
        """Be quiet."""


def test_any_web_server_will_do_and_any_folder_on_it(browser: Browser, runtime: Path, tmp_path: Path) -> None:
    bundle = known_bundle(tmp_path / "x.bundle")
    write_page(tmp_path / "some/where", page_files(Namespace(model=bundle, runtime=runtime, fetch=False)))
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Plain, directory=str(tmp_path))) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            begin(browser, f"http://127.0.0.1:{server.server_port}/some/where/")
            choose(browser, write_known(tmp_path / "dawn.wav"))
            browser.until(lambda: states(browser) == {"dawn.wav": "4 detections"}, 60)
            assert not browser.run("return crossOriginIsolated"), "one thread does all"
            assert browser.errors() == []
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_it_without_scrolling_sideways(shown: Browser, scheme: str) -> None:
    shown.look(PHONE, scheme)
    width = shown.run("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert width[0] <= width[1]
    dark = shown.run("return getComputedStyle(document.body).backgroundColor")
    assert dark == ("rgb(20, 23, 26)" if scheme == "dark" else "rgb(251, 250, 247)")
