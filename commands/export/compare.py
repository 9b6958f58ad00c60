"""Comparison of a bundle and the pipeline on the same files: scores, metrics, core seconds.

W window, K class.
"""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from birdcache.arrays import Floats32, spread
from birdcache.audio.rejected import RejectedAudio
from birdcache.predict.clip_scores import window_ids
from birdcache.predict.predictor import FileScores
from birdcache.progress import Progress
from birdcache.storage import AnyPath, place
from cache import tables
from cache.tables import Col
from train.score.ensemble import Ensemble
from train.score.metrics import window_metrics
from train.score.truth import labelled_soundscapes, read_truth


@dataclass(frozen=True)
class ComparedFiles:
    """Files for the comparison: soundscapes, then recordings from the shortest to the longest."""

    soundscapes: list[AnyPath]
    recordings: list[AnyPath]


@dataclass(frozen=True)
class Measurement:
    """Scores of all files by one predictor, and the time that it takes."""

    finals: list[Floats32]  # (W, K) of each file
    sound_s: float  # of all files but the first, which warms up
    core_s: float  # core seconds for them


def compared_files(count: int) -> ComparedFiles:
    """Up to `count` soundscapes, those with truth first, and `count` recordings of all lengths."""
    soundscapes = tables.SOUNDSCAPES.read()
    with_truth = labelled_soundscapes()
    order = np.argsort([name not in with_truth for name in soundscapes[Col.SOUNDSCAPE]], kind="stable")
    chosen = [place(path) for path in soundscapes[Col.PATH].iloc[order[:count]]]
    audio = tables.AUDIO.read()
    recordings = audio[~audio[Col.PATH].isin(soundscapes[Col.PATH])].sort_values([Col.DURATION_S, Col.PATH])
    return ComparedFiles(chosen, [place(path) for path in spread(list(recordings[Col.PATH]), count)])


def measure(
    files: Sequence[AnyPath],
    score: Callable[[AnyPath], FileScores],
    final: Callable[[Floats32, Sequence[int]], Floats32],
    progress: Progress,
) -> Measurement:
    """Predict each file on one core; time is that of this process and its decoder, however busy the machine is.

    A RejectedAudio if a file can no longer be read.
    """
    finals, sound_s, core_s = [], 0.0, 0.0
    for number, path in enumerate(files):
        begin_s = core_seconds()
        try:
            scores = score(path)
        except RejectedAudio as rejected:
            raise RejectedAudio(rejected.code, rejected.detail, "run `dvc repro` first", rejected.file) from rejected
        finals.append(final(scores.members, [scores.members.shape[1]]))
        if number or len(files) == 1:
            core_s += core_seconds() - begin_s
            sound_s += scores.duration_s
        progress.update()
    return Measurement(finals, sound_s, core_s)


def core_seconds() -> float:
    """Core seconds of this process and, on systems with /proc, of its children."""
    ticks = 0
    for listed in Path("/proc/self/task").glob("*/children"):
        for child in listed.read_text().split():
            with suppress(OSError):  # it has ended
                fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def difference(one: Measurement, other: Measurement) -> npt.NDArray[np.float64]:
    """Absolute differences of all final scores, flattened."""
    return np.abs(np.concatenate(one.finals).astype(np.float64) - np.concatenate(other.finals)).ravel()


def changed_detections(one: Measurement, other: Measurement, above_K: Floats32) -> float:
    """Share of detections, by window and class, in which both differ; these are scores from `above_K` on."""
    detected, others = (np.concatenate(each.finals) >= above_K for each in (one, other))
    return float((detected != others).mean())


def soundscape_metrics(compared: ComparedFiles, measured: Measurement, ensemble: Ensemble) -> dict[str, float]:
    """Metrics over the windows of the soundscapes with truth; empty if there are none."""
    pairs = list(zip(compared.soundscapes, measured.finals, strict=False))
    row_ids = [row_id for path, each_WK in pairs for row_id in window_ids(path.stem, len(each_WK), ensemble.window_s)]
    truth = read_truth(row_ids, ensemble.labels)
    if not truth.known.any():
        return {}
    scores_NK = np.concatenate([each_WK for _, each_WK in pairs])
    return window_metrics(truth.sings[truth.known], scores_NK[truth.known])
