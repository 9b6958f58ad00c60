"""Checkpoints: what is read back is what was written, or it is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from birdcache.errors import TrainError
from birdcache.files import sha256_hex
from birdcache.params.recipe import Member
from tests.train.conftest import MEL_BINS
from train.augment.normalise import BinStatistics
from train.data.member import ResolvedMember
from train.model.classifier import Classifier, build_model
from train.model.weights import Sidecar, read_model, read_sidecar, weights_bytes, write_model

LABELS = ["robin", "wren", "1234"]


@pytest.fixture
def model(member: Member) -> Classifier:
    torch.manual_seed(4)
    return build_model(member, len(LABELS), MEL_BINS, pretrained=False).eval()


def sidecar_of(resolved: ResolvedMember, content: bytes) -> Sidecar:
    return Sidecar(
        labels=LABELS,
        fold=0,
        member=resolved,
        folds_sha256="1" * 64,
        sha256={"last": sha256_hex(content)},
        metrics={"last": {"macro_roc_auc": 0.75, "classes_scored": 3}},
    )


@pytest.fixture
def folder(tmp_path: Path, model: Classifier, resolved: ResolvedMember) -> Path:
    """A folder that holds the model as `last`, written by `write_model`."""
    content = weights_bytes(model)
    write_model(tmp_path / "models" / "tiny" / "0", {"last": content}, sidecar_of(resolved, content))
    return tmp_path / "models" / "tiny" / "0"


def test_a_model_read_back_gives_identical_logits(folder: Path, model: Classifier, cpu: torch.device) -> None:
    again = read_model(folder, read_sidecar(folder), "last", cpu)
    clips = torch.randn(3, 1, 32, 40, generator=torch.Generator().manual_seed(1))
    assert not again.training
    assert torch.equal(again(clips).clip, model(clips).clip)


@pytest.mark.parametrize(("head", "pool"), [("linear", "gem"), ("sed", "avg"), ("sed", "gem")])
def test_a_head_and_the_statistics_come_back_with_the_model(
    tmp_path: Path, resolved: ResolvedMember, cpu: torch.device, head: str, pool: str
) -> None:
    changed = resolved.member.model_copy(update={"head": head, "pool": pool})
    torch.manual_seed(4)
    model = build_model(changed, len(LABELS), MEL_BINS, pretrained=False).eval()
    mean = torch.arange(MEL_BINS)[None] * 1.0
    model.statistics = BinStatistics(mean, mean + 2.0)
    content = weights_bytes(model)
    sidecar = sidecar_of(resolved.model_copy(update={"member": changed}), content)
    write_model(tmp_path / "models", {"last": content}, sidecar)
    again = read_model(tmp_path / "models", read_sidecar(tmp_path / "models"), "last", cpu)
    assert weights_bytes(again) == content
    assert torch.equal(again.statistics.deviation, mean + 2.0)


def test_a_model_of_two_channels_comes_back(tmp_path: Path, resolved: ResolvedMember, cpu: torch.device) -> None:
    recipe = resolved.recipe.model_copy(update={"channels": ["level", "slope"]})
    model = build_model(resolved.member, len(LABELS), MEL_BINS, pretrained=False, channels=2).eval()
    content = weights_bytes(model)
    sidecar = sidecar_of(resolved.model_copy(update={"recipe": recipe}), content)
    write_model(tmp_path / "models", {"last": content}, sidecar)
    again = read_model(tmp_path / "models", read_sidecar(tmp_path / "models"), "last", cpu)
    images = torch.randn(2, 2, MEL_BINS, 40)
    assert torch.equal(again(images).clip, model(images).clip)


def test_a_sidecar_read_back_is_the_same(folder: Path, resolved: ResolvedMember) -> None:
    sidecar = read_sidecar(folder)
    assert sidecar.labels == LABELS
    assert sidecar.member == resolved
    assert sidecar.metrics == {"last": {"macro_roc_auc": 0.75, "classes_scored": 3}}


def test_a_metric_that_could_not_be_measured_survives_the_round_trip(folder: Path) -> None:
    sidecar = read_sidecar(folder).model_copy(update={"metrics": {"last": {"macro_roc_auc": float("nan")}}})
    write_model(folder, {}, sidecar)
    assert str(read_sidecar(folder).metrics) == "{'last': {'macro_roc_auc': nan}}"


def test_the_same_weights_give_the_same_bytes(model: Classifier, member: Member) -> None:
    copy = build_model(member, len(LABELS), MEL_BINS, pretrained=False)
    copy.load_state_dict(model.state_dict())
    assert weights_bytes(copy) == weights_bytes(model) == weights_bytes(model.to(memory_format=torch.contiguous_format))


def test_missing_weights_are_refused_by_name(folder: Path, cpu: torch.device) -> None:
    with pytest.raises(TrainError, match=r"best\.safetensors: is missing; restore it, or train again"):
        read_model(folder, read_sidecar(folder), "best", cpu)


def test_damaged_weights_are_refused_by_name(folder: Path, cpu: torch.device) -> None:
    path = folder / "last.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(TrainError, match=r"last\.safetensors: does not match the checksum in its sidecar"):
        read_model(folder, read_sidecar(folder), "last", cpu)


def test_weights_of_another_architecture_are_refused_by_name(folder: Path, cpu: torch.device) -> None:
    sidecar = read_sidecar(folder).model_copy(update={"labels": [*LABELS, "owl"]})
    with pytest.raises(TrainError, match=r"last\.safetensors: does not fit test_efficientnet"):
        read_model(folder, sidecar, "last", cpu)


def test_a_folder_without_a_sidecar_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match=r"model\.json: is missing, .* run `dvc repro train`"):
        read_sidecar(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b'{"version": 2}', b"\xff\xfe"])
def test_a_damaged_sidecar_is_refused_by_name(folder: Path, content: bytes) -> None:
    (folder / "model.json").write_bytes(content)
    with pytest.raises(TrainError, match=r"model\.json: .*train again"):
        read_sidecar(folder)


def test_a_sidecar_that_lost_a_key_is_refused_by_name(folder: Path) -> None:
    path = folder / "model.json"
    path.write_text(path.read_text().replace('"fold"', '"sheep"'))
    with pytest.raises(TrainError, match=r"model\.json: .*train again"):
        read_sidecar(folder)
