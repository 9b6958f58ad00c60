"""Pages of bundles whose scores are known, in a real browser: decoding, the graph and all else are real."""

from __future__ import annotations

import os
import threading
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from onnx import ModelProto

from birdcache.page.build import page_files, write_page
from birdcache.page.runtime import PACKAGE, cached_tarball
from birdcache.page.server import listening
from tests.fixtures.browser import Browser
from tests.fixtures.hostile_bundle import DESCRIBED, model, write_bundle

RATE_HZ, WINDOW_S = 16_000, 5.0
CLIP_S = round(RATE_HZ * WINDOW_S)
LABELS = ["robin", "wren", "owl"]
OWL = "=Owl<img src=x onerror=alert(1)>"
INPUT = {**DESCRIBED["inputs"][0], "clip_frames": 500, "margin": 0}
ROW = 499 * INPUT["hop"]  # samples
BY_TURNS = np.where(np.arange(4)[:, None] % 3 == np.arange(3), 0.9, 0.1)


@pytest.fixture(scope="session")
def runtime() -> Path:
    """The tarball of onnxruntime-web; tests that need it are skipped where there is none: no test uses the network."""
    path = Path(os.environ.get("BIRDCACHE_RUNTIME") or cached_tarball())
    if not path.is_file():
        pytest.skip(f"no {path}: `npm pack {PACKAGE}` fetches it; move it there, or name it in BIRDCACHE_RUNTIME")
    return path


def known_bundle(folder: Path, graph: ModelProto | None = None, **changes: Any) -> Path:
    """A bundle with windows of 5 s whose scores of a clip are its first three samples."""
    names = {"wren": "Winter Wren", "owl": OWL}
    facts = {"labels": LABELS, "submission_labels": LABELS, "names": names, "thresholds": [0.5] * 3, "inputs": [INPUT]}
    usual = model(classes=3, axes=("batch", ROW))
    return write_bundle(folder, graph or usual, **{**facts, "window_s": WINDOW_S, "hop_s": WINDOW_S, **changes})


def write_known(path: Path, scores_WK: Sequence[Sequence[float]] | Any = BY_TURNS, seconds: float = 0.0) -> Path:
    """Write a WAV file with a rising tone, in which the known bundle finds these scores.

    Parameters
    ----------
    seconds : its length; 0 = that of the windows.
    """
    time_S = np.arange(round((seconds or len(scores_WK) * WINDOW_S) * RATE_HZ)) / RATE_HZ
    waveform_S = 0.3 * np.sin(2 * np.pi * (500 + 100 * time_S) * time_S)
    for window, scores_K in enumerate(scores_WK):
        begin_S = waveform_S[window * CLIP_S :][: len(scores_K)]
        begin_S[:] = scores_K[: len(begin_S)]
    soundfile.write(path, waveform_S, RATE_HZ, "FLOAT")
    return path


@contextmanager
def served(folder: Path, bundle: Path, runtime: Path) -> Iterator[str]:
    """Build a bundle's page in a folder and serve it: its address."""
    write_page(folder, page_files(Namespace(model=bundle, runtime=runtime, fetch=False)))
    with listening(folder, 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="session")
def address(runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page of the known bundle."""
    base = tmp_path_factory.mktemp("known")
    with served(base / "site", known_bundle(base / "known.bundle"), runtime) as place:
        yield place


def begin(browser: Browser, address: str) -> None:
    """Open a page, and wait until it can be used."""
    browser.open(address)
    browser.until(lambda: browser.at("#drop").is_displayed(), 60)


def choose(browser: Browser, *paths: Path) -> None:
    """Choose files."""
    browser.at("#file").send_keys("\n".join(map(str, paths)))


def states(browser: Browser) -> dict[str, str]:
    """The words beside each recording in the list."""
    return dict(zip(browser.texts("#files li > button:first-child"), browser.texts("#files li > span"), strict=True))


def rows(browser: Browser) -> list[tuple[str, str]]:
    """Time and class of each detection in the table, in order."""
    times = browser.texts("#rows td:nth-child(1)")
    return sorted(zip(times, browser.texts("#rows td:nth-child(2)"), strict=True))


PROBE = """
const done = arguments[arguments.length - 1];
(async () => {
  const { analysed } = await import("/analysis.js");
  const { TABLES, detectionsOf } = await import("/tables.js");
  const { thresholdsOf } = await import("/scores.js");
  const description = await (await fetch("/bundle.json")).json();
  const file = document.getElementById("probe").files[0];
  const shares = [];
  const found = await analysed(file, description, (share) => shares.push(share), new AbortController().signal);
  const detected = detectionsOf(found, description, thresholdsOf(description));
  const tables = Object.entries(TABLES).map(([kind, { write }]) => [kind, write(detected, file.name, description)]);
  const scores = found.scores.map((row) => [...row]);
  return { ...found, shares, scores, picture: null, tables: Object.fromEntries(tables) };
})().then(done, (error) => done({ problem: error.message }));
"""


def probed(browser: Browser, path: Path) -> dict[str, Any]:
    """What the modules of an open page make of a file: scores, duration, notes and tables, or the problem."""
    browser.run(
        "document.getElementById('probe')?.remove();"
        "const input = document.createElement('input'); input.type = 'file'; input.id = 'probe';"
        "document.body.append(input)"
    )
    browser.at("#probe").send_keys(str(path))
    browser.driver.set_script_timeout(120)
    found: dict[str, Any] = browser.driver.execute_async_script(PROBE)
    return found
