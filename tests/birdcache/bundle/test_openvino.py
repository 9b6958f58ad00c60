"""A bundle's graph in OpenVINO, where that is installed: docs/deploy.md says what it takes."""

from __future__ import annotations

import numpy as np
import pytest

from birdcache.bundle.format import MODEL, SCORES
from birdcache.bundle.read import open_bundle
from tests.fixtures.bundle import Exported

openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed, and nothing else needs it")


def test_in_float32_the_scores_are_those_of_onnx_runtime(exported: Exported) -> None:
    bundle = open_bundle(exported.bundle, "cpu")
    random = np.random.default_rng(1)
    inputs = bundle.description.inputs
    rows = {each.name: 0.1 * random.standard_normal((1, each.samples)).astype(np.float32) for each in inputs}
    expected_BK, _ = bundle.graph.run([rows[each.name] for each in inputs])
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(str(exported.bundle / MODEL), "CPU", settings)
    np.testing.assert_allclose(compiled(rows)[compiled.output(SCORES)], expected_BK, atol=1e-4)
