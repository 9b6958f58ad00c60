"""The front end of embedding views: windows of a recording, through a network, in a decoder's process.

S sample, B window of a batch, E number of a window. A batch holds windows of one recording alone, so that its numbers
follow from it, whatever a network does with a batch.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from birdcache.arrays import Floats32
from birdcache.audio.decoder import Limits
from birdcache.audio.read import waveform_blocks
from birdcache.audio.rejected import RejectedAudio
from birdcache.bundle.format import OUTSIDE_ABOVE
from birdcache.bundle.graph_process import MOST_SHOWN, most_memory_bytes, open_session
from birdcache.bundle.onnx_file import check_onnx
from birdcache.files import sha256_hex
from birdcache.params.embedding import MOST_NUMBERS, Rows, StoredEmbedding
from birdcache.storage import AnyPath
from cache.quantize import FLOAT16_MAX, QuantizedArray

OPENED_S, WINDOW_S = 300.0, 30.0  # that a network may take to open, and for a window
EMBEDDING_VERSION = 2  # part of every content key: raise it when the numbers change


def embedding_version() -> str:
    """What decides the numbers beside view and audio: of this code, and of ONNX Runtime."""
    import onnxruntime  # which no other view needs

    return f"embedding {EMBEDDING_VERSION}, onnxruntime {onnxruntime.__version__}"


def limits(view: StoredEmbedding) -> Limits:
    """What the process that embeds a recording may take; CUDA reserves far more memory than it takes."""
    return Limits(0 if view.device == "cuda" else most_memory_bytes(), OPENED_S, WINDOW_S / view.hop_s)


def packed_network(view: StoredEmbedding) -> str:
    """A view with the place of its network, as text for the process that runs it."""
    return json.dumps({**view.model_dump(mode="json"), "file": view.file, "device": view.device})


@lru_cache(maxsize=16)
def unpacked_network(packed: str) -> StoredEmbedding:
    """The view of `packed_network`."""
    return StoredEmbedding.model_validate_json(packed)


def embedded_blocks(
    path: AnyPath, context: str, sha256: str | None = None, silence: bool = False, read_as: str | None = None
) -> Iterator[QuantizedArray]:
    """Decode a recording and embed its windows, in pieces (B, E) float16; arguments as of `quantized_blocks`."""
    view = unpacked_network(context)
    network = _opened(context)
    windows = rows(waveform_blocks(path, view.sample_rate_hz, sha256, 0, silence, read_as), view)
    while batch := list(islice(windows, view.batch)):
        values_BE = np.concatenate(network.run(np.stack(batch)), axis=1)
        if not (np.abs(values_BE) <= FLOAT16_MAX).all():
            raise RejectedAudio("not-finite", "its view's network gives numbers that are not finite, or above 65,504")
        yield values_BE.astype(np.float16)


def rows(waveform: Iterable[Floats32], view: Rows) -> Iterator[Floats32]:
    """The row (S,) of each window of a waveform that arrives in pieces; one at least, others by `Windows.tail`."""
    held_S, begin, heard = np.full(view.lead, view.outside, np.float32), 0, 0
    for piece_S in chain(waveform, [None]):
        heard += 0 if piece_S is None else len(piece_S)
        more_S = np.full(view.samples, view.outside, np.float32) if piece_S is None else piece_S
        held_S = np.concatenate([held_S, more_S])
        while len(held_S) >= view.samples and (begin == 0 or begin + view.tail < heard):
            yield held_S[: view.samples]
            held_S, begin = held_S[view.hop :], begin + view.hop


def clips_of(rows_BS: Floats32, view: Rows) -> Iterator[dict[str, Floats32]]:
    """What the inputs of a bundle take of some rows, time after time: shorter clips lie evenly over what is heard."""
    shortest, *_, longest = sorted(cut.clip for cut in view.cuts)
    times = math.ceil(longest / shortest - 0.05)  # as many of the shortest as cover the longest
    heard_B = (rows_BS[:, view.lead : view.lead + longest] < OUTSIDE_ABOVE).sum(axis=1)
    for time in range(times):
        feeds = {}
        for cut in view.cuts:
            begin_B = view.lead - cut.lead + np.maximum(heard_B - cut.clip, 0) * time // max(times - 1, 1)
            feeds[cut.name] = np.take_along_axis(rows_BS, begin_B[:, None] + np.arange(cut.samples), axis=1)
        yield feeds


@dataclass(frozen=True)
class Network:
    """A network in ONNX Runtime: its first input, the axes of that, and the view that names its outputs."""

    session: Any
    input: str
    axes: list[Any]
    view: Rows

    def run(self, rows_BS: Floats32) -> list[Floats32]:
        """Each output of some rows, of several inputs the mean over clips; a fixed batch is filled by the last row."""
        if self.view.cuts:
            found = [self.session.run(self.view.names, feeds) for feeds in clips_of(rows_BS, self.view)]
            return [np.mean(each, axis=0) for each in zip(*found, strict=True)]
        count, size = len(rows_BS), self.axes[0]
        if isinstance(size, int):
            rows_BS = rows_BS[np.minimum(np.arange(size), count - 1)]
        shape = (len(rows_BS), *self.axes[1:-1], rows_BS.shape[1])
        found = self.session.run(self.view.names, {self.input: rows_BS.reshape(shape)})
        return found if count == len(rows_BS) else [each[:count] for each in found]


@lru_cache(maxsize=1)
def _opened(context: str) -> Network:
    view = unpacked_network(context)
    return open_network(Path(view.file), view.file_sha256, view, view.device)


def open_network(model: Path, sha256: str, view: Rows, device: str) -> Network:
    """Open the network of a view; a ValueError says why that cannot be."""
    content = model.read_bytes()
    if sha256_hex(content) != sha256:
        raise ValueError("it changes while it is read; run `dvc repro` again")
    check_onnx(content)
    session, used = open_session(content, device, 1)
    if used != device:
        raise ValueError("ONNX Runtime cannot use its GPU; install CUDA's libraries, or set machine.device: cpu")
    inputs, outputs = session.get_inputs(), [each.name for each in session.get_outputs()]
    shown = f"inputs: {_shown(inputs)}; outputs: {_shown(session.get_outputs())}"
    names = [cut.name for cut in view.cuts] or [view.input or inputs[0].name]
    if [each.name for each in inputs] != names:
        raise ValueError(f"takes not one waveform, {view.input or 'of any name'}: {shown}")
    if missing := [name for name in view.names if name not in outputs]:
        raise ValueError(f"has no output {missing[0]}: {shown}")
    axes = inputs[0].shape
    if inputs[0].type != "tensor(float)" or len(axes) < 2 or any(axis != 1 for axis in axes[1:-1]):
        raise ValueError(f"takes no waveform [batch, samples] of float32: {shown}")
    return Network(session, inputs[0].name, axes, view)


def tried(path: Path, view: Mapping[str, Any], sha256: str) -> dict[str, Any]:
    """Show a network a batch of silent rows: the sizes of its outputs, or why no view can be made of it."""
    try:
        return {"sizes": _sizes(open_network(path, sha256, Rows.model_validate_json(json.dumps(view)), "cpu"))}
    except MemoryError:
        raise
    except Exception as error:  # ONNX Runtime has a dozen kinds, all of its own
        return {"failed": " ".join(str(error).split())[: 2 * MOST_SHOWN] or type(error).__name__}


def _sizes(network: Network) -> list[int]:
    size, length, view = network.axes[0], network.axes[-1], network.view
    samples = view.cuts[0].samples if view.cuts else view.samples
    if isinstance(length, int) and length != samples:
        seconds = length / view.sample_rate_hz
        raise ValueError(f"takes rows of {length} samples, not {samples}; set window_s: {seconds:g}, or sample_rate_hz")
    if isinstance(size, int) and size != view.batch:
        raise ValueError(f"takes batches of {size}, not {view.batch}; set batch: {size}")
    found = network.run(np.zeros((view.batch, view.samples), np.float32))
    for name, each in zip(view.names, found, strict=True):
        if each.dtype.kind != "f" or each.ndim != 2 or len(each) != view.batch:
            shape = f"{each.dtype} {list(each.shape)} as {name} for {view.batch} windows"
            raise ValueError(f"gives {shape}; name an output [batch, numbers]")
    sizes = [each.shape[1] for each in found]
    if not 0 < sum(sizes) <= MOST_NUMBERS:
        raise ValueError(f"gives {sum(sizes)} numbers for each window, not 1 to {MOST_NUMBERS}; name another output")
    return sizes


def _shown(arguments: Iterable[Any]) -> str:
    shown = (f"{each.name} {each.type} [{', '.join(map(str, each.shape))}]" for each in arguments)
    return ", ".join(shown)[:MOST_SHOWN]
