"""Stage `export`: write the ensemble as a bundle, and compare it with the pipeline; fails if their scores differ."""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from birdcache.bundle.format import DESCRIPTION, MODEL, SUFFIX, Description
from birdcache.bundle.graph import Graph
from birdcache.bundle.read import Bundle
from birdcache.bundle.scores import BundlePredictor
from birdcache.errors import CommandError, run_stage
from birdcache.files import file_sha256, write_text
from birdcache.params import load as parameters
from birdcache.params.sections import ExportParams
from birdcache.progress import Progress
from cache.csv_files import write_csv
from commands.export import compare
from commands.export.bundle_files import card, describe, label_table, requirements_text, write_sums
from commands.export.choose import ensemble_for_export, weighted_models
from commands.export.graph import EnsembleGraph
from commands.export.onnx_file import export_graph
from commands.export.summary import GRAPH, PIPELINE, Way, write_reports
from commands.predict.predictor import score_file
from commands.predict.trained import LoadedEnsemble
from train.paths import MODELS

BUNDLES = Path("bundles")


def main() -> None:
    """Write bundles/<name>.bundle and reports/export.*; fail if the graph is outside the tolerance."""
    section = parameters.load().export  # all of which is read, so that DVC's params can be checked
    export = ExportParams(**{name: getattr(section, name) for name in ExportParams.model_fields})
    torch.set_num_threads(1)
    loaded = ensemble_for_export(export)
    compared = compare.compared_files(export.compare)
    with tempfile.TemporaryDirectory(prefix="birdcache-") as temporary:
        folder = Path(temporary)
        graph, model = EnsembleGraph(weighted_models(loaded)), folder / MODEL
        export_graph(graph, model)
        description = describe(export, loaded, graph)
        on_one_core = Graph(model, file_sha256(model), description, "cpu", threads=1)
        bundle = BundlePredictor(Bundle(model, description, on_one_core, ""))
        ways, sound_s = measure_both(loaded, bundle, compared, folder)
        counts = {"soundscapes": len(compared.soundscapes), "recordings": len(compared.recordings)}
        facts = {"bundle": export.name, "tolerance": export.tolerance, **counts, "hours": sound_s / 3600}
        write_reports(ways, facts)
        parity = {name: ways[GRAPH][f"{name}_difference"] for name in ("largest", "mean")}
        check_parity(parity["largest"], export.tolerance)
        write_bundle(model, description, export, {**parity, **counts})
    print(Path("reports/export.md").read_text())


def measure_both(
    loaded: LoadedEnsemble, bundle: BundlePredictor, compared: compare.ComparedFiles, scratch: Path
) -> tuple[dict[str, Way], float]:
    """Measure the pipeline, and the graph that lies in `scratch`, on all files, and compare them; seconds of sound."""
    settings: dict[str, Any] = {"scratch": scratch, "advance": lambda _: None, "silence": True}
    score = partial(score_file, loaded=loaded, **settings)
    both = [*compared.soundscapes, *compared.recordings]
    with Progress(2 * len(both), "compare", "files") as progress:
        by_pipeline = compare.measure(both, score, loaded.ensemble.final, progress)
        by_graph = compare.measure(both, partial(bundle.score, **settings), bundle.final, progress)
    used = [
        MODELS / f"{name}/{fold}/{models[0].sidecar.member.recipe.weights}.safetensors"
        for name, models in loaded.members.items()
        for fold in loaded.ensemble.folds
    ]

    def way(measured: compare.Measurement, files: Sequence[Path]) -> Way:
        differences = compare.difference(measured, by_pipeline)
        metrics = compare.soundscape_metrics(compared, measured, loaded.ensemble)
        return {
            "size_mb": sum(path.stat().st_size for path in files) / 1e6,
            "realtime_on_one_core": measured.sound_s / measured.core_s,
            "largest_difference": float(differences.max()),
            "mean_difference": float(differences.mean()),
            "changed_detections": compare.changed_detections(measured, by_pipeline, loaded.ensemble.called_above()),
            **{f"soundscapes_{name}": metrics[name] for name in ("macro_roc_auc", "cmap") if name in metrics},
        }

    return {PIPELINE: way(by_pipeline, used), GRAPH: way(by_graph, [scratch / MODEL])}, by_pipeline.sound_s


def check_parity(largest: float, tolerance: float) -> None:
    """Refuse a graph of which any score differs from the pipeline's by more than the tolerance."""
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
