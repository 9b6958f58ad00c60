"""Stage `report`: reports/report.html, a page with pictures and sounds."""

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from birdcache.errors import run_stage
from birdcache.files import write_durably, writing
from birdcache.params import load as parameters
from birdcache.params.model import Params
from cache.csv_files import write_csv
from commands.report.augmentations import augmentation_examples
from commands.report.clips import gallery, mistakes, unsure
from commands.report.data_set import data_set
from commands.report.media import Piece
from commands.report.quality import quality
from commands.report.results import PipelineResults, read_results
from commands.report.timelines import activity, by_hour, strips, timelines
from commands.report.training import training
from train.paths import REPORTS

PAGE = REPORTS / "report.html"
MB = 1e6
WORDS_BYTES = 4000  # text of a piece, without its pictures and sound
FOLDER = Path(__file__).parent / "templates"
SCRIPTS = tuple(FOLDER / name for name in ("theme.js", "tables.js", "players.js"))
STYLES = (FOLDER.parents[2] / "birdcache/page/site/base.css", FOLDER / "page.css", FOLDER / "parts.css")


def main() -> None:
    """Write reports/report.html, and the tables that `dvc plots` draws."""
    params = parameters.load()
    results = read_results()
    rare_below, counted = params.evaluate.rare_below, activity(results)
    sections: dict[str, Any] = {  # without pictures and sounds
        "results": results,
        "data": data_set(results, rare_below),
        "quality": quality(results, rare_below, params.report.resamples),
        "training": training(results),
        "by_hour": by_hour(counted, results.names),
        "budget_mb": params.report.budget_mb,
        "species": params.predict.species,
    }
    page = fitted(sections, results, params).encode()
    with writing(PAGE):
        write_durably(PAGE, page)
    write_csv(sections["training"]["curves"], REPORTS / "trainings.csv", "%.6g")
    write_csv(sections["quality"]["bins"], REPORTS / "calibration.csv", "%.4f")
    write_csv(counted, REPORTS / "activity.csv")
    print(f"{PAGE}: {len(page) / MB:.1f} MB; open it in a browser; it needs no network")
    if len(page) > params.report.budget_mb * MB:
        print(f"this exceeds report.budget_mb = {params.report.budget_mb:g}: tables and charts are never left out")


def fitted(sections: dict[str, Any], results: PipelineResults, params: Params) -> str:
    """The page with as many pictures and sounds as its budget allows."""
    nothing = Filled({name: [] for name in pieces(results, params)}, frozenset())
    bare = len(render(sections | {"pieces": nothing, "size_mb": 0.0}).encode())
    filled = fill(pieces(results, params), round(params.report.budget_mb * MB) - bare)
    sections = sections | {"pieces": filled}
    return render(sections | {"size_mb": len(render(sections | {"size_mb": 0.0}).encode()) / MB})


def pieces(results: PipelineResults, params: Params) -> dict[str, Any]:
    """Pictures and sounds by section, made on demand, in the order of their priority."""
    report = params.report
    return {
        "seen": augmentation_examples(results, params.machine),
        "mistakes": mistakes(results, report.clips, report.clip_s),
        "unsure": unsure(results, report.clips, report.clip_s),
        "timelines": timelines(results, report.soundscapes, report.soundscape_s),
        "strips": strips(results),
        "gallery": gallery(results, report.gallery, report.clip_s),
    }


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
    script, page = joined(SCRIPTS), templates().get_template("page.html.j2")
    return page.render(**sections, policy=policy(script), style=Markup(joined(STYLES)), script=Markup(script))


@cache
def templates() -> Environment:
    """The templates: values are escaped (by default, Jinja escapes nothing), and missing names are errors."""
    loader = FileSystemLoader(FOLDER)
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


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


if __name__ == "__main__":
    run_stage(main)
