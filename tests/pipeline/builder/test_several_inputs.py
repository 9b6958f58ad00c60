"""Embedding views of bundles with several inputs: clips of several lengths, cut out of one window."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from birdcache.audio.read import content_sha256
from birdcache.bundle.format import OUTSIDE
from birdcache.errors import PipelineError
from birdcache.params import load as parameters
from birdcache.params.embedding import Cut, Rows
from cache.store import Store
from cache.store_writer import commit_store
from pipeline.builder.build import Builder
from pipeline.builder.embedding import clips_of
from pipeline.builder.plan import Source
from pipeline.builder.teacher import stored_view
from tests.fixtures.hostile_bundle import write_bundle
from tests.fixtures.tiny import RATE_HZ, ROOT, song, write_audio
from tests.fixtures.waveform import read_waveform
from tests.pipeline.builder.test_embedding import view_of

LONG = {
    "name": "waveform",
    "sample_rate_hz": RATE_HZ,
    "hop": 160,
    "clip_frames": 100,
    "context_frames": 0,
    "margin": 80,
}
SHORT = {**LONG, "name": "waveform_2", "clip_frames": 50, "context_frames": 3}
SAMPLES = {"waveform": 16_000, "waveform_2": 52 * 160 + 160}


def sums() -> ModelProto:
    """Features are two random sums of each input, without what is outside the recording; scores are of the first."""
    rng, nodes = np.random.default_rng(2), list[NodeProto]()
    numbers = {"outside": np.array([1e8], np.float32), "nothing": np.array([0], np.float32)}
    for name, size in SAMPLES.items():
        numbers[f"{name}_weights"] = rng.normal(0, 0.01, (size, 2)).astype(np.float32)
        nodes.append(helper.make_node("Less", [name, "outside"], [f"{name}_heard"]))
        nodes.append(helper.make_node("Where", [f"{name}_heard", name, "nothing"], [f"{name}_inside"]))
        nodes.append(helper.make_node("MatMul", [f"{name}_inside", f"{name}_weights"], [f"{name}_sums"]))
    nodes.append(helper.make_node("Concat", ["waveform_sums", "waveform_2_sums"], ["embedding"], axis=1))
    nodes.append(helper.make_node("Sigmoid", ["waveform_sums"], ["scores"]))
    of_type = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size]) for name, size in SAMPLES.items()
    ]
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("embedding", "scores")]
    weights = [numpy_helper.from_array(value, name) for name, value in numbers.items()]
    built = helper.make_graph(nodes, "graph", of_type, made, weights)
    return helper.make_model(built, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@pytest.fixture(autouse=True)
def _in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def of_inputs(**changes: Any) -> None:
    write_bundle(Path("teachers/x.bundle"), sums(), inputs=[LONG, SHORT | changes])


@pytest.mark.parametrize(
    ("heard", "second"), [([1, 2, 3, 4], [2, 3, 4]), ([1, 2, 3], [1, 2, 3]), ([1], [OUTSIDE, 1, OUTSIDE])]
)
def test_shorter_clips_lie_evenly_over_what_is_heard(heard: list[float], second: list[float]) -> None:
    """A long input takes the four samples of the window; a short one clips of two, and one sample before them."""
    cuts = Cut(name="long", samples=4, lead=0, clip=4), Cut(name="short", samples=3, lead=1, clip=2)
    view = Rows.model_construct(lead=1, samples=5, cuts=cuts)
    row_S = np.full(5, OUTSIDE, np.float32)
    row_S[1 : 1 + len(heard)] = heard
    found = [{name: rows[0].tolist() for name, rows in feeds.items()} for feeds in clips_of(row_S[None], view)]
    assert [each["long"] for each in found] == [row_S[1:].tolist()] * 2
    assert [each["short"] for each in found] == [row_S[:3].tolist(), second]


def test_a_store_has_the_mean_over_the_shorter_clips_of_a_window() -> None:
    of_inputs()
    path = Path("XC1.ogg")
    write_audio(path, song(700.0, 2.0, np.random.default_rng(1)))
    source = Source(content_sha256(path), str(path.absolute()), 2.0)
    machine = parameters.load(ROOT / "params.yaml").machine.model_copy(update={"workers": 1, "device": "cpu"})
    builder = Builder(stored_view("x", view_of("teachers/x.bundle", scores="scores")), Path("pool").absolute(), machine)
    parts, refused = builder.build([source], "test")
    assert not refused
    commit_store(Path("x.zarr"), builder.view, builder.digest, builder.quantizer, parts)
    weights = {each.name: numpy_helper.to_array(each) for each in sums().graph.initializer}
    wave_S = read_waveform(path, RATE_HZ)
    begin = 8000  # of the second window; the rows of the short input begin 560 samples before their clips
    long_2 = wave_S[begin - 80 :][:16_000] @ weights["waveform_weights"]
    clips = [wave_S[begin - 560 + place :][:8480] @ weights["waveform_2_weights"] for place in (0, 8000)]
    row_E = Store(Path("x.zarr")).read(0)[1]
    np.testing.assert_allclose(row_E[:4], [*long_2, *np.mean(clips, axis=0)], rtol=2**-10, atol=1e-3)
    np.testing.assert_allclose(row_E[4:], 1 / (1 + np.exp(-long_2)), atol=1e-3)


def test_other_rates_or_inputs_are_refused() -> None:
    of_inputs(sample_rate_hz=32_000)
    with pytest.raises(PipelineError, match="takes sound at 16000 and 32000 Hz; export members of one rate"):
        stored_view("x", view_of("teachers/x.bundle"))
    of_inputs(name="other")
    with pytest.raises(PipelineError, match="takes not one waveform"):
        stored_view("x", view_of("teachers/x.bundle"))


def test_views_of_one_input_are_written_as_they_were_before_there_were_several() -> None:
    view = Rows(kind="embedding", sample_rate_hz=16000, window_s=1.0, hop_s=0.5, samples=16000, lead=0, outside=0.0)
    assert "cuts" not in view.model_dump()
    assert json.loads(view.model_dump_json()) == view.model_dump()
