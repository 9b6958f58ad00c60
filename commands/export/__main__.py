"""Stage `export`: the ensemble as a bundle, measured beside the pipeline. Fails if they disagree."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from birdcache.arrays import Floats32
from birdcache.bundle.format import DESCRIPTION, MODEL, SUFFIX, Description
from birdcache.bundle.read import Bundle, open_session
from birdcache.bundle.scores import BundlePredictor
from birdcache.errors import CommandError, run_stage
from birdcache.files import write_text
from birdcache.params import load as parameters
from birdcache.params.export import ExportParams
from birdcache.progress import Progress
from cache.csv_files import write_csv
from commands.export.card import card, label_table
from commands.export.choose import looks_of, ready_for_export
from commands.export.compare import Compared, Measured, compared_files, difference, measure, soundscape_metrics
from commands.export.describe import describe, requirements_text, write_sums
from commands.export.graph import EnsembleGraph
from commands.export.onnx_file import export_graph
from commands.export.quantise import quantise
from commands.export.summary import PIPELINE, Way, write_reports
from commands.predict.trained import Ready
from commands.predict.trained_scores import score_file
from train.paths import MODELS

BUNDLES = Path("bundles")
CALIBRATED_ON = 24  # recordings whose clips tell the ranges of int8


def main() -> None:
    """Write bundles/<name>.bundle and reports/export.*; a float32 graph beyond the tolerance fails the stage."""
    export = parameters.load().export
    torch.set_num_threads(1)
    ready = ready_for_export(read(export))
    compared = compared_files(export.compare)
    with tempfile.TemporaryDirectory(prefix="birdcache-") as temporary:
        folder = Path(temporary)
        graph = EnsembleGraph(looks_of(ready))
        export_graph(graph, folder / "float32.onnx")
        description = describe(export, ready, graph)
        exact = bundle_of(folder / "float32.onnx", description)
        quantise(folder / "float32.onnx", folder / "int8.onnx", calibration(exact, compared))
        ways = measured_ways(ready, exact, bundle_of(folder / "int8.onnx", description), compared, folder)
        facts = facts_of(export, compared, ways)
        write_reports(list(ways.values()), facts)
        check_parity(ways["float32"], export.tolerance)
        write_bundle(folder / f"{export.precision}.onnx", description, export, parity(ways[export.precision], compared))
    print(Path("reports/export.md").read_text())


def read(export: Any) -> ExportParams:
    """The section, each key of it read once."""
    return ExportParams(**{name: getattr(export, name) for name in ExportParams.model_fields})


def bundle_of(path: Path, description: Description) -> BundlePredictor:
    """A graph that is no bundle yet, as what predicts on one core."""
    session, device = open_session(path, "cpu", threads=1)
    return BundlePredictor(Bundle(path.parent, description, session, "", device))


def calibration(exact: BundlePredictor, compared: Compared) -> Iterator[Mapping[str, Floats32]]:
    """The middle clip of some files, as the graph is fed."""
    files = [*compared.recordings, *compared.soundscapes][:CALIBRATED_ON]
    for path in files:
        yield exact.middle_clip(path)


def measured_ways(
    ready: Ready, exact: BundlePredictor, rounded: BundlePredictor, compared: Compared, room: Path
) -> dict[str, Way]:
    """The pipeline, the graph in float32 and the graph in int8 on all files."""
    with Progress(3 * len(compared.files), "compare", "files") as progress:
        score = partial(score_file, ready=ready, room=room, silence=True)
        pipeline = measure(compared.files, score, ready.ensemble.final, progress)
        alone: dict[str, Any] = {"embed": False, "room": room, "advance": ignore, "silence": True}
        told = {
            name: measure(compared.files, partial(bundle.score, **alone), bundle.final, progress)
            for name, bundle in (("float32", exact), ("int8", rounded))
        }
    sizes = {name: (room / f"{name}.onnx").stat().st_size for name in told}
    weights = sum(path.stat().st_size for path in used_weights(ready))
    way = partial(compare, ready=ready, compared=compared, pipeline=pipeline)
    ways = {"pipeline": way(PIPELINE, weights, pipeline)}
    return ways | {name: way(f"ONNX {name}", sizes[name], each) for name, each in told.items()}


def compare(
    name: str, size_bytes: int, measured: Measured, ready: Ready, compared: Compared, pipeline: Measured
) -> Way:
    """A way of predicting beside the pipeline."""
    above_K = ready.ensemble.called_above()
    calls = [
        (one >= above_K) != (other >= above_K) for one, other in zip(measured.finals, pipeline.finals, strict=True)
    ]
    metrics = soundscape_metrics(compared, measured, ready.ensemble.labels, ready.ensemble.window_s)
    called = float(np.concatenate([each.ravel() for each in calls]).mean())
    return Way(name, size_bytes, measured, difference(measured, pipeline), called, metrics)


def used_weights(ready: Ready) -> Iterator[Path]:
    """The files of weights that the pipeline reads."""
    for name, models in ready.members.items():
        weights = models[0].sidecar.member.recipe.weights
        yield from (MODELS / name / str(fold) / f"{weights}.safetensors" for fold in ready.ensemble.folds)


def ignore(share: float) -> None:
    """Do nothing with the progress within a file."""


def facts_of(export: ExportParams, compared: Compared, ways: Mapping[str, Way]) -> dict[str, Any]:
    """What the reports begin with."""
    return {
        "bundle": export.name,
        "precision": export.precision,
        "tolerance": export.tolerance,
        "soundscapes": len(compared.soundscapes),
        "recordings": len(compared.recordings),
        "hours": ways["pipeline"].measured.sound_s / 3600,
    }


def parity(way: Way, compared: Compared) -> dict[str, Any]:
    """By how much the bundle differs from the pipeline."""
    return {
        "largest": float(way.differences.max()),
        "mean": float(way.differences.mean()),
        "soundscapes": len(compared.soundscapes),
        "recordings": len(compared.recordings),
    }


def check_parity(way: Way, tolerance: float) -> None:
    """Fail if the float32 graph is not the pipeline.

    Raises
    ------
    CommandError
        If any score differs by more than the tolerance.
    """
    largest = float(way.differences.max())
    if not largest <= tolerance:
        raise CommandError(
            f"params.yaml: export.tolerance = {tolerance:g}: the graph's scores differ from the pipeline's by up to "
            f"{largest:.2g} (reports/export.md), so no bundle is written; leave out the member that differs "
            "(export.members), or raise it if this is little enough for you"
        )


def write_bundle(model: Path, description: Description, export: ExportParams, measured: Mapping[str, Any]) -> None:
    """Write all files of the bundle, then their checksums."""
    folder = BUNDLES / f"{export.name}{SUFFIX}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copyfile(model, folder / MODEL)
    write_text(folder / DESCRIPTION, description.model_dump_json(indent=2) + "\n")
    write_text(folder / "README.md", card(description, export, measured))
    write_text(folder / "requirements.txt", requirements_text())
    write_csv(label_table(description), folder / "labels.csv")
    write_text(folder / "parity.json", pd.Series(dict(measured)).to_json(indent=2) + "\n")
    write_sums(folder)
    print(f"{folder}: {sum(path.stat().st_size for path in folder.iterdir()) / 1e6:.1f} MB")


if __name__ == "__main__":
    run_stage(main)
