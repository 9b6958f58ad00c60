"""Embedding views: windows of recordings through a network in an ONNX file, and files that make no view."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from birdcache.arrays import Floats32
from birdcache.audio.read import content_sha256
from birdcache.errors import PipelineError
from birdcache.params import load as parameters
from birdcache.params.embedding import EmbeddingView, Output, StoredEmbedding
from cache import keys
from cache.store import Store
from cache.store_writer import commit_store
from pipeline.builder import build
from pipeline.builder.build import Builder
from pipeline.builder.embedding import rows
from pipeline.builder.plan import Source
from pipeline.builder.teacher import network_text, stored_view
from tests.fixtures.hostile_bundle import external, model, write_bundle
from tests.fixtures.stores import verify
from tests.fixtures.tiny import RATE_HZ, ROOT, song, write_audio
from tests.fixtures.waveform import read_waveform

SECONDS = (0.4, 1.0, 1.3, 2.6)  # of the recordings
WINDOW_S, HOP_S = 1.0, 0.5
WEIGHTS = np.random.default_rng(3).normal(0, 0.01, (RATE_HZ, 5)).astype(np.float32)
Build = Callable[..., tuple[Store, list[Any]]]


def view_of(file: str = "teachers/x.onnx", **changes: Any) -> EmbeddingView:
    facts = {"kind": "embedding", "file": file, "sample_rate_hz": RATE_HZ, "window_s": WINDOW_S, "hop_s": HOP_S}
    return EmbeddingView.model_validate(facts | {"scores": "logits", "batch": 2} | changes)


def graph(axes: tuple[Any, ...] = ("batch", RATE_HZ), dtype: int = TensorProto.FLOAT, root: bool = False) -> ModelProto:
    """Five sums of a window: the first three as they are, of the other two the absolute value, or the root."""
    nodes = [
        helper.make_node("Cast", ["waveform"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["floats", "flat"], ["rows"]),
        helper.make_node("MatMul", ["rows", "weights"], ["sums"]),
        helper.make_node("Split", ["sums", "sizes"], ["embedding", "last"], axis=1),
        helper.make_node("Sqrt" if root else "Abs", ["last"], ["logits"]),
    ]
    numbers = {"weights": WEIGHTS, "flat": np.array([-1, RATE_HZ]), "sizes": np.array([3, 2])}
    built = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("waveform", dtype, list(axes))],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("embedding", "logits")],
        [numpy_helper.from_array(value, name) for name, value in numbers.items()],
    )
    return helper.make_model(built, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def write(built: ModelProto | bytes) -> None:
    Path("teachers").mkdir(exist_ok=True)
    Path("teachers/x.onnx").write_bytes(built if isinstance(built, bytes) else built.SerializeToString())


@pytest.fixture(autouse=True)
def _in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(keys, "FEWEST_PART_BITS", 1)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Source]:
    """Four clips."""
    folder, rng = tmp_path_factory.mktemp("clips"), np.random.default_rng(1)
    for number, seconds in enumerate(SECONDS):
        write_audio(folder / f"XC{number}.ogg", song(500.0 + 300 * number, seconds, rng))
    paths = sorted(folder.iterdir())
    return [Source(content_sha256(path), str(path), s) for path, s in zip(paths, SECONDS, strict=True)]


@pytest.fixture
def make() -> Build:
    """A function that builds and opens a store, and what was refused."""

    def made(sources: list[Source], view: EmbeddingView, pool: str = "pool", workers: int = 1) -> tuple[Store, Any]:
        machine = parameters.load(ROOT / "params.yaml").machine.model_copy(update={"workers": workers, "device": "cpu"})
        builder = Builder(stored_view("x", view), Path(pool).absolute(), machine)
        parts, refused = builder.build(sources, "test")
        target = Path(f"{pool}.zarr")
        commit_store(target, builder.view, builder.digest, builder.quantizer, parts)
        store = Store(target, view)
        verify(store)
        return store, refused

    return made


def rows_of(store: Store, source: Source) -> Floats32:
    return store.read(int(store.rows_of([source.sha256])[0]))


@pytest.mark.parametrize("cut", [1, 3, 100])
@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        (3, [[1, 2, 3, 0]]),
        (4, [[1, 2, 3, 4]]),
        (5, [[1, 2, 3, 4], [3, 4, 5, 0]]),
        (8, [[1, 2, 3, 4], [3, 4, 5, 6], [5, 6, 7, 8]]),
    ],
)
def test_windows_cover_a_recording_and_only_the_last_has_silence(
    samples: int, expected: list[list[int]], cut: int
) -> None:
    view = stored_small()
    wave_S = np.arange(1, samples + 1, dtype=np.float32)
    pieces = [wave_S[start : start + cut] for start in range(0, samples, cut)]
    assert [row.tolist() for row in rows(pieces, view)] == expected


@pytest.mark.parametrize(("samples", "windows"), [(4, 1), (40, 1), (44, 1), (45, 2), (84, 2), (85, 3)])
def test_a_rest_of_up_to_a_tenth_of_a_window_gets_none(samples: int, windows: int) -> None:
    """Forty samples, one window after another: encoders leave some milliseconds behind five seconds of sound."""
    view = stored_small(samples=40, window_s=40 / 8000, hop_s=40 / 8000)
    assert len(list(rows([np.ones(samples, np.float32)], view))) == windows


def stored_small(**changes: Any) -> StoredEmbedding:
    """Windows of four samples, every two."""
    facts = {
        "kind": "embedding",
        "sample_rate_hz": 8000,
        "window_s": 4 / 8000,
        "hop_s": 2 / 8000,
        "output": "embedding",
    }
    known: dict[str, Any] = {**facts, "samples": 4, "lead": 0, "outside": 0.0} | changes
    outputs = (Output(name="embedding", start=0, stop=1),)
    return StoredEmbedding.model_construct(None, file_sha256="", outputs=outputs, **known)


def test_a_bundles_rows_begin_before_their_windows_and_tell_what_lies_outside() -> None:
    view = stored_small(samples=7, lead=2, outside=9.0)
    found = [row.tolist() for row in rows([np.array([1, 2, 3, 4, 5], np.float32)], view)]
    assert found == [[9, 9, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 9, 9]]


def test_a_store_has_the_networks_numbers_of_each_window(sources: list[Source], make: Build) -> None:
    write(graph())
    store, refused = make(sources, view_of())
    assert not refused
    assert store.outputs == (Output(name="embedding", start=0, stop=3), Output(name="logits", start=3, stop=5))
    assert (store.view.n_mels, store.view.hop, store.view.dtype) == (5, 8000, "float16")
    for source, windows in zip(sources, (1, 1, 2, 4), strict=True):
        wave_S = np.concatenate([read_waveform(Path(source.path), RATE_HZ), np.zeros(RATE_HZ, np.float32)])
        rows_BS = np.stack([wave_S[8000 * number :][:RATE_HZ] for number in range(windows)])
        sums_BE = rows_BS.astype(np.float64) @ WEIGHTS.astype(np.float64)
        sums_BE[:, 3:] = np.abs(sums_BE[:, 3:])
        np.testing.assert_allclose(rows_of(store, source), sums_BE, rtol=2**-11, atol=1e-4)


def test_rows_depend_on_their_recording_alone_and_bytes_not_on_workers(sources: list[Source], make: Build) -> None:
    write(graph())
    store, _ = make(sources, view_of())
    alone, _ = make(sources[3:], view_of(), pool="alone")
    np.testing.assert_array_equal(rows_of(store, sources[3]), rows_of(alone, sources[3]))
    both, _ = make(sources, view_of(), pool="both", workers=2)
    assert both.digest == store.digest


@pytest.mark.parametrize("axes", [(2, RATE_HZ), ("batch", 1, "samples"), (2, 1, RATE_HZ)])
def test_a_fixed_batch_and_an_axis_of_one_channel_give_the_same(
    sources: list[Source], make: Build, axes: tuple[Any, ...]
) -> None:
    write(graph())
    free, _ = make(sources, view_of())
    write(graph(axes))
    fixed, _ = make(sources, view_of(), pool="fixed")
    for source in sources:
        np.testing.assert_allclose(rows_of(fixed, source), rows_of(free, source), rtol=2**-10, atol=1e-4)


def watched_jobs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The jobs that builders do from now on, in a list that grows."""
    jobs: list[Any] = []
    run = build.Builder._run

    def watched(self: Builder, found: list[Any], what: str) -> Any:
        jobs.extend(found)
        return run(self, found, what)

    monkeypatch.setattr(build.Builder, "_run", watched)
    return jobs


def test_an_unfinished_build_goes_on_and_a_new_recording_decodes_no_other(
    sources: list[Source], make: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(graph())
    make(sources[:3], view_of())
    jobs = watched_jobs(monkeypatch)
    store, _ = make(sources, view_of())
    assert [source for job in jobs for source in job.new] == sources[3:]
    whole, _ = make(sources, view_of(), pool="whole")
    assert store.digest == whole.digest


def test_the_files_bytes_and_not_its_path_are_part_of_the_key(make: Build) -> None:
    write(graph())
    first = Builder(stored_view("x", view_of()), Path("pool").absolute(), machine())
    Path("teachers/x.onnx").rename("teachers/y.onnx")
    moved = stored_view("x", view_of("teachers/y.onnx", licence="MIT"))
    assert Builder(moved, Path("pool").absolute(), machine()).digest == first.digest
    text = network_text(view_of("teachers/y.onnx"))
    Path("teachers/y.onnx").write_bytes(graph(root=True).SerializeToString())
    assert network_text(view_of("teachers/y.onnx")) != text
    other = stored_view("x", view_of("teachers/y.onnx"))
    assert Builder(other, Path("pool").absolute(), machine()).digest != first.digest


def machine() -> Any:
    return parameters.load(ROOT / "params.yaml").machine.model_copy(update={"workers": 3, "device": "auto"})


def test_a_recording_whose_numbers_are_not_finite_is_refused_and_others_go_on(
    sources: list[Source], make: Build
) -> None:
    write(graph(root=True))  # the roots of negative sums
    store, refused = make(sources, view_of())
    negative = []
    for source, windows in zip(sources, (1, 1, 2, 4), strict=True):
        wave_S = np.concatenate([read_waveform(Path(source.path), RATE_HZ), np.zeros(RATE_HZ, np.float32)])
        sums = [(wave_S[8000 * number :][:RATE_HZ] @ WEIGHTS)[3:].min() for number in range(windows)]
        if min(sums) < 0:
            negative.append(source.path)
    assert 0 < len(negative) < len(sources)
    assert [(each.file, each.code) for each in refused] == [(path, "not-finite") for path in negative]
    assert len(store) == len(sources) - len(negative)


@pytest.mark.parametrize(
    ("built", "changes", "problem"),
    [
        (b"<html>", {}, "is no ONNX file, or a broken one"),
        (external("weights.bin"), {}, "keeps numbers in other files"),
        (
            graph(),
            {"output": "logit"},
            r"has no output logit: inputs: .*; outputs: embedding tensor\(float\) \[",
        ),
        (
            graph(),
            {"input": "audio"},
            r"takes not one waveform, audio: inputs: waveform .* \[batch, 16000\]",
        ),
        (graph(), {"window_s": 2.0}, "takes rows of 16000 samples, not 32000; set window_s: 1, or sample_rate_hz"),
        (graph((4, RATE_HZ)), {}, "takes batches of 4, not 2; set batch: 4"),
        (graph(("batch", 2, RATE_HZ)), {}, r"takes no waveform \[batch, samples\] of float32: inputs: waveform"),
        (graph(dtype=TensorProto.INT32), {}, r"takes no waveform .*: inputs: waveform tensor\(int32\)"),
        (graph(), {"output": "wide"}, "gives 40002 numbers for each window, not 1 to 32768"),
        (graph(), {"output": "single"}, r"gives float32 \[10\] as single for 2 windows"),
    ],
)
def test_a_file_that_makes_no_view_is_refused_with_what_it_says(
    built: ModelProto | bytes, changes: dict[str, Any], problem: str
) -> None:
    if isinstance(built, ModelProto) and changes.get("output") in ("wide", "single"):
        shape = {"wide": [2, 40000], "single": [10]}[changes["output"]]
        many = helper.make_tensor("shape", TensorProto.INT64, [len(shape)], shape)
        built.graph.initializer.append(many)
        built.graph.node.append(helper.make_node("ConstantOfShape", ["shape"], [changes["output"]]))
        built.graph.output.append(helper.make_tensor_value_info(changes["output"], TensorProto.FLOAT, None))
    write(built)
    with pytest.raises(PipelineError, match=rf"params\.yaml: views\.x: teachers/x\.onnx: {problem}"):
        stored_view("x", view_of(**changes))


def test_a_missing_file_is_refused() -> None:
    with pytest.raises(PipelineError, match=r"views\.x: teachers/x\.onnx: is no file"):
        stored_view("x", view_of())


def test_a_bundle_says_rate_clip_and_labels(sources: list[Source], make: Build) -> None:
    write_bundle(Path("teachers/b.bundle"), model(axes=("batch", 16000)))
    view = view_of("teachers/b.bundle", scores="scores")
    store, _ = make(sources, view)
    assert store.outputs[1] == Output(name="scores", start=4, stop=6, labels=("wren", "owl"))
    assert isinstance(store.view, StoredEmbedding)
    assert (store.view.samples, store.view.lead, store.view.outside) == (16000, 80, 1e9)
    with pytest.raises(PipelineError, match="hears clips of 1 s; set window_s: 1"):
        stored_view("x", view_of("teachers/b.bundle", window_s=2.0))
    with pytest.raises(PipelineError, match="takes sound at 16000 Hz; set sample_rate_hz: 16000"):
        stored_view("x", view_of("teachers/b.bundle", sample_rate_hz=32000))


def test_one_process_uses_a_gpu_that_onnx_runtime_offers(monkeypatch: pytest.MonkeyPatch) -> None:
    write(graph())
    pool, offered = Path("pool").absolute(), ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: offered)
    on_gpu, on_cpu = (Builder(stored_view("x", view_of(), device), pool, machine()) for device in ("auto", "cpu"))
    assert isinstance(on_gpu.view, StoredEmbedding)
    assert isinstance(on_cpu.view, StoredEmbedding)
    assert (on_gpu.view.device, on_gpu._machine.workers) == ("cuda", 1)
    assert (on_cpu.view.device, on_cpu._machine.workers) == ("cpu", 3)
    assert on_gpu.digest == on_cpu.digest
