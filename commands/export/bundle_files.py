"""The files of a bundle besides the model: description, model card, labels, requirements, checksums."""

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from birdcache.audio.read import DECODER_VERSION
from birdcache.bundle.format import OUTSIDE, SUMS, Description, Input, MemberFacts
from birdcache.checkout import PROJECT
from birdcache.files import file_sha256, write_text
from birdcache.params.sections import ExportParams
from birdcache.params.views import each_of
from cache import tables
from cache.tables import Col
from commands.export.graph import EnsembleGraph
from commands.predict.trained import LoadedEnsemble
from pipeline.builder.frontend import FRONTEND_VERSION
from train.paths import REPORTS

METRICS = REPORTS / "metrics.json"
NOT_STATED = "not stated"


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


def card(description: Description, export: ExportParams, parity: Mapping[str, Any]) -> str:
    """Text of the bundle's README.md."""
    parts = [
        f"# {description.name}: {len(description.labels)} species by their sounds",
        _summary(description),
        "## Data",
        data_text(export),
        "## Metrics",
        metrics_text(parity),
        "## Limits",
        limits_text(description),
        "## Licences",
        f"Models: {plain(export.licence) or NOT_STATED}. Recordings they learnt from: "
        f"{plain(export.data_licence) or NOT_STATED}.",
        "## Use",
        use_text(description),
        "## Species",
        species_text(description),
    ]
    return "\n\n".join(parts) + "\n"


def plain(text: object) -> str:
    """Text as it stands in Markdown that shows it as it is: one line, no markup, no cell of its own."""
    return re.sub(r"([\\`*_{}\[\]<>#|&!~$])", r"\\\1", " ".join(str(text).split()))


def _summary(description: Description) -> str:
    lines = [
        f"- `{name}`, weight {member.weight:.3f}: {_of(member.resolved, 'member', 'backbone')} on view "
        f"`{_of(member.resolved, 'member', 'view')}`, {folds_text(member.weights_sha256, member.fold_soup)}"
        for name, member in description.members.items()
    ]
    return f"One ONNX file ({description.precision}): waveform in, scores out. An ensemble of\n\n" + "\n".join(lines)


def _of(resolved: Mapping[str, Any], *keys: str) -> Any:
    value: Any = resolved
    for key in keys:
        value = value[key]
    return value


def folds_text(weights: Mapping[str, str], fold_soup: bool) -> str:
    """Combination of a member's trainings, in words; `weights` holds their digests by fold."""
    how = "the mean of the weights" if fold_soup else "the mean of the scores"
    return f"{how} of {len(weights)} trainings" if len(weights) > 1 else "one training"


def data_text(export: ExportParams) -> str:
    """Amount of training data, in words."""
    recordings = tables.RECORDINGS.read(Col.LABEL, Col.AUTHOR, Col.DURATION_S)
    counts = recordings[Col.LABEL].value_counts()
    authors = recordings[Col.AUTHOR][recordings[Col.AUTHOR] != ""].nunique()
    hours = recordings[Col.DURATION_S].sum() / 3600
    return (
        f"{len(recordings)} recordings, {hours:.2f} hours, {len(counts)} labels ({counts.iloc[-1]} to {counts.iloc[0]} "
        f"recordings each), {authors} authors. Folds share no author, place and day, or content."
    )


def metrics_text(parity: Mapping[str, Any]) -> str:
    """The ensemble's metrics in the last evaluation, and the bundle's difference from the pipeline."""
    metrics = json.loads(METRICS.read_text())
    rows = [
        (name, metrics[key]["ensemble"])
        for name, key in (("recordings, out of fold", "out_of_fold"), ("windows of soundscapes", "soundscapes"))
        if key in metrics
    ]
    lines = "".join(
        f"| {name} | {_number(row, 'macro_roc_auc')} | {_number(row, 'cmap')} | {_number(row, 'accuracy')} |\n"
        for name, row in rows
    )
    return (
        "The whole ensemble in the pipeline:\n\n| | macro ROC-AUC | cmAP | accuracy |\n|---|---|---|---|\n"
        f"{lines}\nThis bundle's scores differ from those of the pipeline (its members and folds, PyTorch, float32) by "
        f"at most {parity['largest']:.1e}, {parity['mean']:.1e} on average, on {parity['soundscapes']} soundscapes and "
        f"{parity['recordings']} recordings."
    )


def _number(row: Mapping[str, float], name: str) -> str:
    return f"{row[name]:.4f}" if name in row else ""


def limits_text(description: Description) -> str:
    """Limits of the scores, in words."""
    return (
        f"- It knows the {len(description.labels)} labels below and nothing else: any other "
        "species is taken for one of them or for none.\n"
        "- Scores rank windows; they are not probabilities. Thresholds give the best F1 on whole recordings with one "
        "main bird: for denser or noisier soundscapes, choose your own.\n"
        "- Labels with few recordings (table below) are recognised poorly, and their metrics rest on few examples.\n"
        f"- It hears {description.low_hz:g} to {description.high_hz:g} Hz. Recorders, places and seasons other than "
        "those of the training data may lower every figure above."
    )


def use_text(description: Description) -> str:
    """Instructions for running the bundle with birdcache or by hand."""
    inputs = "\n".join(map(_input_text, description.inputs))
    return (
        "```sh\npip install birdcache   # no torch; or, in a copy of the repository that made this: pip install .\n"
        "birdcache predict RECORDINGS --model . --format csv,raven\n```\n\n"
        f"By hand: `model.onnx` takes\n\n{inputs}\n\nSamples outside the recording are {OUTSIDE:g}, except the first "
        f"one after its end, which is 0. The graph returns `scores` [batch, {len(description.labels)}] in the order of "
        f"`labels.csv`, and `embedding` [batch, {description.embedding}]. The parameters of the next steps (mean of "
        "overlapping clips, smoothing over time, the file's maximum, thresholds) are in `bundle.json`."
    )


def _input_text(each: Input) -> str:
    before = each.context_frames * each.hop
    return (
        f"- `{each.name}` [batch, {each.samples}] float32 in +-1 at {each.sample_rate_hz} Hz, one channel: "
        f"{before / each.sample_rate_hz:.2f} s of sound before a clip of {each.clip_frames} frames, and {each.margin} "
        f"samples on either side. It begins {before + each.margin} samples before the middle of the clip's first "
        f"frame, which is a multiple of {each.hop} samples."
    )


def species_text(description: Description) -> str:
    """Table of the labels, in Markdown."""
    labels = label_table(description)
    lines = [
        f"| {plain(row.label)} | {plain(row.name)} | {row.recordings} | {row.threshold} |"
        for row in labels.itertuples(index=False)
    ]
    return "\n".join(["| label | name | recordings | threshold |", "|---|---|---|---|", *lines])


def label_table(description: Description) -> pd.DataFrame:
    """Table for labels.csv: label, name, recordings and threshold, in the order of the scores."""
    known = tables.LABELS.read().set_index(Col.LABEL)
    return pd.DataFrame(
        {
            Col.LABEL: description.labels,
            "name": [description.names.get(label, "") for label in description.labels],
            "recordings": [known[Col.RECORDINGS].get(label, "") for label in description.labels],
            "threshold": [f"{each:.4f}" for each in description.thresholds],
        }
    )
