"""Bundles from strangers: whatever one holds, it is scored as it says, or refused in words."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from onnx import ModelProto, TensorProto, helper

import birdcache
from birdcache.bundle import graph
from birdcache.bundle.api import LoadedBundle
from birdcache.bundle.format import DESCRIPTION, MODEL, SUMS, Description
from birdcache.bundle.onnx_file import check_onnx
from birdcache.bundle.read import Bundle, check_sums, open_bundle
from birdcache.bundle.scores import BundlePredictor
from commands.export.bundle_files import write_sums
from tests.fixtures.hostile_bundle import CUT, DESCRIBED, LABELS, SAMPLES, endless, external, model, write_bundle

INPUT = DESCRIBED["inputs"][0]
MEMBER = DESCRIBED["members"]["base"]


def refusal(folder: Path) -> str:
    with pytest.raises(birdcache.BirdcacheError) as caught:
        birdcache.load(folder)
    text = str(caught.value)
    assert text.startswith(str(folder)), "the file is named"
    assert "; " in text, "a way out is named"
    return text.removeprefix(str(folder))


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return open_bundle(write_bundle(tmp_path_factory.mktemp("bundles") / "good"))


def test_a_good_bundle_is_scored(good: Bundle, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.linspace(0, 0.9, 2 * SAMPLES), SAMPLES, "FLOAT")
    bundle = LoadedBundle(BundlePredictor(good))
    scores = bundle.predict(tmp_path / "a.wav").scores
    assert bundle.labels == tuple(LABELS)
    assert scores.shape == (2, 2)
    assert 0 <= scores.min() < scores.max() <= 1


@pytest.mark.parametrize("fold_soup", [False, True])
def test_a_member_with_a_key_of_before_is_read(tmp_path: Path, fold_soup: bool) -> None:
    folder = write_bundle(tmp_path / "x.bundle", members={"base": MEMBER | {"fold_soup": fold_soup}})
    (member,) = open_bundle(folder).description.members.values()
    assert member.model_dump() == MEMBER


HOSTILE_VALUES: list[tuple[dict[str, Any], str]] = [
    ({"window_s": -5}, "window_s: Input should be greater than or equal to 0.1"),
    ({"window_s": 0}, "window_s: "),
    ({"window_s": 1e12}, "window_s: "),
    ({"window_s": float("nan")}, "window_s: Input should be a finite number"),
    ({"hop_s": 0.0}, "hop_s: "),
    ({"hop_s": 1e-12}, "hop_s: "),
    ({"hop_s": 2.0}, "hop_s: must be at most window_s"),
    ({"shifts_s": [0.001 * step for step in range(100_000)]}, "shifts_s: List should have at most 100 items"),
    ({"shifts_s": [float("inf")]}, "shifts_s.0: Input should be a finite number"),
    ({"shifts_s": [-7.0]}, "shifts_s: each must be shorter"),
    ({"thresholds": [float("nan"), 0.5]}, "thresholds.0: Input should be a finite number"),
    ({"thresholds": [1.5, 0.5]}, "thresholds.0: "),
    ({"thresholds": [0.5]}, "thresholds: must be as many as labels"),
    ({"labels": [], "thresholds": []}, "labels: "),
    ({"labels": ["wren", "wren"]}, "labels: names one twice"),
    ({"labels": ["wren", "\x1b[2Jowl"]}, "labels.1: a label is made of"),
    ({"labels": ["wren", "=HYPERLINK(1)"]}, "labels.1: a label is made of"),
    ({"labels": ["wren", "o" * 10_000]}, "labels.1: a label is made of"),
    ({"submission_labels": ["../x", "owl"]}, "submission_labels.0: a label is made of"),
    ({"names": {"eagle": "Eagle"}}, "names: must be of labels"),
    ({"names": {"wren": "\u202ewren"}}, "names.wren: holds a character that cannot be printed"),
    ({"name": "\x1b]0;owned\x07"}, "name: holds a character that cannot be printed"),
    ({"name": "n" * 300}, "name: String should have at most 200 characters"),
    ({"members": {"\x1b[31m": MEMBER}}, "holds a character that cannot be printed"),
    ({"members": {"base": {**MEMBER, "weight": -1.0}}}, "members.base.weight: "),
    ({"inputs": [{**INPUT, "name": f"i{number}"} for number in range(300)]}, "inputs: List should have at most 16"),
    ({"inputs": []}, "inputs: "),
    ({"inputs": [INPUT, INPUT]}, "inputs: each needs a name of its own"),
    ({"inputs": [{**INPUT, "sample_rate_hz": 0}]}, "inputs.0.sample_rate_hz: "),
    ({"inputs": [{**INPUT, "sample_rate_hz": 10**9}]}, "inputs.0.sample_rate_hz: "),
    ({"inputs": [{**INPUT, "hop": 0}]}, "inputs.0.hop: "),
    ({"inputs": [{**INPUT, "clip_frames": 2**20, "hop": 2**16}]}, "inputs: take more samples than any clip has"),
    ({"inputs": [{**INPUT, "context_frames": -1}]}, "inputs.0.context_frames: "),
    ({"inputs": [{**INPUT, "margin": 10**4000}]}, "inputs.0.margin: "),
    ({"embedding": 0}, "embedding: "),
    ({"low_hz": 9000.0}, "low_hz: must be below high_hz"),
    ({"smoothing": 0.9}, "smoothing"),
    ({"smoothing": [[0.1, 0.8, 0.1]] * 7}, "smoothing: must be as many taps for each label"),
    ({"smoothing": [[1.0], [0.1, 0.8, 0.1], [1.0]]}, "smoothing: must be as many taps for each label"),
    ({"file_max": -1.0}, "file_max: "),
    ({"version": 2}, "version: .*it is of another version: export it again"),
    ({"more": 1}, "more: Extra inputs"),
]


@pytest.mark.parametrize(("values", "rule"), HOSTILE_VALUES)
def test_each_value_has_bounds(tmp_path: Path, values: dict[str, Any], rule: str) -> None:
    said = refusal(write_bundle(tmp_path / "x.bundle", **values))
    assert re.match(rf"/bundle\.json: .*{rule}", said), said
    assert said.isprintable()


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        json.dumps(DESCRIBED).replace("16000", "9" * 5000),
        json.dumps(DESCRIBED).replace('"resolved": {}', '"resolved": {"x": ' + "[" * 5000 + "]" * 5000 + "}"),
        "",
        "null",
        "\ufeff{}",
        '{"version": 1, "version": 1}',
    ],
)
def test_a_description_that_is_no_such_json_is_refused(tmp_path: Path, text: str) -> None:
    folder = write_bundle(tmp_path / "x.bundle")
    (folder / DESCRIPTION).write_text(text)
    write_sums(folder)
    assert refusal(folder).startswith("/bundle.json: ")


def nan_scores() -> ModelProto:
    logarithm = helper.make_node("Log", ["some"], ["minus_infinity"])
    return model([CUT, logarithm, helper.make_node("Sqrt", ["minus_infinity"], ["scores_cut"])])


def vast() -> ModelProto:
    made = helper.make_node("ConstantOfShape", ["shape"], ["vast"])
    total = helper.make_node("ReduceSum", ["vast"], ["sum"], keepdims=0)
    add = helper.make_node("Add", ["some", "sum"], ["scores_cut"])
    return model([CUT, made, total, add], {"shape": np.array([2**40])})


def of_domain(domain: str) -> ModelProto:
    made = model([helper.make_node("Gelu", ["waveform"], ["scores"], domain=domain)])
    made.opset_import.append(helper.make_opsetid(domain, 1))
    return made


def with_functions() -> ModelProto:
    made = model()
    made.functions.add().name = "f"
    return made


def sevens() -> ModelProto:
    add = helper.make_node("Add", ["some", "seven"], ["scores_cut"])
    return model([CUT, add], {"seven": np.array(7, np.float32)}, most=9.0)


HOSTILE_GRAPHS: list[tuple[Callable[[], ModelProto | bytes], str]] = [
    (lambda: model(classes=3), "gives arrays .* where bundle.json promises"),
    (lambda: model(inputs=("waveform", "other")), "takes .*other.* but bundle.json describes another graph"),
    (lambda: external("../../../etc/passwd"), "keeps numbers in other files"),
]
MORE_HOSTILE_GRAPHS: list[tuple[Callable[[], ModelProto | bytes], str]] = [
    (nan_scores, "gives nan instead of a score from 0 to 1 for a silent clip"),
    (vast, "cannot be run .*[Aa]lloc"),
    (lambda: model(axes=("batch", SAMPLES + 1)), "bundle.json describes rows of 16000 samples"),
    (sevens, "gives 7 instead of a score from 0 to 1 for a silent clip"),
    (lambda: model(axes=(1, SAMPLES)), "bundle.json describes rows of 16000 samples"),
    (lambda: model(dtype=TensorProto.INT64), "cannot be run"),
    (lambda: of_domain("com.evil"), "uses operators of 'com.evil'"),
    (with_functions, "holds functions of its own"),
    (lambda: model().SerializeToString()[:300], "is no ONNX file, or a broken one"),
]
SLOW = [pytest.param(*each, marks=pytest.mark.slow) for each in MORE_HOSTILE_GRAPHS]


@pytest.mark.parametrize(("made", "rule"), [*HOSTILE_GRAPHS, *SLOW])
def test_a_graph_that_is_not_what_it_has_to_be_is_refused(
    tmp_path: Path, made: Callable[[], ModelProto | bytes], rule: str
) -> None:
    said = refusal(write_bundle(tmp_path / "x.bundle", made()))
    assert re.match(rf"/model\.onnx: .*{rule}", said), said


def test_a_graph_that_does_not_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "WAIT_S", 2.0)
    assert "it does not score its clips after" in refusal(write_bundle(tmp_path / "x.bundle", endless()))


@pytest.mark.slow
def test_a_graph_may_loop_if_it_ends(tmp_path: Path) -> None:
    assert birdcache.load(write_bundle(tmp_path / "x.bundle", endless(3))).labels == tuple(LABELS)


def test_a_graph_whose_process_was_killed_is_opened_again(good: Bundle) -> None:
    rows = [np.zeros((3, SAMPLES), np.float32)]
    good.graph.run(rows)
    assert good.graph._process is not None
    good.graph._process.kill()
    good.graph._process.wait()
    scores_BK, _ = good.graph.run(rows)
    assert scores_BK.tolist() == [[0, 0]] * 3


@pytest.mark.parametrize(
    "made",
    [
        *(external(where) for where in ("/etc/passwd", "../x", "x.data", "README.md", "*/_ORT_MEM_ADDR_/*")),
        of_domain("com.microsoft"),
        with_functions(),
        b"",
        b"no model",
        bytes(1000),
        b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x3b\x00",
        b"\x3a\x02" * 100,
    ],
)
def test_a_model_file_is_read_before_onnx_runtime_sees_it(made: ModelProto | bytes) -> None:
    with pytest.raises(ValueError, match=r"other files|operators of|functions|is no ONNX file"):
        check_onnx(made if isinstance(made, bytes) else made.SerializeToString())


def test_numbers_in_other_files_are_found_wherever_a_tensor_may_stand() -> None:
    """In initializers, attributes, graphs in attributes, and sparse tensors."""
    check_onnx(model().SerializeToString())
    bad = next(each for each in external("x").graph.initializer if each.data_location)
    inner = helper.make_graph([], "inner", [], [], [bad])
    for attribute in (helper.make_attribute("value", bad), helper.make_attribute("body", inner)):
        node = helper.make_node("Constant", [], ["x"])
        node.attribute.append(attribute)
        with pytest.raises(ValueError, match="keeps numbers in other files"):
            check_onnx(model([node]).SerializeToString())
    sparse = model()
    sparse.graph.sparse_initializer.add().values.CopyFrom(bad)
    with pytest.raises(ValueError, match="keeps numbers in other files"):
        check_onnx(sparse.SerializeToString())


def test_what_sha256sums_does_not_name_is_refused_and_what_a_system_leaves_is_not_read(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "x.bundle")
    (folder / ".DS_Store").write_bytes(b"x")
    check_sums(folder)
    (folder / "weights.data").write_bytes(b"x")
    assert "/weights.data: is not named in SHA256SUMS" in refusal(folder)
    (folder / "weights.data").unlink()
    (folder / "inner").mkdir()
    assert "/inner: is not named in SHA256SUMS" in refusal(folder)


@pytest.mark.parametrize(
    "line", ["../x", "a/b", "a\\b", "/etc/passwd", ".hidden", "model.onnx", "x\x1b[2J", "no digest", "inner\x00"]
)
def test_sums_name_files_of_the_folder_each_once(tmp_path: Path, line: str) -> None:
    folder = write_bundle(tmp_path / "x.bundle")
    with (folder / SUMS).open("a") as file:
        file.write(f"{'0' * 64 if line != 'no digest' else ''}  {line}\n")
    assert "/SHA256SUMS: is no list of up to 100 files" in refusal(folder)


def test_a_file_that_is_none_or_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "x.bundle")
    os.truncate(folder / "README.md", 2**40)  # a hole: it takes no room
    assert "/README.md: holds 1,099,511,627,776 bytes" in refusal(folder)
    (folder / "README.md").unlink()
    (folder / "README.md").symlink_to("/etc/passwd")
    assert "/README.md: is a link" in refusal(folder)
    (folder / "README.md").unlink()
    os.mkfifo(folder / "README.md")
    assert "/README.md: is no file" in refusal(folder)


def test_a_model_that_is_exchanged_after_it_was_checked_is_refused(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "x.bundle")
    with pytest.raises(birdcache.BirdcacheError, match=r"it changes while it is read"):
        graph.Graph(folder / MODEL, "0" * 64, Description(**DESCRIBED))


@pytest.mark.parametrize("window_s", [-5.0, 0.0, float("nan"), float("inf"), 1e-9])
def test_other_windows_have_bounds_too(good: Bundle, window_s: float) -> None:
    with pytest.raises(birdcache.BirdcacheError, match=r"window_s = .*: must be 0.1 to 3600"):
        BundlePredictor(good, window_s)
