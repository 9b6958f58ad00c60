"""Stage `export`: write the ensemble as a bundle, and compare it with the pipeline; fails if their scores differ."""

import shutil
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from birdcache.arrays import Floats32
from birdcache.bundle.format import DESCRIPTION, MODEL, SUFFIX, Description
from birdcache.bundle.graph import Graph
from birdcache.bundle.read import Bundle
from birdcache.bundle.scores import BundlePredictor
from birdcache.errors import CommandError, run_stage
from birdcache.files import file_sha256, write_text
from birdcache.params import load as parameters
from birdcache.params.sections import ExportParams
from birdcache.predict.predictor import FileScores
from birdcache.progress import Progress
from cache.csv_files import write_csv
from commands.export.bundle_files import card, describe, label_table, requirements_text, write_sums
from commands.export.choose import ensemble_for_export, weighted_models
from commands.export.compare import ComparedFiles, compared_files, difference, measure, soundscape_metrics
from commands.export.graph import EnsembleGraph
from commands.export.onnx_file import export_graph, quantise
from commands.export.summary import PIPELINE, Variant, write_reports
from commands.predict.predictor import score_file
from commands.predict.trained import LoadedEnsemble
from train.paths import MODELS

BUNDLES = Path("bundles")
CALIBRATED_ON = 24  # recordings whose middle clips give the ranges of int8


def main() -> None:
    """Write bundles/<name>.bundle and reports/export.*; fail if the float32 graph is outside the tolerance."""
    section = parameters.load().export  # all of which is read, so that DVC's params can be checked
    export = ExportParams(**{name: getattr(section, name) for name in ExportParams.model_fields})
    torch.set_num_threads(1)
    loaded = ensemble_for_export(export)
    compared = compared_files(export.compare)
    with tempfile.TemporaryDirectory(prefix="birdcache-") as temporary:
        folder = Path(temporary)
        graph = EnsembleGraph(weighted_models(loaded))
        export_graph(graph, folder / "float32.onnx")
        description = describe(export, loaded, graph)
        exact = bundle_of(folder / "float32.onnx", description)
        sample = [*compared.recordings, *compared.soundscapes][:CALIBRATED_ON]
        quantise(folder / "float32.onnx", folder / "int8.onnx", map(exact.middle_clip, sample))
        variants = measure_variants(loaded, exact, bundle_of(folder / "int8.onnx", description), compared, folder)
        measured = parity(variants[export.precision], compared)
        facts = {
            "bundle": export.name,
            "precision": export.precision,
            "tolerance": export.tolerance,
            "soundscapes": measured["soundscapes"],
            "recordings": measured["recordings"],
            "hours": variants["pipeline"].measured.sound_s / 3600,
        }
        write_reports(list(variants.values()), facts)
        check_parity(variants["float32"], export.tolerance)
        write_bundle(folder / f"{export.precision}.onnx", description, export, measured)
    print(Path("reports/export.md").read_text())


def bundle_of(path: Path, description: Description) -> BundlePredictor:
    """A predictor on one core from a graph that is not in a bundle yet."""
    return BundlePredictor(Bundle(path, description, Graph(path, file_sha256(path), description, "cpu", threads=1), ""))


def measure_variants(
    loaded: LoadedEnsemble, exact: BundlePredictor, rounded: BundlePredictor, compared: ComparedFiles, scratch: Path
) -> dict[str, Variant]:
    """Measure the pipeline, the float32 graph and the int8 graph on all files, and compare each with the pipeline."""
    settings: dict[str, Any] = {"embed": False, "scratch": scratch, "advance": lambda _: None, "silence": True}
    ways: dict[str, tuple[Callable[..., FileScores], Callable[..., Floats32]]] = {
        "pipeline": (partial(score_file, loaded=loaded), loaded.ensemble.final),
        "float32": (exact.score, exact.final),
        "int8": (rounded.score, rounded.final),
    }
    used = [
        MODELS / f"{name}/{fold}/{models[0].sidecar.member.recipe.weights}.safetensors"
        for name, models in loaded.members.items()
        for fold in loaded.ensemble.folds
    ]
    files = {"pipeline": used, **{name: [scratch / f"{name}.onnx"] for name in ("float32", "int8")}}
    names = {"pipeline": PIPELINE, "float32": "ONNX float32", "int8": "ONNX int8"}
    above_K, labels = loaded.ensemble.called_above(), loaded.ensemble.labels
    variants: dict[str, Variant] = {}
    with Progress(len(ways) * len(compared.files), "compare", "files") as progress:
        for name, (score, final) in ways.items():
            measured = measure(compared.files, partial(score, **settings), final, progress)
            pipeline = variants["pipeline"].measured if variants else measured
            pairs = zip(measured.finals, pipeline.finals, strict=True)
            changed = np.concatenate([((one >= above_K) != (other >= above_K)).ravel() for one, other in pairs])
            variants[name] = Variant(
                names[name],
                sum(path.stat().st_size for path in files[name]),
                measured,
                difference(measured, pipeline),
                float(changed.mean()),
                soundscape_metrics(compared, measured, labels, loaded.ensemble.window_s),
            )
    return variants


def parity(variant: Variant, compared: ComparedFiles) -> dict[str, Any]:
    """Differences between bundle and pipeline, for parity.json."""
    return {
        "largest": float(variant.differences.max()),
        "mean": float(variant.differences.mean()),
        "soundscapes": len(compared.soundscapes),
        "recordings": len(compared.recordings),
    }


def check_parity(variant: Variant, tolerance: float) -> None:
    """Refuse a float32 graph of which any score differs from the pipeline's by more than the tolerance."""
    largest = float(variant.differences.max())
    if not largest <= tolerance:
        raise CommandError(
            f"params.yaml: export.tolerance = {tolerance:g}: the graph's scores differ from the pipeline's by up to "
            f"{largest:.2g} (reports/export.md), so no bundle is written; leave out the member that differs "
            "(export.members), or raise the tolerance if this difference is acceptable"
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
