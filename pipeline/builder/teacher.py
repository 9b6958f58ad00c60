"""Files of embedding views: looked at before anything is decoded."""

import json
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

from birdcache.audio.decoder import Limits, Request, decoder
from birdcache.audio.rejected import RejectedAudio
from birdcache.bundle.format import DESCRIPTION, MODEL, OUTSIDE, SCORES, SUMS, Description, Input
from birdcache.bundle.graph_process import PROVIDERS, most_memory_bytes, providers
from birdcache.bundle.read import MOST_BYTES, check_sums, read_description
from birdcache.errors import BirdcacheError, PipelineError
from birdcache.files import file_sha256
from birdcache.params.embedding import EmbeddingView, Output, StoredEmbedding, Windows
from birdcache.params.views import StoredView, ViewParams
from birdcache.text import printable
from pipeline.builder.embedding import OPENED_S, tried

FOLDER = Path("data/teachers")


def network_file(view: EmbeddingView) -> Path:
    """The ONNX file of a view, in its bundle if it names one."""
    return Path(view.file, MODEL) if Path(view.file).is_dir() else Path(view.file)


def network_facts(view: EmbeddingView) -> dict[str, str]:
    """What reports and model cards say of a view's network."""
    facts = {"file": view.file, "licence": view.licence, "source": view.source}
    return {**facts, "sha256": file_sha256(network_file(view))}


def reported_network(view: str) -> dict[str, str]:
    """What stage `spectrograms` wrote of the network of a view."""
    summary = json.loads(Path("reports/spectrograms", view, "summary.json").read_text(encoding="utf-8"))
    return {key: str(value) for key, value in summary["network"].items()}


def network_text(view: ViewParams) -> str:
    """What stage `check` writes for a view: a digest of its network and of what its bundle says of that."""
    if not isinstance(view, EmbeddingView):
        return "no network\n"
    model = network_file(view)
    return f"{file_sha256(model.with_name(SUMS) if _is_in_bundle(model) else model)}\n"


def stored_view(name: str, view: ViewParams, device: Literal["auto", "cpu", "cuda"] = "cpu") -> StoredView:
    """A view of params.yaml as its stores have it: an embedding view after a look at its file, in a process apart.

    A PipelineError if no such view can be made of its network; the message has what its file says.
    """
    if not isinstance(view, EmbeddingView):
        return view
    try:
        facts = _found(view, network_file(view).absolute())
        return StoredEmbedding(**facts, device="cuda" if PROVIDERS["cuda"] in providers(device) else "cpu")
    except (BirdcacheError, OSError, ValueError) as error:
        detail = error.detail if isinstance(error, RejectedAudio) else str(error)
        raise PipelineError(f"params.yaml: views.{name}: {view.file}: {printable(detail)}") from error


def _found(view: EmbeddingView, model: Path) -> dict[str, Any]:
    """The fields of a view as its stores have it, but for the device, after its network has seen silence."""
    wanted, labels = view.model_dump(include={*Windows.model_fields}), tuple[str, ...]()
    row: dict[str, Any] = {"samples": view.window, "lead": 0, "outside": 0.0}
    if _is_in_bundle(model):
        _, promised = check_sums(model.parent)
        description = read_description(model.parent / DESCRIPTION)
        sha256, labels, row = promised[MODEL], tuple(description.labels), _row(view, description)
    elif not model.is_file() or model.stat().st_size > MOST_BYTES[MODEL]:
        raise PipelineError(f"is no file, or one of over {MOST_BYTES[MODEL]:,} bytes; put an ONNX file there")
    else:
        sha256 = file_sha256(model)
    request = Request(tried, model, {"view": wanted | row, "sha256": sha256})
    found = decoder(Limits(most_memory_bytes())).value(request, OPENED_S)
    if "failed" in found:
        raise PipelineError(found["failed"])
    stops = accumulate(found["sizes"])
    outputs = tuple(
        Output(name=name, start=stop - size, stop=stop, labels=labels if name == SCORES else ())
        for name, size, stop in zip(view.names, found["sizes"], stops, strict=True)
    )
    return {**wanted, **row, "file_sha256": sha256, "outputs": outputs, "file": str(model)}


def _is_in_bundle(model: Path) -> bool:
    return (model.parent / DESCRIPTION).is_file()


def _row(view: EmbeddingView, description: Description) -> dict[str, Any]:
    """Where a bundle's row of a window begins, how long it is, and what each input takes of it if there are several."""
    rates = sorted({each.sample_rate_hz for each in description.inputs})
    if rates != [view.sample_rate_hz]:
        to_one = f"set sample_rate_hz: {rates[0]}"
        way_out = to_one if len(rates) == 1 else "export members of one rate (export.members)"
        raise PipelineError(f"takes sound at {' and '.join(map(str, rates))} Hz; {way_out}")
    longest = max(description.inputs, key=_clip)
    if -(-view.window // longest.hop) != longest.clip_frames:
        seconds = _clip(longest) / rates[0]
        raise PipelineError(f"hears clips of {seconds:g} s; set window_s: {seconds:g}")
    lead = max(-each.begin(0) for each in description.inputs)
    ends = [each.samples + each.begin(0) + _clip(longest) - _clip(each) for each in description.inputs]
    behind = ends[0] if len(ends) == 1 else max(*ends, _clip(longest))
    cuts = tuple(
        {"name": each.name, "samples": each.samples, "lead": -each.begin(0), "clip": _clip(each)}
        for each in description.inputs
    )
    return {"samples": lead + behind, "lead": lead, "outside": OUTSIDE, "cuts": cuts if len(cuts) > 1 else ()}


def _clip(each: Input) -> int:
    """Samples of its clips."""
    return each.clip_frames * each.hop
