"""A probe and its network in one graph say what the pipeline says, whatever the length of the recording."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper

from birdcache.bundle.graph_process import open_session
from birdcache.errors import CommandError
from birdcache.files import file_sha256
from birdcache.params.embedding import Output, StoredEmbedding
from commands.export.graph import EnsembleGraph, WeightedModel
from commands.export.onnx_file import export_graph
from pipeline.builder.embedding import open_network, rows
from pipeline.builder.encode import quantizer_of
from tests.commands.export.models import Floats, mel, of_pipeline, rows_of, song, weighted_model
from train.augment.normalise import BinStatistics
from train.data.frames import ArrayFrames
from train.score.inference import Scorer, clips_at

RATE_HZ, WINDOW, HOP = 16000, 8000, 5000  # windows overlap, and a clip of 1 s has four of them
LENGTHS = [900, WINDOW, WINDOW + 1, WINDOW + HOP, WINDOW + HOP + 1, WINDOW + 3 * HOP, WINDOW + 3 * HOP + 1, 70123]
MIDDLES_S = np.array([0.1, 0.5, 1.3, 2.2, 9.0])
PROBE = {"view": "tones", "backbone": "embedding", "head": "mlp"}


def a_network(path: Path, opset: int = 18, batch: Any = "batch", channel: bool = False) -> ModelProto:
    """Seven sums of a window and their roots; another output is not asked for."""
    weights_SM = np.random.default_rng(2).normal(0, 0.05, (WINDOW, 7)).astype(np.float32)
    nodes = [
        helper.make_node("Reshape", ["waveform", "flat"], ["rows"]),
        helper.make_node("MatMul", ["rows", "weights"], ["sums"]),
        helper.make_node("Abs", ["sums"], ["embedding"]),
        helper.make_node("Sqrt", ["embedding"], ["roots"]),
        helper.make_node("Neg", ["sums"], ["unused"]),
    ]
    constants = {"weights": weights_SM, "flat": np.array([-1, WINDOW])}
    axes = [batch, *([1] if channel else []), WINDOW]
    graph = helper.make_graph(
        nodes,
        "sums",
        [helper.make_tensor_value_info("waveform", TensorProto.FLOAT, axes)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("embedding", "roots", "unused")],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7)
    onnx.save(made, path)
    return made


def a_probe(path: Path, share: float = 1.0, **network: Any) -> WeightedModel:
    """An untrained probe of such a network."""
    a_network(path, **network)
    view = StoredEmbedding(
        kind="embedding",
        sample_rate_hz=RATE_HZ,
        window_s=WINDOW / RATE_HZ,
        hop_s=HOP / RATE_HZ,
        scores="roots",
        samples=WINDOW,
        lead=0,
        outside=0.0,
        file_sha256=file_sha256(path),
        file=str(path),
        outputs=(Output(name="embedding", start=0, stop=7), Output(name="roots", start=7, stop=14)),
    )
    weighted = weighted_model(view, share, PROBE, normalise="bins", short="loop")
    classifier: Any = weighted.model.network
    classifier.statistics = BinStatistics(torch.full((1, 14), 0.5), torch.full((1, 14), 0.3))
    with torch.no_grad():
        classifier.backbone.get_classifier()[1].weight.mul_(20)  # so that a difference between clips shows
    return weighted


def of_stages(weighted: WeightedModel, waveform_S: Floats) -> Floats:
    """Scores of clips, (N, K), by the windows that stage `spectrograms` stores."""
    view, model = weighted.view, weighted.model
    assert isinstance(view, StoredEmbedding)
    network = open_network(Path(view.file), view.file_sha256, view, "cpu")
    windows_TS = np.stack(list(rows([waveform_S], view)))
    values_TM = np.concatenate(network.run(windows_TS), axis=1).astype(np.float16)
    frames = ArrayFrames(values_TM, quantizer_of(view), torch.device("cpu"))
    scorer = Scorer(model.network, frames, view, model.sidecar.member.recipe, torch.device("cpu"))
    return scorer.scores(clips_at(MIDDLES_S, 0, len(values_TM), view, model.clip_frames), 8) * weighted.share


def exported(models: list[WeightedModel], path: Path) -> tuple[EnsembleGraph, Any]:
    graph = EnsembleGraph(models)
    export_graph(graph, path)
    return graph, open_session(path.read_bytes(), "cpu", 1)[0]


def of_graph(graph: EnsembleGraph, session: Any, waveform_S: Floats) -> tuple[Floats, Floats]:
    found = session.run(
        ["scores", "embedding"], {each.name: rows_of(each, waveform_S, MIDDLES_S) for each in graph.inputs}
    )
    return found[0], found[1]


@pytest.mark.parametrize(
    "network",
    [{}, *(pytest.param(each, marks=pytest.mark.slow) for each in ({"channel": True}, {"opset": 13}))],
    ids=str,
)
def test_recordings_of_any_length(tmp_path: Path, network: dict[str, Any]) -> None:
    probe = a_probe(tmp_path / "sums.onnx", **network)
    graph, session = exported([probe], tmp_path / "model.onnx")
    assert [each.name for each in session.get_inputs()] == ["waveform"]
    assert [each.name for each in session.get_outputs()] == ["scores", "embedding"]
    for length in LENGTHS:
        waveform_S = song(length)
        wanted = of_stages(probe, waveform_S)
        found, embedding = of_graph(graph, session, waveform_S)
        np.testing.assert_allclose(found, wanted, atol=1e-5, err_msg=f"{length} samples")
        assert embedding.shape == (len(MIDDLES_S), graph.embedding)
    assert wanted.std(axis=0).max() > 0.01, "clips that all sound alike show nothing"


@pytest.mark.slow
def test_beside_spectrograms_and_a_second_probe(tmp_path: Path) -> None:
    models = [a_probe(tmp_path / "a.onnx", 0.2), weighted_model(mel(), 0.5), a_probe(tmp_path / "a.onnx", 0.3)]
    graph, session = exported(models, tmp_path / "model.onnx")
    assert [each.name for each in graph.inputs] == ["waveform", "waveform_2"]
    waveform_S = song(LENGTHS[-1])
    wanted = of_stages(models[0], waveform_S) + of_stages(models[2], waveform_S)
    wanted += of_pipeline(models[1], waveform_S, MIDDLES_S)
    np.testing.assert_allclose(of_graph(graph, session, waveform_S)[0], wanted, atol=1e-3)


def test_a_network_of_one_batch_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"sums\.onnx: takes batches of 8 alone, .* by export\.members"):
        exported([a_probe(tmp_path / "sums.onnx", batch=8)], tmp_path / "model.onnx")
