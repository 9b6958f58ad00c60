"""The HTML file: rendering of the sections within a size budget, and the browser's policy for it."""

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from birdcache.templates import environment
from commands.report.media import Piece

WORDS_BYTES = 4000  # text of a piece, without its pictures and sound
FOLDER = Path(__file__).parent / "templates"
SCRIPTS = tuple(FOLDER / name for name in ("theme.js", "tables.js", "players.js"))
STYLES = (FOLDER.parents[2] / "birdcache/serve/static/base.css", FOLDER / "page.css", FOLDER / "parts.css")


@dataclass(frozen=True)
class Filled:
    """The pieces of each list that fit, and the names of the lists that had more."""

    taken: dict[str, list[Piece]]
    cut: frozenset[str]


def fill(queues: Mapping[str, Iterator[Piece]], room_bytes: int) -> Filled:
    """Take pieces in turn, one from each queue, until it is empty or its next piece does not fit.

    Pieces are made on demand, so at most one per queue is made in vain.
    """
    taken: dict[str, list[Piece]] = {name: [] for name in queues}
    open_queues, cut = dict(queues), set()
    while open_queues:
        for name, queue in list(open_queues.items()):
            piece = next(queue, None)
            if piece is not None and piece["bytes"] + WORDS_BYTES <= room_bytes:
                taken[name].append(piece)
                room_bytes -= piece["bytes"] + WORDS_BYTES
            else:
                cut |= {name} if piece is not None else set()
                del open_queues[name]
    return Filled(taken, frozenset(cut))


def render(sections: dict[str, Any]) -> str:
    """The HTML of the whole page."""
    script, page = joined(SCRIPTS), environment(FOLDER).get_template("page.html.j2")
    return page.render(**sections, policy=policy(script), style=Markup(joined(STYLES)), script=Markup(script))


def joined(paths: Iterable[Path]) -> str:
    """The joined texts of some files."""
    return "\n".join(path.read_text(encoding="utf-8") for path in paths)


def policy(script: str) -> str:
    """Content security policy: the browser may run this one script and fetches nothing.

    Source: Content Security Policy Level 3, W3C.
    """
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; media-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
