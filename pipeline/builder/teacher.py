"""Files of embedding views: looked at before anything is decoded."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from birdcache.audio.decoder import Request, decoder
from birdcache.audio.rejected import RejectedAudio
from birdcache.bundle.format import DESCRIPTION, MODEL, OUTSIDE, SCORES, SUMS, Description
from birdcache.bundle.read import MOST_BYTES, check_sums, read_description
from birdcache.errors import BirdcacheError, PipelineError
from birdcache.files import file_sha256
from birdcache.params.embedding import EmbeddingView, Output, StoredEmbedding, Windows
from birdcache.params.views import StoredView, ViewParams
from birdcache.text import printable
from pipeline.builder.embedding import OPENED_S, limits, tried

FOLDER = Path("data/teachers")


def network_text(view: ViewParams) -> str:
    """What stage `check` writes for a view: a digest of its network and of what its bundle says of that."""
    if not isinstance(view, EmbeddingView):
        return "no network\n"
    model = Path(network_file(view))
    return f"{file_sha256(model.with_name(SUMS) if (model.parent / DESCRIPTION).is_file() else model)}\n"


def stored_view(name: str, view: ViewParams) -> StoredView:
    """A view of params.yaml as its stores have it: an embedding view, after a look at its file.

    Raises
    ------
    PipelineError
        If no such view can be made of its network; the message has what its file says.
    """
    if not isinstance(view, EmbeddingView):
        return view
    try:
        return _look_at(view)
    except (BirdcacheError, OSError, ValueError) as error:
        detail = error.detail if isinstance(error, RejectedAudio) else str(error)
        raise PipelineError(f"params.yaml: views.{name}: {view.file}: {printable(detail)}") from error


def _look_at(view: EmbeddingView) -> StoredEmbedding:
    """The view as its stores will have it, after its network has seen silence, in a process of its own."""
    model, labels = Path(network_file(view)), tuple[str, ...]()
    facts: dict[str, Any] = view.model_dump(include={*Windows.model_fields})
    geometry: dict[str, Any] = {"samples": view.window, "lead": 0, "outside": 0.0}
    if (model.parent / DESCRIPTION).is_file():
        _, promised = check_sums(model.parent)
        description = read_description(model.parent / DESCRIPTION)
        sha256, labels, geometry = promised[MODEL], tuple(description.labels), _geometry(view, description)
    else:
        size = model.stat().st_size
        if not model.is_file() or size > MOST_BYTES[MODEL]:
            raise PipelineError(f"is no file of up to {MOST_BYTES[MODEL]:,} bytes")
        sha256 = file_sha256(model)
    request = Request(tried, model, {"view": facts, "sha256": sha256, "samples": geometry["samples"]})
    found = decoder(limits(view, "cpu")).value(request, OPENED_S)
    if "failed" in found:
        raise PipelineError(found["failed"])
    outputs = _outputs(view, found["sizes"], labels)
    return StoredEmbedding(**facts, **geometry, file_sha256=sha256, outputs=outputs)


def _outputs(view: EmbeddingView, sizes: Sequence[int], labels: tuple[str, ...]) -> tuple[Output, ...]:
    """The columns of each output; a bundle's scores have labels."""
    names = [view.output, *([view.scores] if view.scores is not None else [])]
    bounds = pairwise(np.cumsum([0, *sizes]).tolist())
    return tuple(
        Output(name=name, start=start, stop=stop, labels=labels if name == SCORES else ())
        for name, (start, stop) in zip(names, bounds, strict=True)
    )


def _geometry(view: EmbeddingView, description: Description) -> dict[str, Any]:
    """Where a bundle's row of a window begins, and how long it is."""
    if len(description.inputs) != 1:
        raise PipelineError(f"is a bundle of {len(description.inputs)} inputs, and a view has one; export one member")
    (taken,) = description.inputs
    if taken.sample_rate_hz != view.sample_rate_hz:
        raise PipelineError(f"takes sound at {taken.sample_rate_hz} Hz; set sample_rate_hz: {taken.sample_rate_hz}")
    if -(-view.window // taken.hop) != taken.clip_frames:
        seconds = taken.clip_frames * taken.hop / taken.sample_rate_hz
        raise PipelineError(f"hears clips of {seconds:g} s; set window_s: {seconds:g}")
    return {"samples": taken.samples, "lead": -taken.begin(0), "outside": OUTSIDE}


def network_file(view: ViewParams) -> str:
    """Path of the ONNX file of an embedding view, in its bundle if it names one; of others none."""
    if not isinstance(view, EmbeddingView):
        return ""
    return f"{view.file}/{MODEL}" if Path(view.file).is_dir() else view.file
