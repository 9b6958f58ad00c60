"""The graph of an ensemble says what the pipeline says, for any recipe, view and length of recording."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from birdcache.bundle.graph_process import open_session
from birdcache.params.views import AnyView, multi_view
from commands.export.graph import EnsembleGraph, WeightedModel
from commands.export.onnx_file import export_graph
from tests.commands.export.models import (
    LABELS,
    PCEN,
    Floats,
    mel,
    of_pipeline,
    pcen,
    rows_of,
    song,
    tuned,
    weighted_model,
)
from train.augment.normalise import _block_response

MIDDLES_S = np.array([0.0, 0.4, 1.3, 2.0, 3.9, 4.0])
WHOLE, SHORT = 4 * 16000 + 77, 11111
NORMALISED = ["clip", "bins", "none"]


def of_graph(models: list[WeightedModel], waveform_S: Floats) -> tuple[Floats, Floats]:
    """Scores and embedding of clips around the middles."""
    graph = EnsembleGraph(models).eval()
    rows = [torch.from_numpy(rows_of(each, waveform_S, MIDDLES_S)) for each in graph.inputs]
    with torch.no_grad():
        scores, embedding = graph(*rows)
    return scores.numpy(), embedding.numpy()


def check(models: list[WeightedModel], samples: int = WHOLE) -> None:
    """Compare, and see that the scores are of a kind that would show a difference."""
    waveform_S = song(samples)
    if samples == WHOLE:
        for weighted in models:
            tuned(weighted, waveform_S, MIDDLES_S)
    wanted = np.sum([of_pipeline(weighted, waveform_S, MIDDLES_S) for weighted in models], axis=0)
    found, embedding = of_graph(models, waveform_S)
    assert samples == SHORT or wanted.std(axis=0).max() > 0.05, "clips that all sound alike show nothing"
    np.testing.assert_allclose(found, wanted, atol=1e-3)
    assert np.isfinite(embedding).all()


@pytest.mark.parametrize("normalise", NORMALISED)
@pytest.mark.parametrize("view", [mel(), pcen(), mel(dtype="uint8"), mel(hop=200)], ids=["mel", "pcen", "uint8", "hop"])
def test_each_kind_of_view_and_of_normalising(view: AnyView, normalise: str) -> None:
    check([weighted_model(view, normalise=normalise)])


@pytest.mark.parametrize(
    "changes",
    [
        {"win_length": 400, "mel_norm": "none"},
        {"power": 1.0, "mel_scale": "htk"},
        {"log_offset": 1e-3},
        {"n_fft": 1024, "win_length": 321, "power": 1.0, "log_offset": 0.01, "mel_norm": "none", "dtype": "uint8"},
    ],
    ids=str,
)
def test_front_ends_of_other_models(changes: dict[str, Any]) -> None:
    check([weighted_model(mel(**changes))])
    check([weighted_model(mel(**changes), short="pad")], SHORT)


def test_windows_of_two_lengths_in_one_fft_and_pcen_with_such_a_window() -> None:
    check([weighted_model(mel(win_length=300), 0.5), weighted_model(mel(), 0.2), weighted_model(pcen(win_length=300))])


@pytest.mark.parametrize("short", ["loop", "pad"])
@pytest.mark.parametrize("view", [mel(), pcen(), mel(dtype="uint8")], ids=["mel", "pcen", "uint8"])
def test_a_recording_shorter_than_a_clip(view: AnyView, short: str) -> None:
    weighted = weighted_model(view, short=short)
    tuned(weighted, song(WHOLE), MIDDLES_S)
    check([weighted], SHORT)


def test_positive_control_a_clip_that_is_not_looped_would_score_otherwise() -> None:
    loop, pad = weighted_model(mel(), short="loop"), weighted_model(mel(), short="pad")
    for weighted in (loop, pad):
        tuned(weighted, song(WHOLE), MIDDLES_S)
    one, other = (of_graph([weighted], song(SHORT))[0] for weighted in (loop, pad))
    assert np.abs(one - other).max() > 0.01


@pytest.mark.parametrize(
    ("member", "override"),
    [
        ({"head": "sed"}, {"loss": {"kind": "bce"}}),
        ({"head": "sed", "pool": "gem"}, {}),
        ({"pool": "gem"}, {"loss": {"kind": "focal_bce"}}),
        ({"head": "sed"}, {"rolls": 3}),
        ({"image_size": [96, 70], "stem_stride": 1, "pool": "gem_axes"}, {}),
        ({"backbone": "test_vit_relpos"}, {"normalise": "none"}),
        ({"backbone": "dla46x_c", "head": "sed"}, {"clip_s": 0.9}),
        ({}, {"channels": ["level", "slope"], "dynamic_range_db": 40.0}),
        (
            {},
            {
                "channels": ["level", "pcen", "slope"],
                "pcen": {"gain": 0.9, "bias": 2.0, "power": 0.5, "time_constant_s": 0.2, "eps": 1e9},
            },
        ),
    ],
    ids=["sed", "sed gem", "gem", "rolled", "resized", "padded, img_size", "padded", "slope", "pcen channel"],
)
def test_heads_and_channels(member: dict[str, Any], override: dict[str, Any]) -> None:
    check([weighted_model(mel(), member=member, **override)])


def test_several_views_side_by_side() -> None:
    check([weighted_model(multi_view([mel(), pcen(n_fft=1024)]), dynamic_range_db=60.0)])


def test_an_ensemble_weighs_its_members_and_shares_what_they_look_at() -> None:
    models = [weighted_model(mel(), 0.5), weighted_model(pcen(), 0.3), weighted_model(mel(), 0.2, normalise="bins")]
    check(models)
    graph: Any = EnsembleGraph(models)
    assert len(graph.inputs) == 1
    assert len(graph.grid_models[0].front_end.levels) == 2
    assert len(graph.grid_models[0].front_end.spectra) == 1


def test_a_member_may_have_another_share_of_each_class() -> None:
    shares = np.linspace(0.1, 0.9, len(LABELS), dtype=np.float32)
    check([replace(weighted_model(mel()), share=shares), replace(weighted_model(pcen()), share=1 - shares)])


def test_members_of_another_grid_have_a_waveform_of_their_own() -> None:
    models = [
        weighted_model(mel(), 0.5),
        weighted_model(mel(n_fft=1024, hop=300), 0.3),
        weighted_model(mel(), 0.2, clip_s=2.0),
    ]
    assert [each.name for each in EnsembleGraph(models).inputs] == ["waveform", "waveform_2", "waveform_3"]
    check(models)


@pytest.mark.slow
def test_what_scores_after_an_export_scores_as_before(tmp_path: Path) -> None:
    """Torch exports with tensors without values; what is kept from one call to the next must not be such."""
    channels: dict[str, Any] = {"channels": ["level", "pcen"], "pcen": PCEN.model_dump() | {"time_constant_s": 0.37}}
    model = weighted_model(mel(), clip_s=2.0, **channels)
    for number in range(2):  # the first call of all is the exporter's
        export_graph(EnsembleGraph([model]), tmp_path / f"{number}.onnx")
    found = of_pipeline(model, song(WHOLE), MIDDLES_S)
    _block_response.cache_clear()
    np.testing.assert_array_equal(found, of_pipeline(model, song(WHOLE), MIDDLES_S))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("member", "padding"),
    [
        ({"backbone": "test_maxvit", "head": "sed"}, (0, 1)),
        ({"backbone": "test_vit_relpos"}, (0, 1)),
        ({"image_size": [48, 70], "stem_stride": 1, "pool": "gem_axes"}, (0, 0)),
    ],
)
def test_a_file_pads_and_resizes_clips_as_the_model_does(
    tmp_path: Path, member: dict[str, Any], padding: tuple[int, int]
) -> None:
    models = [weighted_model(mel(), member=member)]
    assert models[0].model.network.padding == padding
    tuned(models[0], song(WHOLE), MIDDLES_S)
    wanted, _ = of_graph(models, song(WHOLE))
    export_graph(EnsembleGraph(models), tmp_path / "a.onnx")
    session, _ = open_session((tmp_path / "a.onnx").read_bytes(), "cpu")
    (each,) = EnsembleGraph(models).inputs
    found = session.run(None, {each.name: rows_of(each, song(WHOLE), MIDDLES_S)})
    assert wanted.std(axis=0).max() > 0.05
    np.testing.assert_allclose(found[0], wanted, atol=1e-4)


@pytest.mark.slow
def test_a_file_with_the_front_end_of_another_model_scores_as_the_pipeline(tmp_path: Path) -> None:
    view = mel(n_fft=1024, win_length=321, power=1.0, log_offset=0.01, mel_norm="none", mel_scale="htk")
    models = [weighted_model(view)]
    tuned(models[0], song(WHOLE), MIDDLES_S)
    wanted = of_pipeline(models[0], song(WHOLE), MIDDLES_S)
    export_graph(EnsembleGraph(models), tmp_path / "a.onnx")
    session, _ = open_session((tmp_path / "a.onnx").read_bytes(), "cpu")
    (each,) = EnsembleGraph(models).inputs
    found = session.run(None, {each.name: rows_of(each, song(WHOLE), MIDDLES_S)})
    assert wanted.std(axis=0).max() > 0.05
    np.testing.assert_allclose(found[0], wanted, atol=1e-3)


@pytest.mark.slow
def test_the_file_gives_what_the_graph_gives_and_is_the_same_each_time(tmp_path: Path) -> None:
    """Two grids, views side by side, all channels, a head over frames."""
    channels: dict[str, Any] = {
        "channels": ["level", "pcen", "slope"],
        "pcen": PCEN.model_dump(),
        "dynamic_range_db": 60.0,
    }
    beside = multi_view([mel(), mel(n_fft=1024)])
    models = [
        weighted_model(beside, 0.6, **channels),
        weighted_model(pcen(n_fft=1000, hop=300), 0.4, member={"head": "sed", "pool": "gem"}),
    ]
    for weighted in models:
        tuned(weighted, song(WHOLE), MIDDLES_S)
    wanted, embedding = of_graph(models, song(WHOLE))
    for name in ("a.onnx", "b.onnx"):
        export_graph(EnsembleGraph(models), tmp_path / name)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    session, _ = open_session((tmp_path / "a.onnx").read_bytes(), "cpu")
    rows = {each.name: rows_of(each, song(WHOLE), MIDDLES_S) for each in EnsembleGraph(models).inputs}
    assert list(rows) == ["waveform", "waveform_2"]
    found = session.run(None, rows)
    assert wanted.std(axis=0).max() > 0.05
    np.testing.assert_allclose(found[0], wanted, atol=1e-4)
    np.testing.assert_allclose(found[1], embedding, atol=1e-3)


def test_the_embedding_is_in_the_order_of_the_members_whatever_their_grids() -> None:
    models = [
        weighted_model(mel()),
        weighted_model(mel(n_fft=1024, hop=300), member={"head": "sed"}),
        weighted_model(pcen()),
    ]
    alone = [of_graph([weighted], song(WHOLE))[1] for weighted in models]
    together = of_graph(models, song(WHOLE))[1]
    np.testing.assert_allclose(together, np.concatenate(alone, axis=1), atol=1e-4)
    assert np.abs(alone[1] - alone[2]).max() > 1e-3, "another order would be seen"


def test_the_embedding_is_of_the_shown_models() -> None:
    first, second = weighted_model(mel()), weighted_model(pcen(), member={"head": "sed"})
    one, other = (of_graph([weighted], song(WHOLE))[1] for weighted in (first, second))
    both = of_graph([first, second], song(WHOLE))[1]
    np.testing.assert_allclose(both, np.concatenate([one, other], axis=1), atol=1e-4)
    assert EnsembleGraph([first, second]).embedding == both.shape[1]
