"""Site, date and time of soundscapes: by their names and folders, and by what recorders write into headers.

Sources: openacousticdevices.info (AudioMoth); BirdCLEF 2021 and 2026.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import pandas as pd

from birdcache.audio.recorded import noted_place
from birdcache.joins import join_warnings
from cache.tables import PLACE, Col
from pipeline.dataset.dates import read_dates

_DAY, _CLOCK = r"(?P<date>(?:19|20)[0-9]{6})", r"(?P<time>[0-9]{6})"
_NAMES = (
    rf"BC[0-9]{{4}}_[A-Za-z]+_[0-9]+_(?P<site>[^_]+)_{_DAY}_{_CLOCK}",
    rf"[0-9]+_(?P<site>[A-Z]+)_{_DAY}",  # BirdCLEF 2021
    rf"(?:(?P<site>.+?)[_-])?{_DAY}[_T-]{_CLOCK}(?:[^0-9].*)?",  # AudioMoth, Song Meter
)
_NO_SITES = re.compile(r"(?:19|20)[0-9]{6}|[Dd]ata")  # folders that recorders make for days, and for all
_TIME = re.compile(r"([01][0-9]|2[0-3])([0-5][0-9])([0-5][0-9])?")


def read_places(
    files: Sequence[str], comments: Sequence[str], pattern: str | None, warn: Callable[[str], None]
) -> pd.DataFrame:
    """Where and when soundscapes were recorded: site, date (YYYY-MM-DD) and time (HH:MM:SS), "" where unknown.

    A PipelineError if the pattern matches none of the names.

    Parameters
    ----------
    files, comments : their paths inside their folder, without extension, and what their headers say, "" for nothing.
    pattern : data.soundscape_names, for what it finds in these paths; then come name, folder and comment.
    warn : called for names that the pattern does not match, and for days that are none.
    """
    own = re.compile(pattern or "")
    matches, hint = [bool(own.search(file)) for file in files], "correct it in params.yaml, or set it to null"
    for text in join_warnings("soundscapes", files, matches, [own.pattern], "matched by data.soundscape_names", hint):
        warn(text)
    rows = [_place(*each, own) for each in zip(files, comments, strict=True)]
    table = pd.DataFrame(rows, columns=list(PLACE), dtype=str).fillna("")
    dates = read_dates(table[Col.DATE], lambda text: warn(f"soundscapes: {text}"))
    return table.assign(date=dates, time=table[Col.TIME].map(_clock), site=table[Col.SITE].str.strip())


def _place(file: str, comment: str, own: re.Pattern[str]) -> dict[str, str]:
    *folders, stem = file.split("/")
    found = noted_place(comment)
    found |= {name: folder for folder in folders if not _NO_SITES.fullmatch(folder) for name in [Col.SITE]}
    found |= next(filter(None, (_groups(re.fullmatch(form, stem)) for form in _NAMES)), {})
    return found | _groups(own.search(file))


def _groups(match: re.Match[str] | None) -> dict[str, str]:
    return {name: text for name, text in match.groupdict().items() if text} if match else {}


def _clock(text: str) -> str:
    """A time of day as HH:MM:SS, "" if it is none."""
    found = _TIME.fullmatch(re.sub(r"\D", "", text))
    return ":".join((found[1], found[2], found[3] or "00")) if found else ""
