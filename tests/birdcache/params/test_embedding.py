"""Views of kind embedding in params.yaml, and what a store holds of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from birdcache.params import load as params
from birdcache.params.embedding import EmbeddingView, Output, StoredEmbedding
from birdcache.params.model import Params
from birdcache.params.views import describes
from tests.fixtures.tiny import tiny_params, write_params

VIEW = {"kind": "embedding", "file": "teachers/x.onnx", "sample_rate_hz": 32000, "window_s": 5.0, "hop_s": 2.5}


def stored(view: EmbeddingView, **changes: Any) -> StoredEmbedding:
    outputs = (Output(name="embedding", start=0, stop=4), Output(name="scores", start=4, stop=6, labels=("a", "b")))
    facts = view.model_dump(exclude={"file", "licence", "source"}) | changes
    return StoredEmbedding(**facts, file_sha256="0" * 64, outputs=outputs, samples=160000, lead=0, outside=0.0)


def loaded(folder: Path, **changes: Any) -> Params:
    raw = tiny_params("x")
    raw["views"]["perch"] = VIEW | changes
    write_params(folder / "params.yaml", raw)
    return params.load(folder / "params.yaml")


def test_frames_are_hops(tmp_path: Path) -> None:
    view = loaded(tmp_path).views["perch"]
    assert isinstance(view, EmbeddingView)
    assert (view.hop, view.window) == (80000, 160000)
    assert [view.frames(seconds) for seconds in (0.1, 2.5, 2.6, 10.0)] == [1, 1, 2, 4]
    assert stored(view).n_mels == 6
    assert list(loaded(tmp_path).spectrograms) == ["mel", "pcen"]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"hop_s": 6.0}, "hop_s = 6.0: must be at most window_s (5), or sound is skipped"),
        ({"window_s": 0.99999}, "window_s = 0.99999: must be a whole number of samples at 32000 Hz"),
        ({"file": "data/x.onnx"}, "file = 'data/x.onnx': must be a path below teachers/"),
        ({"file": "teachers/../x.onnx"}, "file = 'teachers/../x.onnx': must be a path below teachers/"),
        ({"n_mels": 3}, "views.perch.n_mels: is not a known key"),
    ],
)
def test_what_makes_no_view_is_refused(tmp_path: Path, changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(params.ParamsError) as caught:
        loaded(tmp_path, **changes)
    assert problem in str(caught.value)


def test_a_member_sees_no_embedding_view(tmp_path: Path) -> None:
    raw = tiny_params("x")
    raw["views"]["perch"] = VIEW
    raw["members"]["pcen"]["view"] = "perch"
    write_params(tmp_path / "params.yaml", raw)
    with pytest.raises(
        params.ParamsError,
        match=r"pcen: a view of kind embedding is no image for a backbone; set members\.pcen\.backbone: embedding",
    ):
        params.load(tmp_path / "params.yaml")


PROBE: dict[str, Any] = {
    "view": "perch",
    "backbone": "embedding",
    "override": {"dynamic_range_db": 0.0, "augment": {"gain_db": 0.0, "spec_augment": {"probability": 0.0}}},
}


def with_member(folder: Path, member: dict[str, Any], scores: str | None) -> Params:
    raw = tiny_params("x")
    raw["views"]["perch"] = VIEW | {"scores": scores}
    raw["members"]["base"] |= member
    write_params(folder / "params.yaml", raw)
    return params.load(folder / "params.yaml")


def test_a_teacher_needs_no_more_than_its_view_and_a_probe_may_have_two_layers(tmp_path: Path) -> None:
    taught = with_member(tmp_path, {"teacher": {"view": "perch"}}, None).members["base"]
    assert taught.teacher is not None
    assert (taught.teacher.loss, taught.teacher.weight) == ("cosine", 1.0)
    probe = with_member(tmp_path, PROBE | {"head": "mlp"}, None).members["base"]
    assert probe.is_probe


NO_SCORES = "base: teacher: loss: kl and soft labels need scores; set views.perch.scores to that output of its file"
NO_MEANING = "has no meaning on an embedding, which is no sound; set members.base.override."


@pytest.mark.parametrize(
    ("member", "problem"),
    [
        (
            {"teacher": {"view": "mel"}},
            "teacher.view = 'mel' names no view of kind embedding; choose one of: perch",
        ),
        (
            {"teacher": {"view": "owl"}},
            "teacher.view = 'owl' names no view of kind embedding; choose one of: perch",
        ),
        ({"teacher": {"view": "perch", "loss": "kl"}}, NO_SCORES),
        ({"teacher": {"view": "perch", "soft": {"alpha": 0.5}}}, NO_SCORES),
        ({"head": "mlp"}, "base: head: mlp is for backbone: embedding; set members.base.head: linear, or sed"),
        (
            {"backbone": "embedding"},
            "backbone: embedding needs one view of kind embedding (perch) and no more_views",
        ),
        (PROBE | {"head": "sed"}, "base: head: sed needs frames, and an embedding has none"),
        (PROBE | {"pretrained": True}, "base: backbone: embedding has no weights to begin with"),
        (
            PROBE | {"image_size": [64, 64]},
            "base: an embedding is no image; set members.base.pool: avg, image_size: null",
        ),
        (PROBE | {"override": {}}, f"augment.gain_db = 6.0 {NO_MEANING}augment.gain_db: 0.0"),
        (PROBE | {"override": {"channels": ["slope"]}}, f"channels = ['slope'] {NO_MEANING}channels: [level]"),
        (PROBE | {"override": {"short": "pad"}}, f"short = pad {NO_MEANING}short: loop"),
        (PROBE | {"override": {"recompute": True}}, f"recompute = True {NO_MEANING}recompute: false"),
        (
            PROBE | {"override": {"augment": {"cutmix": {"probability": 0.5}}}},
            "augment.cutmix.probability = 0.5 has",
        ),
    ],
)
def test_what_no_teacher_says_and_no_probe_hears_is_refused(
    tmp_path: Path, member: dict[str, Any], problem: str
) -> None:
    with pytest.raises(params.ParamsError) as caught:
        with_member(tmp_path, member, None)
    assert problem in str(caught.value)


def test_a_store_is_of_the_view_whatever_its_path_licence_and_source_are(tmp_path: Path) -> None:
    view = loaded(tmp_path).views["perch"]
    assert isinstance(view, EmbeddingView)
    built = stored(view)
    assert describes(view, built)
    assert describes(built, built)
    assert describes(view.model_copy(update={"file": "teachers/y.onnx", "licence": "MIT", "source": "a hub"}), built)
    assert not describes(view.model_copy(update={"output": "logits"}), built)
    assert not describes(view.model_copy(update={"batch": 4}), built)
    assert StoredEmbedding.model_validate_json(built.model_dump_json()) == built
