"""Outputs: tables of detections and of hours, Raven's and Audacity's files, a submission to Kaggle."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property, partial
from itertools import chain
from pathlib import Path

import numpy as np

from birdcache.annotations.write import Annotation, write_audacity, write_raven
from birdcache.arrays import Floats32
from birdcache.audio.recorded import comment_of, noted_place
from birdcache.files import write_durably, write_rows
from birdcache.predict.clip_scores import window_ids
from birdcache.predict.predictor import Facts, Predictor
from birdcache.predict.submission import SubmissionForm
from birdcache.text import counted, seconds_text

DETECTIONS, SUBMISSION, HOURS, PARQUET = "detections.csv", "submission.csv", "hours.csv", "detections.parquet"
SUFFIXES = {"raven": ".selections.txt", "audacity": ".labels.txt"}
COLUMNS = ("file", "start_s", "end_s", "label", "score")
HOUR_COLUMNS = ("date", "hour", "recorded_s", "label", "windows")
_BEGAN = re.compile(r"(?<![0-9])((?:19|20)[0-9]{6})[_T-]([0-9]{6})(?![0-9])")  # as recorders write it into names


@dataclass(frozen=True)
class Scored:
    """A file with its final scores, (W, K)."""

    path: Path
    name: Path
    duration_s: float
    scores: Floats32

    @cached_property
    def began(self) -> str:
        """Its name, then day and time as its header tells them, in digits: the first of these are when it began."""
        noted = noted_place(comment_of(self.path))
        digits = (re.sub(r"\D", "", noted.get(name, "")) for name in ("date", "time"))
        return f"{self.path.stem} {'_'.join(digits)}"


Files = Callable[[], Iterable[Scored]]


@dataclass(frozen=True)
class Wanted:
    """Facts for every format: labels and windows; lowest scores of detections, (K,); the form of a submission."""

    facts: Facts
    above: Floats32
    form: SubmissionForm
    merge: bool = False  # whether detections of a label that follow each other are one
    shortest_s: float = 0.0  # of a detection

    @staticmethod
    def of(predictor: Predictor, threshold: float | None, form: SubmissionForm | None = None) -> Wanted:
        """One threshold for all classes, or None for each class's own; a form, or None for that of the models' data."""
        facts, above_K = predictor.facts, predictor.called_above()
        every_K = above_K if threshold is None else np.full_like(above_K, threshold)
        return Wanted(facts, every_K, form or facts.submission)

    def detections(self, file: Scored) -> Iterator[Annotation]:
        """What is detected, in order of time, then of score."""
        found = merged(self.windows(file)) if self.merge else self.windows(file)
        return (each for each in found if each.end_s - each.begin_s >= self.shortest_s)

    def all(self, files: Files) -> Iterator[tuple[Scored, Annotation]]:
        """The detections of all files, each with its file."""
        return ((file, each) for file in files() for each in self.detections(file))

    def windows(self, file: Scored) -> Iterator[Annotation]:
        """Windows and classes that reach their threshold, not merged, whatever their length."""
        facts, band, names = self.facts, (self.facts.low_hz, self.facts.high_hz), (file.path.name, str(file.path))
        for window, scores_K in enumerate(file.scores):
            begin_s, end_s = window * facts.window_s, min((window + 1) * facts.window_s, file.duration_s)
            for label in np.argsort(-scores_K, kind="stable"):
                if scores_K[label] >= self.above[label]:
                    yield Annotation(begin_s, end_s, facts.labels[label], *band, float(scores_K[label]), *names)


def merged(found: Iterable[Annotation]) -> list[Annotation]:
    """Detections of a label that follow each other as one, with the highest of their scores; in order of begin."""
    runs: list[Annotation] = []
    for each in sorted(found, key=lambda each: (each.label, each.begin_s)):
        if runs and (runs[-1].label, runs[-1].end_s) == (each.label, each.begin_s):
            runs[-1] = replace(runs[-1], end_s=each.end_s, score=max(runs[-1].score or 0, each.score or 0))
        else:
            runs.append(each)
    return sorted(runs, key=lambda run: (run.begin_s, -(run.score or 0)))


def write_csv(out: Path, files: Files, wanted: Wanted) -> str:
    """detections.csv: a row for each detection in each file."""
    rows = (
        (str(file.path), seconds_text(each.begin_s), seconds_text(each.end_s), each.label, f"{each.score:.4f}")
        for file, each in wanted.all(files)
    )
    return f"{out / DETECTIONS}: {counted(write_rows(out / DETECTIONS, COLUMNS, rows), 'detections')}"


def write_tables(
    kind: str, write: Callable[[Path, Iterable[Annotation]], None], out: Path, files: Files, wanted: Wanted
) -> str:
    """<kind>/<file> and a suffix: a table for each file, of no rows where nothing was detected."""
    count = 0
    for file in files():
        write(table_path(out, kind, file.name), wanted.detections(file))
        count += 1
    return f"{out / kind}: {counted(count, 'files')} *{SUFFIXES[kind]}"


def table_path(out: Path, kind: str, name: Path) -> Path:
    """The path of one file's table; `name` is that of its results."""
    return out / kind / name.with_name(name.name + SUFFIXES[kind])


def forget_tables(out: Path, names: Iterable[Path]) -> None:
    """Remove tables that an earlier run wrote for files that are refused now."""
    for name in names:
        for kind in SUFFIXES:
            with suppress(OSError):
                table_path(out, kind, name).unlink()


def write_submission(out: Path, files: Files, wanted: Wanted) -> str:
    """submission.csv, as stage `submit` writes it; windows are `<file without extension>_<second at which it ends>`."""
    ids = ((file, window_ids(file.path.stem, len(file.scores), wanted.facts.window_s)) for file in files())
    rows = (wanted.form.rows(each, file.scores, wanted.facts.labels, wanted.above) for file, each in ids)
    count = write_rows(out / SUBMISSION, wanted.form.columns, chain.from_iterable(rows))
    return f"{out / SUBMISSION}: {counted(count, 'rows')}"


def write_hours(out: Path, files: Files, wanted: Wanted) -> str:
    """hours.csv: of each hour in which windows begin, how much was recorded, and in how many each label is."""
    recorded_s: dict[tuple[str, str], float] = defaultdict(float)
    counts: Counter[tuple[tuple[str, str], str]] = Counter()
    for file in files():
        for begin_s in np.arange(len(file.scores)) * wanted.facts.window_s:
            recorded_s[hour_of(file, begin_s)] += min(wanted.facts.window_s, file.duration_s - begin_s)
        counts.update((hour_of(file, each.begin_s), each.label) for each in wanted.windows(file))
    silent = [(hour, "") for hour in recorded_s.keys() - {hour for hour, _ in counts}]
    found = sorted([*counts, *silent])
    rows = ((*hour, seconds_text(recorded_s[hour]), label, str(counts[hour, label])) for hour, label in found)
    write_rows(out / HOURS, HOUR_COLUMNS, rows)
    return f"{out / HOURS}: {counted(len(recorded_s), 'hours')}"


def hour_of(file: Scored, begin_s: float) -> tuple[str, str]:
    """Day and hour at a time in a file, by when it began as its name or its header says; both "" if neither does."""
    for day, clock in _BEGAN.findall(file.began):
        with suppress(ValueError):  # a 31st of June
            time = datetime.strptime(day + clock, "%Y%m%d%H%M%S") + timedelta(seconds=begin_s)
            return f"{time:%Y-%m-%d}", f"{time:%H}"
    return "", ""


def write_parquet(out: Path, files: Files, wanted: Wanted) -> str:
    """detections.parquet: the columns of detections.csv, with numbers as such."""
    import pandas as pd

    rows = [(str(file.path), each.begin_s, each.end_s, each.label, each.score) for file, each in wanted.all(files)]
    kinds = dict(zip(COLUMNS, (str, float, float, str, float), strict=True))
    table = pd.DataFrame(rows, columns=list(COLUMNS)).astype(kinds)
    write_durably(out / PARQUET, table.to_parquet(index=False))
    return f"{out / PARQUET}: {counted(len(rows), 'detections')}"


WRITERS: dict[str, Callable[[Path, Files, Wanted], str]] = {
    "csv": write_csv,
    "raven": partial(write_tables, "raven", write_raven),
    "audacity": partial(write_tables, "audacity", write_audacity),
    "kaggle": write_submission,
    "hours": write_hours,
    "parquet": write_parquet,
}
