"""Outputs: a CSV file of detections, Raven's and Audacity's files, a submission to Kaggle."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from birdcache.annotations.write import Annotation, write_audacity, write_raven
from birdcache.arrays import Floats32
from birdcache.files import write_rows
from birdcache.predict.clip_scores import window_ids
from birdcache.predict.predictor import Facts, Predictor
from birdcache.predict.submission import SubmissionForm
from birdcache.text import seconds_text

FORMATS = ("csv", "raven", "audacity", "kaggle")
DETECTIONS, SUBMISSION = "detections.csv", "submission.csv"
SUFFIXES = {"raven": ".selections.txt", "audacity": ".labels.txt"}
COLUMNS = ("file", "start_s", "end_s", "label", "score")


@dataclass(frozen=True)
class Scored:
    """A file with its final scores, (W, K)."""

    path: Path
    name: Path
    duration_s: float
    scores: Floats32


@dataclass(frozen=True)
class Wanted:
    """Facts for every format: labels and windows; lowest scores of detections, (K,); the form of a submission."""

    facts: Facts
    above: Floats32
    form: SubmissionForm

    @staticmethod
    def of(predictor: Predictor, threshold: float | None, form: SubmissionForm | None = None) -> Wanted:
        """One threshold for all classes, or None for each class's own; a form, or None for that of the models' data."""
        facts, above_K = predictor.facts, predictor.called_above()
        every_K = above_K if threshold is None else np.full_like(above_K, threshold)
        return Wanted(facts, every_K, form or facts.submission)

    def detections(self, file: Scored) -> Iterator[Annotation]:
        """Windows and classes that reach their threshold, in order of time, then of score."""
        facts, band, names = self.facts, (self.facts.low_hz, self.facts.high_hz), (file.path.name, str(file.path))
        for window, scores_K in enumerate(file.scores):
            begin_s, end_s = window * facts.window_s, min((window + 1) * facts.window_s, file.duration_s)
            for label in np.argsort(-scores_K, kind="stable"):
                if scores_K[label] >= self.above[label]:
                    yield Annotation(begin_s, end_s, facts.labels[label], *band, float(scores_K[label]), *names)


Files = Callable[[], Iterable[Scored]]


def write_csv(out: Path, files: Files, wanted: Wanted) -> str:
    """detections.csv: a row for each detection in each file."""
    count = write_rows(out / DETECTIONS, COLUMNS, (row for file in files() for row in detection_rows(file, wanted)))
    return f"{out / DETECTIONS}: {count} detections"


def detection_rows(file: Scored, wanted: Wanted) -> Iterator[tuple[str, str, str, str, str]]:
    """Rows of detections.csv."""
    for each in wanted.detections(file):
        begin, end = seconds_text(each.begin_s), seconds_text(each.end_s)
        yield str(file.path), begin, end, each.label, f"{each.score:.4f}"


def write_tables(
    kind: str, write: Callable[[Path, Iterable[Annotation]], None], out: Path, files: Files, wanted: Wanted
) -> str:
    """<kind>/<file> and a suffix: a table for each file, of no rows where nothing was detected."""
    count = 0
    for file in files():
        write(table_path(out, kind, file.name), wanted.detections(file))
        count += 1
    return f"{out / kind}: {count} files *{SUFFIXES[kind]}"


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
    """submission.csv, in the form that is wanted, as stage `submit` writes it."""
    rows = (row for file in files() for row in submission_rows(file, wanted))
    count = write_rows(out / SUBMISSION, wanted.form.columns, rows)
    return f"{out / SUBMISSION}: {count} rows"


def submission_rows(file: Scored, wanted: Wanted) -> Iterator[list[str]]:
    """Rows of a submission, of windows that are called `<file without extension>_<second at which the window ends>`."""
    row_ids = window_ids(file.path.stem, len(file.scores), wanted.facts.window_s)
    return wanted.form.rows(row_ids, file.scores, wanted.facts.labels, wanted.above)


WRITERS: dict[str, Callable[[Path, Files, Wanted], str]] = {
    "csv": write_csv,
    "raven": partial(write_tables, "raven", write_raven),
    "audacity": partial(write_tables, "audacity", write_audacity),
    "kaggle": write_submission,
}
