"""Probes in a graph: the network that they listen to stays an ONNX file, and is put between two parts of the graph.

B batch, T window of a clip, S sample of a window, M number that the network gives.
"""

from __future__ import annotations

import numpy as np
import onnx
import torch
from onnx import ModelProto, helper, numpy_helper, version_converter
from torch import Tensor, nn

from birdcache.bundle.format import OUTSIDE_ABOVE
from birdcache.errors import CommandError
from birdcache.params.embedding import StoredEmbedding


class ProbedWindows(nn.Module):
    """The front end of probes: cuts windows out of a waveform, and takes what the network says of them."""

    def __init__(self, view: StoredEmbedding, windows: int) -> None:
        super().__init__()
        self.view, self.windows, self.key = view, windows, view.model_dump_json()
        self._margin = max(view.lead, view.samples - view.lead)
        self.reach = {"context_frames": 0, "margin": self._margin, "tail": view.tail + 1}

    def cut(self, waveform_BS: Tensor) -> Tensor:
        """The windows (B, T, S) of clips, as stage `spectrograms` shows them to the network."""
        view, first = self.view, self._margin - self.view.lead
        heard_BS = torch.where(waveform_BS > OUTSIDE_ABOVE, view.outside, waveform_BS)
        begins = range(first, first + self.windows * view.hop, view.hop)
        return torch.stack([heard_BS[:, begin : begin + view.samples] for begin in begins], dim=1)

    def forward(self, waveform_BS: Tensor, embedded_BTM: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Values (B, T, M) as a store holds them, and a mask (B, T) of the windows that the recording has."""
        view = self.view
        last = self._margin + view.tail + 1  # a row counts one sample more as heard than there are
        ends = [last + number * view.hop for number in range(1, self.windows)]
        behind_BT = (waveform_BS[:, ends] <= OUTSIDE_ABOVE).float()
        exists_BT = torch.cat([torch.ones_like(waveform_BS[:, :1]), behind_BT], dim=1)
        return {self.key: embedded_BTM.half().float()}, exists_BT


def put_between(model: ModelProto, windows: str, embedded: str, view: StoredEmbedding) -> None:
    """Put a view's network between an output of the graph, the windows, and an input, what it says of them.

    A CommandError if it takes batches of one size alone, or cannot be brought to the graph's version of ONNX.
    """
    network = onnx.compose.add_prefix(_brought_to(model.opset_import[0].version, view), f"{embedded}/").graph
    constants = {each.name for each in network.initializer}
    (given,) = (each for each in network.input if each.name not in constants)
    axes = [axis.dim_value for axis in given.type.tensor_type.shape.dim]
    if axes[0]:
        raise CommandError(
            f"{view.file}: takes batches of {axes[0]} alone, and a bundle needs any; export it with a free batch, or "
            "leave the probe out by export.members"
        )
    taken = next(each for each in model.graph.input if each.name == embedded)
    per_clip = taken.type.tensor_type.shape.dim[1].dim_value
    joints = {f"{embedded}.rows": [-1, *axes[1:-1], view.samples], f"{embedded}.clips": [-1, per_clip, view.n_mels]}
    names = [f"{embedded}/{name}" for name in view.names]
    nodes = [
        helper.make_node("Reshape", [windows, f"{embedded}.rows"], [given.name]),
        *network.node,
        helper.make_node("Concat", names, [f"{embedded}.joined"], axis=1),
        helper.make_node("Reshape", [f"{embedded}.joined", f"{embedded}.clips"], [embedded]),
    ]
    graph = model.graph
    before = 1 + next(number for number, node in enumerate(graph.node) if windows in node.output)
    for node in reversed(nodes):
        graph.node.insert(before, node)
    graph.initializer.extend(network.initializer)
    graph.initializer.extend(numpy_helper.from_array(np.array(shape), name) for name, shape in joints.items())
    graph.input.remove(taken)
    graph.output.remove(next(each for each in graph.output if each.name == windows))


def _brought_to(version: int, view: StoredEmbedding) -> ModelProto:
    """The network of a view in a version of ONNX's operators."""
    network = onnx.load(view.file)
    if network.opset_import[0].version == version:
        return network
    try:
        return version_converter.convert_version(network, version)
    except Exception as error:  # of ONNX's own C++
        why = " ".join(str(error).split())[:200]
        raise CommandError(
            f"{view.file}: cannot be brought to version {version} of ONNX's operators ({why}); export it with that, or "
            "leave the probe out by export.members"
        ) from error
