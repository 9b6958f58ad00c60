"""Scores a Kaggle competition's hidden soundscapes within a time budget, resuming nothing. W window, K class.

`python -m birdcache.kaggle.run BUNDLE DATA MINUTES PROCESSES` writes submission.csv; DATA is the competition's folder.
"""

import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from birdcache.arrays import Floats32
from birdcache.audio.decoder import decoder
from birdcache.audio.rejected import RejectedAudio, unexpected
from birdcache.audio.suffixes import is_recording
from birdcache.bundle.read import open_bundle
from birdcache.bundle.scores import BundlePredictor
from birdcache.errors import report_problems
from birdcache.files import write_durably
from birdcache.predict.command import submission_form
from birdcache.predict.outputs import SUBMISSION, Scored, Wanted, write_submission
from birdcache.predict.postprocess import windows_in
from birdcache.predict.predictor import Facts, score_all_the_same
from birdcache.predict.submission import SAMPLE
from birdcache.progress import Progress
from birdcache.text import printable

HIDDEN, USUAL_FILES, USUAL_S = "test_soundscapes", 700, 60.0
TRIED = 3  # files of each process, after which the whole time is estimated
Outcome = Floats32 | RejectedAudio
_opened: dict[str, BundlePredictor] = {}  # of a process that scores


def run(bundle: Path, data: Path, minutes: float, processes: int, out: Path = Path()) -> None:
    """Score data/test_soundscapes; while that is empty, time a few other soundscapes and copy the sample submission."""
    end_s = time.monotonic() + 60 * minutes
    os.environ["OMP_NUM_THREADS"] = "1"  # of each process
    predictor = BundlePredictor(open_bundle(bundle, "cpu"))
    print(printable(predictor.facts.summary[0]))
    hidden = recordings_in(data, HIDDEN)
    form = submission_form(data / SAMPLE, predictor.facts, hidden)
    if not hidden:
        score_within(bundle, recordings_in(data, "*_soundscapes")[: TRIED * processes], processes, end_s, USUAL_FILES)
        write_durably(out / SUBMISSION, (data / SAMPLE).read_bytes())
        print(f"{data / HIDDEN}: holds no recording yet; {SUBMISSION} is a copy of {SAMPLE}")
        return
    found = score_within(bundle, hidden, processes, end_s, len(hidden))
    scored = list(with_neutral(hidden, found, predictor.facts))
    print(write_submission(out, lambda: scored, Wanted.of(predictor, None, form)))


def recordings_in(data: Path, folders: str) -> list[Path]:
    """Recordings in folders of this name, in order."""
    return sorted(path for folder in data.glob(folders) for path in folder.iterdir() if is_recording(path))


def score_within(bundle: Path, files: Sequence[Path], processes: int, end_s: float, total: int) -> dict[Path, Outcome]:
    """Final scores, (W, K), of files reached by `end_s`, or why they have none; says how long `total` files take."""
    found: dict[Path, Outcome] = {}
    pool = multiprocessing.get_context("spawn").Pool(processes, _open, [bundle])
    # whoever leaves `pool` ends its processes, whatever they are doing
    with pool, Progress(len(files), "kaggle", "files") as progress, suppress(multiprocessing.TimeoutError):
        outcomes = pool.imap_unordered(_score, files)
        for _ in files:
            path, outcome = outcomes.next(max(end_s - time.monotonic(), 0.0))
            found[path] = outcome
            progress.update()
            if len(found) == processes:
                started_s = time.monotonic()
            if len(found) == TRIED * processes:
                minutes = (time.monotonic() - started_s) / (len(found) - processes) * total / 60
                progress.say(f"estimate: {minutes:.1f} min for {total} files, of {(end_s - started_s) / 60:.1f} min")
    return found


def _open(bundle: Path) -> None:
    _opened["bundle"] = BundlePredictor(open_bundle(bundle, "cpu"))


def _score(path: Path) -> tuple[Path, Outcome]:
    predictor = _opened["bundle"]
    try:
        scores, _ = score_all_the_same(predictor, path, Path(), lambda _: None)
        return path, predictor.final(scores.members, [scores.members.shape[1]])
    except RejectedAudio as rejected:
        return path, rejected
    except (OSError, MemoryError) as error:
        return path, unexpected(error, str(path))


def with_neutral(files: Sequence[Path], found: Mapping[Path, Outcome], facts: Facts) -> Iterator[Scored]:
    """Files with their scores; each one without is listed, and its windows get the mean scores of all others.

    Windows with a class's mean score rank neither high nor low.
    """
    scored = [each for each in found.values() if not isinstance(each, RejectedAudio)]
    neutral_K = np.concatenate(scored).mean(axis=0) if scored else np.zeros(len(facts.labels), np.float32)
    usual = max(map(len, scored), default=windows_in(USUAL_S, facts.window_s))
    for path in files:
        scores_WK = found.get(path)
        if not isinstance(scores_WK, np.ndarray):
            if scores_WK:
                print(printable(f"neutral rows for {scores_WK}"))
            windows = usual
            with suppress(RejectedAudio):
                windows = windows_in(decoder().info(path).duration_s, facts.window_s)
            scores_WK = np.tile(neutral_K, (windows, 1))
        yield Scored(path, path, 0.0, scores_WK)
    print(f"{len(scored)} of {len(files)} files are scored; {len(files) - len(found)} were not reached in time")


if __name__ == "__main__":
    given = sys.argv[1:]
    report_problems(lambda: run(Path(given[0]), Path(given[1]), float(given[2]), int(given[3])))
