"""The front end of embedding views: the windows of a recording, through a network, in a decoder's process.

S sample, B window of a batch, E number of a window.

A batch holds windows of one recording alone, so that its numbers follow from it, whatever a network does with others.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from birdcache.arrays import Floats32
from birdcache.audio.decoder import Limits, Request
from birdcache.audio.read import waveform_blocks
from birdcache.audio.rejected import RejectedAudio
from birdcache.bundle.graph_process import MOST_SHOWN, most_memory_bytes, open_session
from birdcache.bundle.onnx_file import check_onnx
from birdcache.params.embedding import MOST_NUMBERS, StoredEmbedding, Windows
from birdcache.storage import AnyPath
from cache.quantize import FLOAT16_MAX, QuantizedArray

OPENED_S, WINDOW_S = 300.0, 30.0  # that a network may take to open, and for a window
EMBEDDING_VERSION = 1  # part of every content key: raise it when the numbers change


def embedding_version() -> str:
    """What decides the numbers beside view and audio: of this code, and of ONNX Runtime."""
    import onnxruntime  # which no other view needs

    return f"embedding {EMBEDDING_VERSION}, onnxruntime {onnxruntime.__version__}"


@dataclass(frozen=True)
class Network:
    """A network that has been asked for its outputs."""

    session: Any
    input: str
    axes: Sequence[Any]  # of the input, as its file names them
    outputs: list[str]

    def __call__(self, rows_BS: Floats32) -> list[Floats32]:
        """Each output of some rows; a batch of fixed size is filled up with copies of the last row."""
        count, size = len(rows_BS), self.axes[0]
        if isinstance(size, int):
            rows_BS = rows_BS[np.minimum(np.arange(size), count - 1)]
        shape = (len(rows_BS), *([1] * (len(self.axes) - 2)), rows_BS.shape[1])
        found = self.session.run(self.outputs, {self.input: rows_BS.reshape(shape)})
        return [each[:count] for each in found]


def embedded_request(path: AnyPath, context: str, sha256: str | None, silence: bool, read_as: str | None) -> Request:
    """The request for a recording's `embedded_blocks`; `context` as from `packed_network`."""
    return Request(embedded_blocks, path, {"sha256": sha256, "silence": silence, "read_as": read_as}, context)


def limits(view: Windows, device: str) -> Limits:
    """What the process that embeds a recording may take."""
    return Limits(0 if device == "cuda" else most_memory_bytes(), OPENED_S, WINDOW_S / view.hop_s)


def packed_network(view: StoredEmbedding, file: AnyPath, device: str) -> str:
    """A view, its network's file and a device (cpu or cuda), as text for the process that runs it."""
    return json.dumps([view.model_dump(mode="json"), str(file), device])


def embedded_blocks(
    path: AnyPath, context: str, sha256: str | None = None, silence: bool = False, read_as: str | None = None
) -> Iterator[QuantizedArray]:
    """Decode a recording and embed its windows, in pieces (B, E) float16; arguments as of `quantized_blocks`."""
    view, network = _opened(context)
    waveform = waveform_blocks(path, view.sample_rate_hz, sha256, 0, silence, read_as)
    windows = rows(waveform, view)
    while batch := list(islice(windows, view.batch)):
        values_BE = np.concatenate(network(np.stack(batch)), axis=1)
        if not (np.abs(values_BE) <= FLOAT16_MAX).all():
            raise RejectedAudio("not-finite", "its view's network gives numbers that are not finite, or above 65,504")
        yield values_BE.astype(np.float16)


@lru_cache(maxsize=16)
def unpacked_network(context: str) -> tuple[StoredEmbedding, Path, str]:
    """The view, file and device of `packed_network`."""
    facts, file, device = json.loads(context)
    return StoredEmbedding.model_validate_json(json.dumps(facts)), Path(file), device


@lru_cache(maxsize=1)
def _opened(context: str) -> tuple[StoredEmbedding, Network]:
    view, file, device = unpacked_network(context)
    network, used = open_network(file, view.file_sha256, view, device)
    if used != device:
        raise ValueError("ONNX Runtime cannot use its GPU; install CUDA's libraries, or set machine.device: cpu")
    return view, network


def rows(waveform: Iterable[Floats32], view: StoredEmbedding) -> Iterator[Floats32]:
    """The row (S,) of each window of a waveform that arrives in pieces; one at least, and as many as cover it."""
    held_S, begin, heard = np.full(view.lead, view.outside, np.float32), 0, 0
    for piece_S in chain(waveform, [None]):
        heard += 0 if piece_S is None else len(piece_S)
        behind_S = np.full(view.samples, view.outside, np.float32)
        held_S = np.concatenate([held_S, behind_S if piece_S is None else piece_S])
        while len(held_S) >= view.samples and (begin == 0 or begin - view.hop + view.window < heard):
            yield held_S[: view.samples]
            held_S, begin = held_S[view.hop :], begin + view.hop


def open_network(model: Path, sha256: str, view: Windows, device: str) -> tuple[Network, str]:
    """Open the network of a view, and on which device; a ValueError says why that cannot be."""
    content = model.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError("it has changed since stage `check` looked at it; run `dvc repro`")
    check_onnx(content)
    session, used = open_session(content, device, 1)
    inputs = {each.name: each for each in session.get_inputs()}
    outputs = {each.name: each for each in session.get_outputs()}
    shown = "; ".join(f"{side}: {_shown(found)}" for side, found in (("inputs", inputs), ("outputs", outputs)))
    wanted = [view.output, *([view.scores] if view.scores is not None else [])]
    if len(inputs) != 1 or view.input not in (None, *inputs):
        raise ValueError(f"takes not one waveform, {view.input or 'of any name'}: {shown}")
    for name in [each for each in wanted if each not in outputs]:
        raise ValueError(f"has no output {name}: {shown}")
    (taken,) = inputs.values()
    if taken.type != "tensor(float)" or len(taken.shape) < 2 or any(axis != 1 for axis in taken.shape[1:-1]):
        raise ValueError(f"takes no waveform [batch, samples] of float32: {shown}")
    return Network(session, taken.name, taken.shape, wanted), used


def tried(path: Path, view: Mapping[str, Any], sha256: str, samples: int) -> dict[str, Any]:
    """Show a network a batch of silent rows: the sizes of its outputs, or why no view can be made of it."""
    try:
        wanted = Windows.model_validate(view)
        network, _ = open_network(path, sha256, wanted, "cpu")
        return {"sizes": list(_sizes(network, wanted, samples))}
    except MemoryError:
        raise
    except Exception as error:  # ONNX Runtime has a dozen kinds, all of its own
        return {"failed": " ".join(str(error).split())[: 2 * MOST_SHOWN] or type(error).__name__}


def _sizes(network: Network, view: Windows, samples: int) -> Iterator[int]:
    """Numbers of a window in each output; a ValueError names what no view can be made of."""
    size, length = network.axes[0], network.axes[-1]
    if isinstance(length, int) and length != samples:
        seconds = length / view.sample_rate_hz
        raise ValueError(f"takes rows of {length} samples, not {samples}; set window_s: {seconds:g}, or sample_rate_hz")
    if isinstance(size, int) and size != view.batch:
        raise ValueError(f"takes batches of {size}, not {view.batch}; set batch: {size}")
    found = network(np.zeros((view.batch, samples), np.float32))
    for name, values_BE in zip(network.outputs, found, strict=True):
        if values_BE.dtype.kind != "f" or values_BE.ndim != 2 or len(values_BE) != view.batch:
            shape = f"{values_BE.dtype} {list(values_BE.shape)}"
            raise ValueError(f"gives {shape} as {name} for {view.batch} windows; name an output [batch, numbers]")
        yield values_BE.shape[1]
    if sum(each.shape[1] for each in found) > MOST_NUMBERS:
        raise ValueError(f"gives over {MOST_NUMBERS} numbers for each window; name a smaller output")


def _shown(found: Mapping[str, Any]) -> str:
    shown = (f"{name} {each.type} [{', '.join(map(str, each.shape))}]" for name, each in found.items())
    return ", ".join(shown)[:MOST_SHOWN]
