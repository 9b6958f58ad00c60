"""Stage `export`: what a bundle holds, that it is the pipeline, and what is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
import soundfile
from onnx import ModelProto, TensorProto, helper

from birdcache.bundle.format import DESCRIPTION, MODEL, SUMS, Description
from birdcache.bundle.graph_process import open_session
from birdcache.bundle.read import check_sums, open_bundle
from birdcache.bundle.scores import BundlePredictor
from birdcache.errors import CommandError
from birdcache.params.sections import ExportParams
from commands.export.__main__ import check_parity, measure_both
from commands.export.choose import ensemble_for_export, narrowed
from commands.export.compare import ComparedFiles, Measurement, changed_detections
from commands.export.onnx_file import UNWANTED, check_operators
from commands.export.summary import GRAPH
from commands.predict.predictor import score_file
from tests.fixtures.bundle import Exported
from tests.fixtures.tiny import RATE_HZ
from tests.test_house import DVC
from train.score.ensemble import Ensemble, read_ensemble

SETTINGS = ExportParams(name="x", members=[], folds=[], compare=1, tolerance=1e-3, licence="", data_licence="")


@pytest.fixture
def root(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project, as the current directory."""
    monkeypatch.chdir(exported.root)
    return exported.root


@pytest.fixture(scope="module")
def graph(exported: Exported) -> ModelProto:
    return onnx.load(exported.bundle / MODEL)


def test_a_bundle_holds_all_that_belongs_to_it(exported: Exported) -> None:
    names = {path.name for path in exported.bundle.iterdir()}
    assert names == {MODEL, DESCRIPTION, SUMS, "README.md", "labels.csv", "requirements.txt", "parity.json"}
    check_sums(exported.bundle)
    subprocess.run(["sha256sum", "--check", "--quiet", SUMS], cwd=exported.bundle, check=True)


def test_the_graph_has_one_waveform_and_only_what_every_runtime_can_do(graph: ModelProto) -> None:
    kinds = {node.op_type for node in graph.graph.node}
    assert not kinds & UNWANTED
    assert {node.domain for node in graph.graph.node} <= {"", "ai.onnx"}
    assert not graph.functions
    assert [(each.domain, each.version) for each in graph.opset_import] == [("", 18)]
    assert [each.name for each in graph.graph.input] == ["waveform"]
    assert [each.name for each in graph.graph.output] == ["scores", "embedding"]
    batch = graph.graph.input[0].type.tensor_type.shape.dim[0]
    assert batch.dim_param == "batch"


def test_the_file_says_nothing_of_the_machine_that_wrote_it(exported: Exported) -> None:
    content = (exported.bundle / MODEL).read_bytes()
    for word in (b".py", b"/tmp", b"/home", b"site-packages"):
        assert word not in content


def test_scores_are_those_of_the_pipeline_on_long_and_short_files(
    root: Path, tmp_path: Path, exported: Exported
) -> None:
    loaded = ensemble_for_export(SETTINGS)
    bundle = BundlePredictor(open_bundle(exported.bundle, "cpu"))
    files = [Path("chorus/test_soundscapes/dawn.ogg"), Path("chorus/train_audio/lowton/XC0.ogg")]
    for path in files:
        wanted = score_file(path, loaded, tmp_path, lambda _: None, silence=False)
        found = bundle.score(path, tmp_path, lambda _: None)
        windows = [found.members.shape[1]]
        assert found.duration_s == wanted.duration_s
        final = bundle.final(found.members, windows)
        np.testing.assert_allclose(final, loaded.ensemble.final(wanted.members, windows), atol=1e-3)
    np.testing.assert_allclose(bundle.called_above(), loaded.ensemble.called_above())


def test_silence_is_compared_like_anything_else(root: Path, tmp_path: Path, exported: Exported) -> None:
    soundfile.write(tmp_path / "silent.wav", np.zeros(2 * RATE_HZ), RATE_HZ)
    shutil.copy(exported.bundle / MODEL, tmp_path / MODEL)
    bundle = BundlePredictor(open_bundle(exported.bundle, "cpu"))
    compared = ComparedFiles([], [tmp_path / "silent.wav"])
    ways, sound_s = measure_both(ensemble_for_export(SETTINGS), bundle, compared, tmp_path)
    assert ways[GRAPH]["largest_difference"] <= 1e-3
    assert ways[GRAPH]["size_mb"] == (exported.bundle / MODEL).stat().st_size / 1e6
    assert sound_s == 2


def test_detections_change_where_one_score_reaches_the_threshold_and_the_other_does_not() -> None:
    above_K = np.array([0.5, 0.2], np.float32)
    one, other = (
        Measurement([np.array(rows, np.float32)], 1.0, 1.0)
        for rows in ([[0.5, 0.1], [0.9, 0.3]], [[0.4, 0.1], [0.6, 0.3]])
    )
    assert changed_detections(one, other, above_K) == 0.25


def test_what_was_measured_stands_in_reports_and_bundle(root: Path, exported: Exported) -> None:
    told = json.loads(Path("reports/export.json").read_text())
    assert told["ways"]["ONNX float32"]["largest_difference"] <= 1e-3
    assert set(told["ways"]) == {"pipeline (PyTorch)", "ONNX float32"}
    assert (told["soundscapes"], told["recordings"]) == (1, 3)
    assert 0 <= told["ways"]["ONNX float32"]["changed_detections"] <= 1
    assert told["ways"]["ONNX float32"]["realtime_on_one_core"] > 1
    assert told["ways"]["ONNX float32"]["soundscapes_cmap"] == pytest.approx(
        told["ways"]["pipeline (PyTorch)"]["soundscapes_cmap"], abs=1e-3
    )
    parity = json.loads((exported.bundle / "parity.json").read_text())
    assert parity["largest"] == pytest.approx(told["ways"]["ONNX float32"]["largest_difference"], rel=1e-3)
    table = pd.read_csv("reports/export.csv")
    assert list(table["way"]) == list(told["ways"])
    assert "(soundscapes: 1, recordings: 3, " in Path("reports/export.md").read_text()


def test_the_description_names_all_that_is_done_around_the_graph(root: Path, exported: Exported) -> None:
    found = Description.model_validate_json((exported.bundle / DESCRIPTION).read_bytes())
    ensemble = read_ensemble(Path("data/ensemble.json"))
    for key in ("labels", "thresholds", "window_s", "hop_s", "shifts_s", "smoothing", "file_max"):
        assert getattr(found, key) == getattr(ensemble, key)
    assert (found.submission_labels, found.submission_column) == (["midton", "lowton", "higton"], "")
    assert {name: member.weight for name, member in found.members.items()} == ensemble.members
    sidecar = json.loads(Path("models/pcen/1/model.json").read_text())
    assert found.members["pcen"].weights_sha256["1"] == sidecar["sha256"]["last"]
    assert (found.low_hz, found.high_hz) == (20, 8000)


def test_the_card_tells_of_data_metrics_limits_and_licences(exported: Exported) -> None:
    card = (exported.bundle / "README.md").read_text()
    for heading in ("## Data", "## Metrics", "## Limits", "## Licences", "## Use", "## Species"):
        assert heading in card
    metrics = json.loads((exported.root / "reports/metrics.json").read_text())
    assert f"{metrics['out_of_fold']['ensemble']['macro_roc_auc']:.4f}" in card
    assert "18 recordings" in card
    assert "Models: not stated. Recordings they learnt from: not stated." in card
    assert "| lowton |" in card


def test_the_stage_declares_what_it_reads(exported: Exported) -> None:
    assert {key.partition(".")[0] for key in exported.reads} == {"export"}
    assert DVC["export"]["params"] == ["export"]
    assert DVC["export"]["outs"][0] == {"bundles/${export.name}.bundle": {"persist": True}}


@pytest.mark.parametrize("largest", [1.1e-3, float("nan")])
def test_a_graph_that_is_not_the_pipeline_fails_the_stage(largest: float) -> None:
    with pytest.raises(CommandError, match=r"export.tolerance = 0.001: .* so no bundle is written"):
        check_parity(largest, 1e-3)
    check_parity(9.9e-4, 1e-3)


@pytest.mark.parametrize(("kind", "domain"), [("STFT", ""), ("Loop", ""), ("Gelu", "com.microsoft")])
def test_operators_that_not_every_runtime_has_are_refused(kind: str, domain: str) -> None:
    node = helper.make_node(kind, ["x"], ["y"], domain=domain)
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    model = helper.make_model(helper.make_graph([node], "g", value[:1], value[1:]))
    with pytest.raises(CommandError, match=domain or kind):
        check_operators(model)


def an_ensemble(**changes: Any) -> Ensemble:
    values: dict[str, Any] = {"labels": ["a"], "members": {"x": 0.6, "y": 0.2, "z": 0.0}, "folds": [0, 1]}
    values |= {"kind": "fitted", "best": 1, "window_s": 5.0, "hop_s": 5.0, "shifts_s": []}
    values |= {"smoothing": 0.0, "file_max": 0.0, "thresholds": [0.5]}
    return Ensemble(**(values | changes))


def test_members_without_weight_are_left_out() -> None:
    found = narrowed(an_ensemble(), SETTINGS)
    assert found.members == pytest.approx({"x": 0.75, "y": 0.25})
    assert found.folds == [0, 1]


def test_members_without_weight_stay_where_one_of_some_classes_leaves_them_its_weight_for_others() -> None:
    assert narrowed(an_ensemble(only={"y": ["a"]}), SETTINGS).members == pytest.approx({"x": 0.75, "y": 0.25, "z": 0})
    chosen = SETTINGS.model_copy(update={"members": ["x", "z"]})
    assert narrowed(an_ensemble(only={"y": ["a"]}), chosen).members == {"x": 1.0}


def test_members_and_folds_can_be_chosen() -> None:
    found = narrowed(an_ensemble(), SETTINGS.model_copy(update={"members": ["y"], "folds": [1]}))
    assert (found.members, found.folds) == ({"y": 1.0}, [1])


@pytest.mark.parametrize("changes", [{"members": ["z"]}, {"folds": [3]}])
def test_a_bundle_of_nothing_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(CommandError, match=r"selects nothing from the ensemble \(x 0.6, y 0.2, z 0\)"):
        narrowed(an_ensemble(), SETTINGS.model_copy(update=changes))


def test_a_blend_of_ranks_is_refused() -> None:
    with pytest.raises(CommandError, match=r"ensemble.blend = 'rank' ranks the windows of all files together"):
        narrowed(an_ensemble(kind="rank"), SETTINGS)


def test_a_plain_waveform_can_be_scored_by_hand(exported: Exported) -> None:
    """As the model card says: samples in, scores out, without birdcache around it."""
    session, _ = open_session((exported.bundle / MODEL).read_bytes(), "cpu")
    (wanted,) = session.get_inputs()
    rows = np.random.default_rng(1).standard_normal((3, wanted.shape[1])).astype(np.float32) * 0.1
    scores, embedding = session.run(None, {"waveform": rows})
    assert scores.shape == (3, 3)
    assert np.isfinite(embedding).all()
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)  # the members' losses are cross-entropies
