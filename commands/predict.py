"""`birdcache predict`: any audio file -> a CSV of detections, by the same front end and models as the stages."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from cache.codec import Codec
from commands.errors import CommandError
from pipeline.audio import AUDIO_EXTENSIONS, read_waveform
from pipeline.errors import PipelineError
from pipeline.frontend import spectrogram, value_range
from progress import Progress
from schema.views import MelView, PcenView
from train.checkpoint import SIDECAR, Sidecar, read_model, read_sidecar
from train.inference import Floats, Scorer, window_clips, windows_in
from train.model import Classifier, choose_device
from train.residence import ArrayFrames

COLUMNS = ("file", "start_s", "end_s", "label", "score")
BATCH = 64


@dataclass(frozen=True)
class Model:
    """A trained model and what it is."""

    sidecar: Sidecar
    network: Classifier


def run(arguments: argparse.Namespace) -> None:
    """Score every file window by window and write the detections; files that cannot be read are listed.

    Raises
    ------
    CommandError
        If there is no model or no audio file, or if files were refused (after all the others were written).
    """
    device = choose_device(arguments.device)
    models = load_models(arguments.model, device)
    files = list_files(arguments.files)
    refused = []
    with (
        arguments.out.open("w", newline="", encoding="utf-8") as out,
        Progress(len(files), "predict", "files") as progress,
    ):
        writer = csv.writer(out)
        writer.writerow(COLUMNS)
        for path in files:
            try:
                writer.writerows(detections(path, models, arguments.window, arguments.threshold, device))
            except PipelineError as error:
                refused.append(str(error))
            progress.update()
    print(f"{arguments.out}: detections in {len(files) - len(refused)} files by {len(models)} models")
    if refused:
        print("\n".join(refused), file=sys.stderr)
        raise CommandError(f"{len(refused)} of {len(files)} files could not be read; the others are in {arguments.out}")


def load_models(folder: Path, device: torch.device) -> list[Model]:
    """All trained models in a folder and below it.

    Raises
    ------
    CommandError
        If there is none, or if they know different labels.
    """
    folders = sorted(path.parent for path in folder.rglob(SIDECAR))
    if not folders:
        raise CommandError(
            f"{folder}: holds no trained model ({SIDECAR}); train with `dvc repro` or name another folder"
        )
    sidecars = [read_sidecar(each) for each in folders]
    for other, sidecar in zip(folders, sidecars, strict=True):
        if sidecar.labels != sidecars[0].labels:
            raise CommandError(f"{other}: knows other labels than {folders[0]}; name a folder of one data set")
    return [
        Model(sidecar, read_model(each, sidecar, sidecar.member.recipe.weights, device))
        for each, sidecar in zip(folders, sidecars, strict=True)
    ]


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


def detections(
    path: Path, models: Sequence[Model], window_s: float, threshold: float, device: torch.device
) -> Iterator[tuple[str, str, str, str, str]]:
    """Rows (file, start_s, end_s, label, score) of one file, in order of time, then of score."""
    scores_NK, duration_s = score_file(path, models, window_s, device)
    labels = models[0].sidecar.labels
    for window, scores_K in enumerate(scores_NK):
        end_s = min((window + 1) * window_s, duration_s)
        for label in np.argsort(-scores_K, kind="stable"):
            if scores_K[label] >= threshold:
                yield str(path), f"{window * window_s:g}", f"{end_s:g}", labels[label], f"{scores_K[label]:.4f}"


def score_file(path: Path, models: Sequence[Model], window_s: float, device: torch.device) -> tuple[Floats, float]:
    """Mean scores of all models for each window of a file, (N, K), and the file's duration in seconds."""
    stored: dict[str, tuple[Floats, float]] = {}
    scores = []
    for model in models:
        view, recipe = model.sidecar.member.view, model.sidecar.member.recipe
        key = view.model_dump_json()
        if key not in stored:
            stored[key] = stored_values(path, view)
        values_TM, duration_s = stored[key]
        windows = windows_in(duration_s, window_s)
        clips = window_clips(0, len(values_TM), windows, view, window_s, view.frames(recipe.clip_s))
        frames = ArrayFrames(values_TM, value_range(view)[0], device)
        scores.append(Scorer(model.network, frames, view, recipe, device).scores(clips, BATCH))
    return np.mean(scores, axis=0), duration_s


def stored_values(path: Path, view: MelView | PcenView) -> tuple[Floats, float]:
    """What a store of this view would give back for a file, (T, M), and the file's duration in seconds."""
    waveform_S = read_waveform(path, view.sample_rate_hz)
    codec = Codec(view.dtype, *value_range(view))
    return codec.decode(codec.encode(spectrogram(waveform_S, view))), len(waveform_S) / view.sample_rate_hz
