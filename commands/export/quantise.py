"""Conversion of an ONNX file's networks to 8-bit integers; the front end, with its range of 100 dB, stays float32."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
from onnx import ModelProto

from birdcache.arrays import Floats32

FRONT_END = ".front_end."  # part of the names of its constants
QUANTISED = ("Conv", "MatMul", "Gemm")


def quantise(source: Path, target: Path, rows: Iterator[Mapping[str, Floats32]]) -> None:
    """Write a copy in which the networks' convolutions and matrix products use integers.

    Weights have a scale per channel, activations one per tensor, from their range on `rows`.

    Parameters
    ----------
    rows : inputs of the graph, one small batch at a time.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class CalibrationRows(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> Any:
            return next(rows, None)

    with quiet():
        quantize_static(
            source,
            target,
            CalibrationRows(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTISED),
            nodes_to_exclude=front_end_nodes(onnx.load(source)),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Silence ONNX Runtime's advice to preprocess the model, which torch's exporter has already done."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def front_end_nodes(model: ModelProto) -> list[str]:
    """Names of the convolutions and matrix products that use a constant of the front end."""
    return [
        node.name
        for node in model.graph.node
        if node.op_type in QUANTISED and any(FRONT_END in each for each in node.input)
    ]
