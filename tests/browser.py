"""A real browser for tests: Debian's Chromium without a window, driven by its own ChromeDriver."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from selenium.webdriver import ActionChains, Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

DRIVER = "/usr/bin/chromedriver"
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-color-profile=srgb",
)
WIDE, PHONE = (1280, 900), (360, 740)


class Browser:
    """One browser for many tests; each page that is opened starts with empty logs, wide, light and with JavaScript."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver

    def open(self, address: str | Path) -> None:
        """Open an address, or a file from disk."""
        self.look()
        self.driver.get("about:blank")
        for kind in ("browser", "performance"):
            self.logged(kind)  # of the page before
        self.driver.get(address.resolve().as_uri() if isinstance(address, Path) else address)

    def look(self, size: tuple[int, int] = WIDE, scheme: str = "light") -> None:
        """Become so wide and high, with the system's light or dark colours; what scrolls jumps."""
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == PHONE}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        media = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
        wanted = [{"name": name, "value": value} for name, value in media.items()]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": wanted})

    def logged(self, kind: str) -> list[dict[str, Any]]:
        """What the browser logged since it was asked last."""
        entries: list[dict[str, Any]] = self.driver.get_log(kind)  # type: ignore[no-untyped-call]
        return entries

    def errors(self) -> list[str]:
        """What the console complained about since the page was opened, or since the last call."""
        return [entry["message"] for entry in self.logged("browser") if entry["level"] in ("SEVERE", "WARNING")]

    def requests(self) -> list[str]:
        """Addresses that the page asked for, apart from files and what it holds itself."""
        messages = [json.loads(entry["message"])["message"] for entry in self.logged("performance")]
        sent = [each["params"]["request"]["url"] for each in messages if each["method"] == "Network.requestWillBeSent"]
        return [url for url in sent if not url.startswith(("file:", "data:", "about:", "blob:"))]

    def run(self, script: str, *arguments: Any) -> Any:
        """The value of a piece of JavaScript that returns one."""
        return self.driver.execute_script(script, *arguments)

    def at(self, selector: str) -> WebElement:
        """The first element."""
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        """All elements."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def texts(self, selector: str) -> list[str]:
        """Words of all elements, seen or not."""
        found: list[str] = self.run(
            "return [...document.querySelectorAll(arguments[0])].map((each) => each.textContent.trim())", selector
        )
        return found

    def name(self, selector: str) -> str:
        """What an element is called for those who do not see it."""
        return self.at(selector).get_attribute("aria-label") or ""

    def press(self, *keys: str) -> None:
        """Press keys, whatever has the focus."""
        ActionChains(self.driver).send_keys(*keys).perform()

    def click_at(self, selector: str, share: float = 0.5) -> None:
        """Click on an element, so far from its left edge as a share of its width."""
        element = self.at(selector)
        self.run("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)
        offset = round((share - 0.5) * element.size["width"])
        ActionChains(self.driver).move_to_element_with_offset(element, offset, 0).click().perform()

    def until(self, condition: Callable[[], Any], seconds: float = 10.0) -> Any:
        """Wait until something is true; a test fails if it never becomes so."""
        return WebDriverWait(self.driver, seconds, 0.05).until(lambda _: condition())


@contextmanager
def opened(profile: Path) -> Iterator[Browser]:
    """Start the browser with an empty profile; the test is skipped where Chromium or its driver is not installed."""
    chromium = shutil.which("chromium")
    if chromium is None or not Path(DRIVER).is_file():
        pytest.skip(f"no browser: chromium or {DRIVER} is missing; `apt-get install chromium chromium-driver`")
    options = ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = Chrome(options=options, service=Service(DRIVER))
    try:
        yield Browser(driver)
    finally:
        driver.quit()


@contextmanager
def listening() -> Iterator[tuple[str, list[str]]]:
    """A server on loopback that answers nothing of use: its address, and the paths that it was asked for so far."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *arguments: Any) -> None:
            """Be quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", asked
        finally:
            server.shutdown()
            thread.join()
