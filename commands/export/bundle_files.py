"""The files of a bundle besides the model: description, model card, labels, requirements, checksums."""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from birdcache.audio.read import DECODER_VERSION
from birdcache.bundle.format import OUTSIDE, SUMS, Description, Input, MemberFacts
from birdcache.checkout import PROJECT
from birdcache.files import file_sha256, write_text
from birdcache.params.sections import ExportParams
from cache import tables
from cache.tables import Col
from commands.export.graph import EnsembleGraph
from commands.predict.trained import LoadedEnsemble
from pipeline.builder.frontend import FRONTEND_VERSION
from pipeline.builder.teacher import reported_network
from train.paths import REPORTS

METRICS = REPORTS / "metrics.json"
NOT_STATED = "not stated"
# of an ensemble, not a bundle
BLENDING = {"version", "members", "only", "folds", "kind", "best", "calibration", "fitted_on"}
CARD = Path(__file__).parent / "templates/card.md"


def describe(export: ExportParams, loaded: LoadedEnsemble, graph: EnsembleGraph) -> Description:
    """Describe the steps before and after the graph, and its origin."""
    low_hz, high_hz = loaded.band_hz
    return Description(
        name=export.name,
        precision="float32",
        names=loaded.names,
        submission_labels=list(loaded.submission.labels),
        submission_column=loaded.submission.column,
        inputs=graph.inputs,
        embedding=graph.embedding,
        low_hz=low_hz,
        high_hz=high_hz,
        **loaded.ensemble.model_dump(exclude=BLENDING),
        decoder=DECODER_VERSION,
        front_end=FRONTEND_VERSION,
        members={name: member_facts(name, loaded) for name in loaded.members},
    )


def member_facts(name: str, loaded: LoadedEnsemble) -> MemberFacts:
    """A member's weight, digests, parameters, and the network that it learns from or holds, as in `bundle.json`."""
    models = loaded.members[name]
    resolved = models[0].sidecar.member
    member = resolved.member
    view = member.view if member.is_probe else member.teacher and member.teacher.view
    network = {"teacher_network": reported_network(view)} if view else {}
    return MemberFacts(
        weight=loaded.ensemble.members[name],
        weights_sha256={str(fold): digest for model in models for fold, digest in model.trained.items()},
        resolved=resolved.model_dump(mode="json") | network,
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
    """Text of the bundle's README.md; `parity` tells how far its scores are from the pipeline's."""
    species = [" | ".join(map(plain, row)) for row in label_table(description).itertuples(index=False)]
    return CARD.read_text(encoding="utf-8").format(
        it=description,
        labels=len(description.labels),
        members="\n".join(member_text(name, each) for name, each in description.members.items()),
        **data_facts(),
        metrics="\n".join(metric_rows(json.loads(METRICS.read_text()))),
        parity=parity,
        licence=plain(export.licence) or NOT_STATED,
        data_licence=plain(export.data_licence) or NOT_STATED,
        inputs="\n".join(map(_input_text, description.inputs)),
        outside=OUTSIDE,
        species="\n".join(f"| {each} |" for each in species),
    )


def plain(text: object) -> str:
    """Text as it stands in Markdown that shows it as it is: one line, no markup, no cell of its own."""
    return re.sub(r"([\\`*_{}\[\]<>#|&!~$])", r"\\\1", " ".join(str(text).split()))


def member_text(name: str, member: MemberFacts) -> str:
    """A member of the ensemble, as a list's item."""
    resolved: Any = member.resolved
    of_member, trainings = resolved["member"], len(member.weights_sha256)
    how = f"the mean of the scores of {trainings} trainings" if trainings > 1 else "one training"
    text = f"- `{name}`, weight {member.weight:.3f}: {of_member['backbone']} on view `{of_member['view']}`, {how}"
    if origin := resolved.get("weights_origin"):
        text += f"; first weights: {plain(origin['source'])}, licence: {plain(origin['licence'])}"
    if network := resolved.get("teacher_network"):
        told = {key: plain(value) or NOT_STATED for key, value in network.items()}
        teacher = of_member["teacher"]  # none for a probe
        text += f"; teacher: view `{teacher['view']}`, " if teacher else "; probe of "
        text += f"{told['file']}, SHA-256 {told['sha256']}, "
        text += f"licence: {told['licence']}, source: {told['source']}"
    return text


def data_facts() -> dict[str, Any]:
    """Amount of training data."""
    recordings = tables.RECORDINGS.read(Col.LABEL, Col.AUTHOR, Col.DURATION_S)
    counts = recordings[Col.LABEL].value_counts()
    return {
        "recordings": len(recordings),
        "hours": recordings[Col.DURATION_S].sum() / 3600,
        "classes": len(counts),
        "fewest": counts.iloc[-1],
        "most": counts.iloc[0],
        "authors": recordings[Col.AUTHOR][recordings[Col.AUTHOR] != ""].nunique(),
    }


def metric_rows(metrics: Mapping[str, Any]) -> Iterator[str]:
    """The ensemble's metrics in the last evaluation, as rows of a table."""
    for name, key in (("recordings, out of fold", "out_of_fold"), ("windows of soundscapes", "soundscapes")):
        if key in metrics:
            found = metrics[key]["ensemble"]
            cells = [f"{found[each]:.4f}" if each in found else "" for each in ("macro_roc_auc", "cmap", "accuracy")]
            yield f"| {name} | {' | '.join(cells)} |"


def _input_text(each: Input) -> str:
    before = each.context_frames * each.hop
    return (
        f"- `{each.name}` [batch, {each.samples}] float32 in +-1 at {each.sample_rate_hz} Hz, one channel: "
        f"{before / each.sample_rate_hz:.2f} s of sound before a clip of {each.clip_frames} frames, and {each.margin} "
        f"samples on either side. It begins {before + each.margin} samples before the middle of the clip's first "
        f"frame, which is a multiple of {each.hop} samples."
    )


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
