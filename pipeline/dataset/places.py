r"""Site, date and time of soundscapes: by their names, folders, and what recorders write into their headers.

| recorder | name |
|---|---|
| AudioMoth | `20190904_052000.WAV`, in a folder of the site or recorder; `24F319055FDF2902_20190904_052000.WAV` |
| Song Meter | `MARSH_20190904_052000.wav` |
| BirdCLEF 2021 | `7019_COR_20190904.ogg` |
| BirdCLEF 2026 | `BC2026_Train_0001_S08_20250606_030007.ogg` |

Sources: openacousticdevices.info; the GUANO metadata specification 1.0, guano-md.org.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import pandas as pd

from birdcache.errors import PipelineError
from cache.tables import PLACE, Col
from pipeline.dataset.dates import read_dates

_DAY, _CLOCK = r"(?P<date>(?:19|20)[0-9]{6})", r"(?P<time>[0-9]{6})"
_NAMES = [
    re.compile(form)
    for form in (
        rf"BC[0-9]{{4}}_[A-Za-z]+_[0-9]+_(?P<site>[^_]+)_{_DAY}_{_CLOCK}",
        rf"[0-9]+_(?P<site>[A-Z]+)_{_DAY}",
        rf"(?:(?P<site>.+?)[_-])?{_DAY}[_T-]{_CLOCK}(?:[^0-9].*)?",
    )
]
_COMMENTS = [
    re.compile(form, re.MULTILINE)
    for form in (
        r"Recorded at (?P<time>[0-9:]{8}) (?P<date>[0-9]{2}/[0-9]{2}/[0-9]{4})",  # of AudioMoth: day, month, year
        r"Recorded at .*(?:AudioMoth|deployment) (?P<site>[0-9A-F]{16})",
        r"^Timestamp: *(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})[T ](?P<time>[0-9:]{5,8})",  # of GUANO
        r"^(?:.*\|)?Serial: *(?P<site>\S.*)",
        r"^WA\|Song Meter\|Prefix: *(?P<site>\S.*)",
    )
]
_NO_SITES = re.compile(r"(?:19|20)[0-9]{6}|[Dd]ata")  # folders that recorders make for days, and for all
_TIME = re.compile(r"([01][0-9]|2[0-3])([0-5][0-9])([0-5][0-9])?")


def read_places(
    files: Sequence[str], comments: Sequence[str], pattern: str | None, warn: Callable[[str], None]
) -> pd.DataFrame:
    """Where and when soundscapes were recorded, as far as that is known.

    Parameters
    ----------
    files : their paths inside their folder of soundscapes, without extension.
    comments : in their headers, "" for none.
    pattern : data.soundscape_names, for what it finds anywhere in these paths; it comes first, then the name, the
        folder, and the comment.
    warn : called for names that the pattern does not match, and for days that are none, with counts and an example.

    Returns
    -------
    site, date (YYYY-MM-DD) and time (HH:MM:SS, as the recorder's clock has it), "" where unknown.

    Raises
    ------
    PipelineError
        If the pattern matches none of the names.
    """
    own = re.compile(pattern) if pattern else None
    lost = [file for file in files if own and not own.search(file)]
    if lost and len(lost) == len(files):
        raise PipelineError(
            f"data.soundscape_names matches none of {len(files)} soundscapes, first {lost[0]!r}; correct it in "
            "params.yaml, or set it to null"
        )
    if lost:
        warn(f"{len(lost)} of {len(files)} soundscapes do not match data.soundscape_names, first {lost[0]!r}")
    rows = [_place(*each, own) for each in zip(files, comments, strict=True)]
    table = pd.DataFrame(rows, columns=list(PLACE), dtype=str).fillna("")
    dates = read_dates(table[Col.DATE], lambda text: warn(f"soundscapes: {text}"))
    return table.assign(date=dates, time=table[Col.TIME].map(_clock), site=table[Col.SITE].str.strip())


def _place(file: str, comment: str, own: re.Pattern[str] | None) -> dict[str, str]:
    *folders, stem = file.split("/")
    found = {name: text for form in _COMMENTS for name, text in _groups(form.search(comment)).items()}
    if "/" in found.get(Col.DATE, ""):
        found[Col.DATE] = "-".join(reversed(found[Col.DATE].split("/")))
    if sites := [folder for folder in folders if not _NO_SITES.fullmatch(folder)]:
        found[Col.SITE] = sites[-1]
    found |= next(filter(None, (_groups(form.fullmatch(stem)) for form in _NAMES)), {})
    return found | _groups(own.search(file) if own else None)


def _groups(match: re.Match[str] | None) -> dict[str, str]:
    """What the groups of a match hold that took part in it."""
    return {name: text for name, text in match.groupdict().items() if text} if match else {}


def _clock(text: str) -> str:
    """A time of day as HH:MM:SS, "" if it is none."""
    found = _TIME.fullmatch(re.sub(r"\D", "", text))
    return ":".join((found[1], found[2], found[3] or "00")) if found else ""
