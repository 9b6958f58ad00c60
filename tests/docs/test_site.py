"""`make docs`: the site builds without a warning and without network, and works from the disk."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.tiny import ROOT

pytestmark = pytest.mark.slow

pytest.importorskip("furo", reason="the site needs the extra `docs`")
pytest.importorskip("myst_parser", reason="the site needs the extra `docs`")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NO_NETWORK = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")


def build(source: Path, target: Path) -> subprocess.CompletedProcess[str]:
    """Build as `make docs` does, where any request would go to a port that nobody serves."""
    line = next(line for line in (ROOT / "Makefile").read_text().splitlines() if "sphinx-build" in line)
    flags = line.split()[1:-4]
    assert flags == ["-q", "-W", "--keep-going"]
    command = [sys.executable, "-m", "sphinx", *flags, "-d", f"{target}-doctrees", str(source), str(target)]
    environment = {**os.environ, **NO_NETWORK, "PYTHONWARNINGS": "default"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    target = tmp_path_factory.mktemp("site") / "docs"
    done = build(ROOT / "docs", target)
    assert done.returncode == 0, done.stdout + done.stderr
    return target


def test_every_page_is_there(site: Path) -> None:
    for page in (ROOT / "docs").glob("*.md"):
        assert (site / f"{page.stem}.html").is_file()


def test_no_page_loads_anything_from_the_network(site: Path) -> None:
    for file in (*site.rglob("*.html"), *site.rglob("*.css")):
        text = file.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe)[^>]*\bsrc=\"([^\"]+)\"", text)
        loaded += re.findall(r"<link[^>]*\bhref=\"([^\"]+)\"", text)
        loaded += re.findall(r"(?:url\(|@import )[\"']?([^\"')]+)", text)
        assert not [each for each in loaded if re.match(r"(https?:)?//", each)], file


def test_a_dead_link_fails_the_build(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("__pycache__", "*.md"))
    (tmp_path / "docs/index.md").write_text("# Site\n\n[gone](gone.md)\n")
    done = build(tmp_path / "docs", tmp_path / "site")
    assert done.returncode != 0
    assert "gone.md" in done.stderr


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_search_works_from_the_disk(site: Path, tmp_path: Path) -> None:
    assert CHROMIUM is not None
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}"]
    command += ["--virtual-time-budget=5000", "--dump-dom", f"{(site / 'search.html').as_uri()}?q=sumix"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    found = re.findall(r'<li[^>]*><a href="(\w+)\.html', done.stdout)
    assert {"parameters", "recipes"} <= set(found)
