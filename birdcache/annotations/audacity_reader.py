"""Reading Audacity's label tracks; their format is described in `birdcache.annotations.write`."""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from birdcache.annotations.table import AnnotationTable, names_of_table
from birdcache.annotations.times import MIXED_RULE, mixed, point, seconds
from birdcache.annotations.write import BAND
from birdcache.audio.paths import Bounds
from birdcache.csv_records import read_records, text_problem

SCORED = re.compile(r"(.*) ([01]\.\d\d)")  # a label with a score behind it, as it is written
CALLED = {"file": "file", "start_s": "begin", "end_s": "end", "label": "label"}
RULE = "must be two numbers and a label between tabs; export the labels from Audacity again"
BAND_RULE = "must be two numbers behind its \\, the band of a label; export the labels from Audacity again"


def begins_track(record: Sequence[str]) -> bool:
    """True if the cells are those of a label track's line, and not of a header or of prose."""
    return len(record) > 1 and (record[0] == BAND or _is_time(record[0]))


def read_audacity(path: Path, bounds: Bounds) -> AnnotationTable:
    """Read a label track, with decimal points or commas.

    A PipelineError if the file is missing, out of bounds or in another encoding.

    Parameters
    ----------
    bounds : of the folder that the track's path names its recording from.

    Returns
    -------
    A table with the columns file, start_s, end_s, label and score, indexed by line; bands are left out. Lines that are
    none of a label track are its problems.
    """
    labels: dict[int, tuple[str, ...]] = {}
    problems: dict[str, list[int]] = {}
    for line, record in read_records(path, bounds, tabs=True):
        if not "".join(record).strip():
            continue
        if rule := record if isinstance(record, str) else _problem(record):
            problems.setdefault(rule, []).append(line)
        elif record[0] != BAND:
            label = " ".join(record[2:]).strip()
            scored = SCORED.fullmatch(label)
            labels[line] = (record[0].strip(), record[1].strip(), *(scored.groups() if scored else (label, "")))
    cells = pd.DataFrame(list(labels.values()), columns=["start_s", "end_s", "label", "score"], dtype=str)
    cells.index = pd.Index(list(labels), dtype=int)
    wrong = mixed(cells[["start_s", "end_s"]])
    problems[MIXED_RULE] = list(wrong.index[wrong])
    cells = cells.assign(**{name: cells[name].map(point) for name in ("start_s", "end_s")})
    file: Any = [names_of_table(path, bounds.root)] * len(cells)
    return AnnotationTable(path, cells.assign(file=file), problems, header=False, called=CALLED)


def _problem(record: Sequence[str]) -> str:
    is_band = record[0] == BAND
    numbers = record[1:3] if is_band else record[:2]
    if len(numbers) < 2 or not all(map(_is_time, numbers)):
        return BAND_RULE if is_band else RULE
    return text_problem(record, tabs=True)


def _is_time(text: str) -> bool:
    return not math.isnan(seconds(point(text.strip())))
