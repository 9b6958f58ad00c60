"""From sections to one HTML file that asks nothing of the network, and the same bytes for the same sections."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

FOLDER = Path(__file__).parent / "templates"
SCRIPTS = tuple(FOLDER / name for name in ("theme.js", "tables.js", "players.js"))
STYLES = (FOLDER.parents[2] / "birdcache/serve/static/base.css", FOLDER / "page.css", FOLDER / "parts.css")


@lru_cache(maxsize=1)
def environment() -> Environment:
    """Jinja's environment: all that is filled in is escaped, and a name that is missing is an error."""
    return Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(sections: dict[str, Any]) -> str:
    """The whole page."""
    script, style = (joined(paths) for paths in (SCRIPTS, STYLES))
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            **sections,
            policy=policy(script),
            style=Markup(style),
            script=Markup(script),
        )
    )


def joined(paths: Iterable[Path]) -> str:
    """The text of some files, one after the other."""
    return "\n".join(path.read_text(encoding="utf-8") for path in paths)


def policy(script: str) -> str:
    """What the browser may do for this page: show what it holds, run this one script, and fetch nothing.

    Source: Content Security Policy Level 3, W3C.
    """
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; media-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
