"""reports/report.html of the tiny project in a real browser, opened from disk."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys

from tests.conftest import TinyProject
from tests.fixtures.browser import PHONE, Browser, listening

CLASSES = "#table-classes tbody tr"
CLIP = "#unsure-"


@pytest.fixture
def page(tiny_project: TinyProject, browser: Browser) -> Browser:
    """The page, just opened."""
    browser.open(tiny_project.root / "reports/report.html")
    return browser


def test_it_opens_from_disk_without_a_complaint_or_a_request(page: Browser) -> None:
    assert page.driver.title == "birdcache report"
    assert page.texts("main > section > h2") == [
        "Results",
        "Mistakes to listen to",
        "Soundscapes over time",
        "Data set",
        "What the model sees",
        "Training",
    ]
    assert page.errors() == []
    assert page.requests() == []


def test_its_policy_forbids_the_network_and_this_test_would_see_a_request(
    tiny_project: TinyProject, browser: Browser, tmp_path: Path
) -> None:
    whole = (tiny_project.root / "reports/report.html").read_text()
    with listening() as (address, asked):
        asking = whole.replace("</footer>", f'<img alt="" src="{address}/spy.png"></footer>')
        (tmp_path / "asking.html").write_text(asking)
        browser.open(tmp_path / "asking.html")
        browser.until(lambda: any("Content Security Policy" in each for each in browser.errors()))
        assert asked == []
        (tmp_path / "free.html").write_text(re.sub(r'<meta http-equiv="Content-Security-Policy".*?>', "", asking))
        browser.open(tmp_path / "free.html")
        assert browser.requests() == [f"{address}/spy.png"]
        assert asked == ["/spy.png"]


def test_no_other_script_runs(tiny_project: TinyProject, browser: Browser, tmp_path: Path) -> None:
    whole = (tiny_project.root / "reports/report.html").read_text()
    (tmp_path / "page.html").write_text(
        whole.replace("</footer>", "<script>document.title = 'owned'</script></footer>")
    )
    browser.open(tmp_path / "page.html")
    assert browser.driver.title == "birdcache report"


def column(page: Browser, number: int) -> list[str]:
    return page.texts(f"{CLASSES} td:nth-child({number})")


def test_a_heading_sorts_by_words_or_numbers_and_says_so(page: Browser) -> None:
    heading = page.at("#table-classes th:nth-child(2)")
    page.click_at("#table-classes th:nth-child(2) button")
    assert column(page, 2) == ["higton", "lowton", "midton"]
    assert heading.get_attribute("aria-sort") == "ascending"
    page.click_at("#table-classes th:nth-child(2) button")
    assert column(page, 2) == ["midton", "lowton", "higton"]
    assert heading.get_attribute("aria-sort") == "descending"
    assert page.texts("#status") == ["Sorted by label, descending"]
    page.click_at("#table-trainings th:nth-child(2) button")
    assert heading.get_attribute("aria-sort") == "descending", "tables are sorted apart"


def test_numbers_sort_as_numbers_largest_first_and_gaps_stay_last(page: Browser) -> None:
    page.run(
        """const cells = [...document.querySelectorAll(arguments[0] + " td:nth-child(4)")];
        ["9", "10", ""].forEach((value, place) => {
          cells[place].textContent = value || "none";
          if (value) cells[place].dataset.sort = value; else delete cells[place].dataset.sort;
        });""",
        CLASSES,
    )
    page.click_at("#table-classes th:nth-child(4) button")
    assert column(page, 4) == ["10", "9", "none"]
    page.click_at("#table-classes th:nth-child(4) button")
    assert column(page, 4) == ["9", "10", "none"]


def test_the_keyboard_sorts(page: Browser) -> None:
    page.run("document.querySelector('#table-classes th:nth-child(2) button').focus()")
    page.press(Keys.ENTER)
    assert column(page, 2) == ["higton", "lowton", "midton"]


def test_a_filter_keeps_the_rows_that_hold_all_words(page: Browser) -> None:
    field = page.at("[data-filters=table-classes]")
    field.send_keys("TON low")
    shown = [row.text.split()[0] for row in page.all(CLASSES) if row.is_displayed()]
    assert shown == ["lowton"]
    assert page.at("#table-classes .count").text == "1 of 3 rows"
    field.send_keys(Keys.BACKSPACE * 7)
    assert all(row.is_displayed() for row in page.all(CLASSES))
    assert page.at("#table-classes .count").text == ""


def sound(page: Browser, player: str, what: str) -> float:
    value: float = page.run(f"return Number(document.querySelector('#{player} audio').{what})")
    return value


def first_clip(page: Browser) -> str:
    name = page.at("#mistakes article").get_attribute("id")
    assert name is not None
    return name


def test_a_click_on_a_spectrogram_plays_from_there(page: Browser) -> None:
    clip = first_clip(page)
    seconds = sound(page, clip, "parentElement.dataset.seconds")
    page.run(
        f"""const sound = document.querySelector('#{clip} audio');
        sound.addEventListener("playing", () => {{ sound.dataset.began = sound.currentTime; }}, {{ once: true }});"""
    )
    page.click_at(f"#{clip} .seek", 0.5)
    page.until(lambda: sound(page, clip, "currentTime") > 0.5 * seconds + 0.2)
    assert sound(page, clip, "dataset.began") == pytest.approx(0.5 * seconds, abs=0.2)
    assert sound(page, clip, "paused") == 0
    # while it plays, Chromium counts what the encoder has padded behind the last sample
    assert seconds - 0.01 < sound(page, clip, "duration") < seconds + 0.5
    now, left = page.run(
        f"""const sound = document.querySelector('#{clip} audio');
        const left = parseFloat(document.querySelector('#{clip} .cursor').style.left);
        return [sound.currentTime, left]"""
    )
    assert left == pytest.approx(100 * now / seconds, abs=15), "the line is where the sound is"
    assert page.name(f"#{clip} .play").startswith("Pause ")
    page.click_at(f"#{clip} .play")
    page.until(lambda: sound(page, clip, "paused") == 1)
    assert page.name(f"#{clip} .play").startswith("Play ")
    assert page.errors() == []


def test_the_keyboard_plays_pauses_and_moves(page: Browser) -> None:
    clip = first_clip(page)
    page.run(f"document.querySelector('#{clip} .seek').focus()")
    page.press(Keys.SPACE)
    page.until(lambda: sound(page, clip, "currentTime") > 0.1)
    page.press(Keys.SPACE)
    page.until(lambda: sound(page, clip, "paused") == 1)
    page.press(Keys.HOME)
    page.until(lambda: sound(page, clip, "currentTime") == 0)
    page.press(Keys.ARROW_RIGHT)
    page.until(lambda: sound(page, clip, "currentTime") == pytest.approx(0.5, abs=0.05))
    slider = page.at(f"#{clip} .seek")
    assert slider.get_attribute("aria-valuenow") == "0.50"
    assert (slider.get_attribute("aria-valuetext") or "").startswith("0.5 of ")


def test_one_sound_plays_at_a_time_and_repeats_if_wanted(page: Browser) -> None:
    one, other = (each.get_attribute("id") for each in page.all("#mistakes article")[:2])
    for name in (one, other):
        page.click_at(f"#{name} .play")
        page.until(lambda name=name: sound(page, name, "currentTime") > 0.1)  # type: ignore[misc]
    assert sound(page, str(one), "paused") == 1
    assert sound(page, str(other), "loop") == 1
    page.click_at("#repeat")
    assert sound(page, str(other), "loop") == 0


def test_a_click_on_a_window_plays_it(page: Browser) -> None:
    row, window = "#soundscape-0 tbody tr:first-child", 3
    page.click_at(f"{row} td:nth-child({window + 1})", 0.5)
    page.until(lambda: sound(page, "soundscape-0", "currentTime") > 10.1)
    assert sound(page, "soundscape-0", "currentTime") < 15


def test_the_windows_of_a_soundscape_are_one_stop_of_the_keyboard(page: Browser) -> None:
    assert len(page.all("#soundscape-0 td[tabindex='0']")) == 1
    page.run("document.querySelector('#soundscape-0 td[tabindex=\"0\"]').focus()")
    page.press(Keys.ARROW_RIGHT, Keys.ARROW_DOWN, Keys.ARROW_LEFT, Keys.ARROW_LEFT, Keys.END)
    place = page.run("const at = document.activeElement; return [at.parentElement.rowIndex, at.cellIndex]")
    assert place == [2, 4]
    page.press(Keys.ENTER)
    page.until(lambda: sound(page, "soundscape-0", "currentTime") > 15)
    assert len(page.all("#soundscape-0 td[tabindex='0']")) == 1


def background(page: Browser) -> list[int]:
    colour: str = page.run("return getComputedStyle(document.body).backgroundColor")
    return [int(each) for each in re.findall(r"\d+", colour)[:3]]


def test_colours_follow_the_system_until_the_switch_says_otherwise(page: Browser) -> None:
    assert min(background(page)) > 200
    page.look(scheme="dark")
    assert max(background(page)) < 50
    page.click_at("#theme")
    assert page.at("#theme").text == "Theme: light"
    assert min(background(page)) > 200
    page.click_at("#theme")
    page.look(scheme="light")
    assert max(background(page)) < 50
    ink = page.run("return getComputedStyle(document.querySelector('#chart-tail text')).fill")
    assert min(int(each) for each in re.findall(r"\d+", ink)) > 200, "charts have the page's ink"
    page.click_at("#theme")
    assert page.at("#theme").text == "Theme: auto"


@pytest.mark.parametrize("size", [PHONE, (1280, 900)])
def test_nothing_is_wider_than_the_window(page: Browser, size: tuple[int, int]) -> None:
    page.look(size)
    assert page.run("return document.documentElement.scrollWidth") <= size[0]  # innerWidth grows on a phone
    wide = "[...document.querySelectorAll('main *')].filter((e) => !e.closest('.scroll, .hidden-text, svg')"
    wide += " && e.getBoundingClientRect().right > arguments[0] + 1).map((e) => e.className || e.tagName)"
    assert page.run(f"return {wide}", size[0]) == []


def test_the_first_stop_of_the_keyboard_leads_past_the_menu(page: Browser) -> None:
    page.press(Keys.TAB)
    assert page.run("return document.activeElement.textContent") == "Skip to the results"
    page.press(Keys.ENTER)
    assert page.run("return document.activeElement.id") == "main"


def test_ids_are_unique_and_pictures_have_words(page: Browser) -> None:
    ids = page.run("return [...document.querySelectorAll('[id]')].map((each) => each.id)")
    assert len(ids) == len(set(ids))
    assert page.run("return [...document.images].every((each) => each.alt.length > 10 && each.naturalWidth > 10)")
    assert page.run("return [...document.querySelectorAll('svg')].every((each) => each.getAttribute('aria-label'))")
    targets = page.run("return [...document.querySelectorAll('nav a')].map((each) => each.hash.slice(1))")
    assert set(targets) <= set(ids)
