"""Export of the graph as an ONNX file without traces of this machine."""

import warnings
from pathlib import Path

import onnx
import torch
from onnx import ModelProto

from birdcache.bundle.format import EMBEDDING, SCORES
from birdcache.errors import CommandError
from commands.export.graph import EnsembleGraph
from commands.export.probe import put_between

OPSET = 18  # supported by OpenVINO, ONNX Runtime Web and older runtimes
BATCH = "batch"  # name of the dynamic axis
UNWANTED = {"DFT", "STFT", "Loop", "Scan", "If", "SequenceMap"}  # not supported by every runtime
STANDARD = {"", "ai.onnx"}


def export_graph(graph: EnsembleGraph, path: Path) -> None:
    """Write the graph; its batch size is dynamic, all other axes are fixed.

    A CommandError if torch cannot export it, or it needs an operator that some runtimes lack.
    """
    graph.eval()
    rows = graph.silence(2)
    free = tuple({0: torch.export.Dim(BATCH)} for _ in rows)
    numbers = range(1, 1 + len(graph.probed))
    windows, embedded = [[f"{what}_{number}" for number in numbers] for what in ("windows", "embedded")]
    with torch.no_grad():
        graph(*rows)  # what is kept from the first call, such as PCEN's response, must not be the exporter's
    try:
        with warnings.catch_warnings(action="ignore"):  # the exporter warns about its own internals
            program = torch.onnx.export(
                graph,
                rows,
                dynamo=True,
                opset_version=OPSET,
                input_names=[*(each.name for each in graph.inputs), *embedded],
                output_names=[SCORES, EMBEDDING, *windows],
                dynamic_shapes=(free,),
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise CommandError(
            f"the ensemble cannot be exported as ONNX: {str(error).strip().splitlines()[0]}; leave out the member "
            "whose backbone is the cause (export.members), or choose another backbone"
        ) from error
    assert program is not None
    model = program.model_proto
    check_operators(model)
    for given, taken, probed in zip(windows, embedded, graph.probed, strict=True):
        put_between(model, given, taken, probed.view)
    strip(model)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def strip(model: ModelProto) -> None:
    """Remove stack traces, which name files of this machine, and other metadata."""
    graph = model.graph
    values = (*graph.input, *graph.output, *graph.initializer, *graph.value_info)
    for each in (model, graph, *graph.node, *values):
        each.doc_string = ""
        del each.metadata_props[:]


def check_operators(model: ModelProto) -> None:
    """Refuse operators outside ONNX's standard domain, and those that some runtimes lack, by a CommandError."""
    foreign = {node.domain for node in model.graph.node} - STANDARD | {each.domain for each in model.functions}
    unwanted = {node.op_type for node in model.graph.node} & UNWANTED
    if foreign or unwanted:
        raise CommandError(
            f"the graph holds operators {', '.join(sorted(unwanted | foreign))}, which some runtimes lack; leave out "
            "the member that needs them (export.members)"
        )
