"""`birdcache predict`: any audio file -> a CSV of detections, by the front end, models and functions of the stages."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from commands.errors import CommandError
from commands.inference.trained import Ready, make_ready
from commands.inference.trained_scores import FileScores, score_file
from pipeline.audio import AUDIO_EXTENSIONS
from pipeline.errors import PipelineError
from progress import Progress
from train.network.model import choose_device
from train.scoring.inference import Floats

COLUMNS = ("file", "start_s", "end_s", "label", "score")


def run(arguments: argparse.Namespace) -> None:
    """Score every file window by window and write the detections; files that cannot be read are listed.

    Raises
    ------
    CommandError
        If there is no model or no audio file, or if files were refused (after all the others were written).
    """
    device = choose_device(arguments.device)
    ready = make_ready(arguments.model, arguments.ensemble, arguments.window, device)
    files = list_files(arguments.files)
    above_K = ready.above(arguments.threshold)
    refused: list[str] = []
    print("\n".join(ready.said))
    with (
        arguments.out.open("w", newline="", encoding="utf-8") as out,
        Progress(len(files), "predict", "files") as progress,
    ):
        writer = csv.writer(out)
        writer.writerow(COLUMNS)
        for group in grouped(scored(files, ready, refused, progress), together=ready.ensemble.kind == "rank"):
            writer.writerows(detections(group, ready, above_K))
    print(f"{arguments.out}: detections in {len(files) - len(refused)} files by {ready.models} models")
    if refused:
        print("\n".join(refused), file=sys.stderr)
        raise CommandError(f"{len(refused)} of {len(files)} files could not be read; the others are in {arguments.out}")


def list_files(paths: Sequence[Path]) -> list[Path]:
    """The files, and the audio files in the folders.

    Raises
    ------
    CommandError
        If a path does not exist, or there is no audio file at all.
    """
    if missing := [str(path) for path in paths if not path.exists()]:
        raise CommandError(f"{', '.join(missing)}: no such file or folder")
    found = [each for path in paths for each in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    files = [path for path in found if path.is_file() and (path in paths or path.suffix.lower() in AUDIO_EXTENSIONS)]
    if not files:
        raise CommandError(f"{', '.join(map(str, paths))}: hold no audio file ({', '.join(AUDIO_EXTENSIONS)})")
    return files


def scored(files: Sequence[Path], ready: Ready, refused: list[str], progress: Progress) -> Iterator[FileScores]:
    """What the members say of each file; those that cannot be read are added to `refused`."""
    for path in files:
        try:
            yield score_file(path, ready)
        except PipelineError as error:
            refused.append(str(error))
        progress.update()


def grouped(files: Iterator[FileScores], together: bool) -> Iterator[list[FileScores]]:
    """Files whose windows are blended at once: each alone, or all `together`, as a mean of ranks needs it."""
    if together:
        yield list(files)
    else:
        yield from ([each] for each in files)


def detections(files: Sequence[FileScores], ready: Ready, above_K: Floats) -> Iterator[tuple[str, str, str, str, str]]:
    """Rows (file, start_s, end_s, label, score), in order of file and time, then of score."""
    if not files:
        return
    window_s, labels = ready.ensemble.window_s, ready.ensemble.labels
    windows = [each.members.shape[1] for each in files]
    final_WK = ready.ensemble.final(np.concatenate([each.members for each in files], axis=1), windows)
    for each, scores_WK in zip(files, np.split(final_WK, np.cumsum(windows)[:-1]), strict=True):
        for window, scores_K in enumerate(scores_WK):
            end_s = min((window + 1) * window_s, each.duration_s)
            for label in np.argsort(-scores_K, kind="stable"):
                if scores_K[label] >= above_K[label]:
                    yield (
                        str(each.path),
                        f"{window * window_s:g}",
                        f"{end_s:g}",
                        labels[label],
                        f"{scores_K[label]:.4f}",
                    )
