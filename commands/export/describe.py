"""`bundle.json`, `requirements.txt` and `SHA256SUMS` of a bundle."""

from __future__ import annotations

import tomllib
from pathlib import Path

from birdcache.audio.read import DECODER_VERSION
from birdcache.bundle.format import SUMS, Description, MemberFacts
from birdcache.checkout import PROJECT
from birdcache.files import file_sha256, write_text
from birdcache.params.sections import ExportParams
from birdcache.params.views import each_of
from commands.export.graph import EnsembleGraph
from commands.predict.trained import LoadedEnsemble
from pipeline.build.frontend import FRONTEND_VERSION


def describe(export: ExportParams, loaded: LoadedEnsemble, graph: EnsembleGraph) -> Description:
    """Describe the steps before and after the graph, and its origin."""
    ensemble = loaded.ensemble
    views = [view for models in loaded.members.values() for view in each_of(models[0].sidecar.member.view)]
    return Description(
        name=export.name,
        precision=export.precision,
        labels=ensemble.labels,
        names=loaded.names,
        thresholds=ensemble.thresholds,
        submission_labels=loaded.submission_labels,
        inputs=graph.inputs,
        embedding=graph.embedding,
        low_hz=min(view.fmin_hz for view in views),
        high_hz=max(view.fmax_hz for view in views),
        window_s=ensemble.window_s,
        hop_s=ensemble.hop_s,
        shifts_s=ensemble.shifts_s,
        smoothing=ensemble.smoothing,
        file_max=ensemble.file_max,
        decoder=DECODER_VERSION,
        front_end=FRONTEND_VERSION,
        members={name: member_facts(name, loaded) for name in loaded.members},
    )


def member_facts(name: str, loaded: LoadedEnsemble) -> MemberFacts:
    """A member's weight, digests and parameters, as in `bundle.json`."""
    models, ensemble = loaded.members[name], loaded.ensemble
    return MemberFacts(
        weight=ensemble.members[name],
        fold_soup=ensemble.fold_soup,
        weights_sha256={str(fold): digest for model in models for fold, digest in model.trained.items()},
        resolved=models[0].sidecar.member.model_dump(mode="json"),
    )


def requirements_text() -> str:
    """Text of requirements.txt: the dependencies of birdcache in pyproject.toml."""
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    return "".join(f"{each}\n" for each in project["dependencies"])


def write_sums(folder: Path) -> None:
    """Write SHA256SUMS of all files, for `sha256sum --check`."""
    files = sorted(path for path in folder.iterdir() if path.name != SUMS)
    write_text(folder / SUMS, "".join(f"{file_sha256(path)}  {path.name}\n" for path in files))
