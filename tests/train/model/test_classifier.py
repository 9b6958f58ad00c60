"""Models: one input channel, a fresh head, pretrained weights from a file, and refusals that name a way out."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from birdcache.errors import TrainError
from birdcache.params.recipe import Member
from train.model.classifier import Classifier, autocast_dtype, build_model, choose_device

CLASSES = 7
MEL_BINS, CLIP_FRAMES = 64, 80  # of which backbones make maps of 2 mel bins and 3 frames


@pytest.fixture(scope="module")
def rgb_model() -> nn.Module:
    """A backbone as its makers publish it: three input channels, 1,000 classes."""
    torch.manual_seed(3)
    model: nn.Module = timm.create_model("test_efficientnet").eval()
    return model


@pytest.fixture(scope="module")
def weights(rgb_model: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("weights") / "rgb.safetensors"
    save_file(rgb_model.state_dict(), path)
    return str(path)


@pytest.fixture
def clips() -> Tensor:
    return torch.randn(3, 1, MEL_BINS, CLIP_FRAMES, generator=torch.Generator().manual_seed(1))


def built(member: Member, pretrained: bool | str = False, **changes: object) -> Classifier:
    torch.manual_seed(2)
    return build_model(member.model_copy(update=changes), CLASSES, MEL_BINS, pretrained)


@pytest.mark.parametrize(
    "backbone", ["test_efficientnet", "mobilenetv3_small_050", "test_resnet", "test_vit", "test_vit3", "test_convnext"]
)
def test_a_model_takes_one_channel_and_gives_one_logit_per_class(member: Member, clips: Tensor, backbone: str) -> None:
    """Transformers too, which are made for squares of one size."""
    logits = built(member, backbone=backbone)(clips)
    assert logits.clip.shape == (3, CLASSES)
    assert logits.frame_max is None


def test_a_head_over_frames_gives_two_logits_per_class(member: Member, clips: Tensor) -> None:
    logits = built(member, head="sed")(clips)
    assert [each.shape for each in logits[:2]] == [(3, CLASSES), (3, CLASSES)]


def test_a_pretrained_stem_sees_a_spectrogram_as_it_saw_a_grey_image(
    member: Member, rgb_model: nn.Module, weights: str, clips: Tensor
) -> None:
    backbone = built(member, weights).eval().backbone
    ours = backbone.get_submodule("conv_stem")(clips)
    theirs = rgb_model.get_submodule("conv_stem")(clips.repeat(1, 3, 1, 1))
    assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize(("head", "pool"), [("linear", "avg"), ("linear", "gem"), ("sed", "avg"), ("sed", "gem")])
def test_everything_between_stem_and_head_is_taken_from_the_file(
    member: Member, weights: str, head: str, pool: str
) -> None:
    state, stored = built(member, weights, head=head, pool=pool).backbone.state_dict(), load_file(weights)
    taken = [name for name in stored if not name.startswith(("conv_stem", "classifier"))]
    assert len(taken) > 50
    assert all(torch.equal(state[name], stored[name]) for name in taken)


@pytest.mark.parametrize("stored_classes", [3, CLASSES, 1000])
@pytest.mark.parametrize("classes", [CLASSES, 1000])
def test_a_head_in_the_file_is_left_out_whatever_its_size(
    member: Member, tmp_path: Path, stored_classes: int, classes: int
) -> None:
    path = tmp_path / "other.safetensors"
    save_file(timm.create_model("test_efficientnet", num_classes=stored_classes).state_dict(), path)
    state = build_model(member, classes, MEL_BINS, str(path)).backbone.state_dict()
    assert state["classifier.weight"].shape[0] == classes
    assert torch.equal(state["bn1.weight"], load_file(path)["bn1.weight"])


def test_weights_of_a_one_channel_model_are_taken_as_they_are(member: Member, tmp_path: Path) -> None:
    path = tmp_path / "mono.safetensors"
    save_file(timm.create_model("test_efficientnet", in_chans=1).state_dict(), path)
    state = built(member, str(path)).backbone.state_dict()
    assert torch.equal(state["conv_stem.weight"], load_file(path)["conv_stem.weight"])


def test_a_missing_weight_file_is_refused(member: Member) -> None:
    with pytest.raises(TrainError, match=r"'nowhere\.safetensors': no such file or folder; correct the path"):
        built(member, "nowhere.safetensors")


def test_a_damaged_weight_file_is_refused(member: Member, tmp_path: Path) -> None:
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(b"these are not tensors at all")
    with pytest.raises(TrainError, match=r"damaged\.safetensors is no file of weights .* download it again"):
        built(member, str(path))


def test_weights_that_lack_one_tensor_are_refused(member: Member, weights: str, tmp_path: Path) -> None:
    state = load_file(weights)
    del state["blocks.1.0.bn1.running_var"]
    path = tmp_path / "holed.safetensors"
    save_file(state, path)
    for head in ("linear", "sed"):
        with pytest.raises(TrainError, match=r"lacks 1 of \d+ tensors .*, such as blocks\.1\.0\.bn1\.running_var"):
            built(member, str(path), head=head)


def test_weights_of_another_backbone_are_refused(member: Member, tmp_path: Path) -> None:
    path = tmp_path / "test_resnet.safetensors"
    save_file(timm.create_model("test_resnet").state_dict(), path)
    with pytest.raises(
        TrainError,
        match=r"lacks \d+ of \d+ tensors .*; choose weights of this backbone",
    ):
        built(member, str(path))


def test_an_unknown_backbone_is_refused_with_names_alike(member: Member) -> None:
    with pytest.raises(TrainError, match=r"'efficientnet_bo': timm has no such model; similar.*efficientnet_b0"):
        built(member, backbone="efficientnet_bo")
    with pytest.raises(TrainError, match=r"choose one of timm\.list_models"):
        built(member, backbone="0123456789")


def test_a_backbone_without_stochastic_depth_is_usable_and_refuses_only_to_have_it(
    member: Member, clips: Tensor
) -> None:
    assert built(member, backbone="ghostnet_050")(clips).clip.shape == (3, CLASSES)
    with pytest.raises(TrainError, match=r"ghostnet_050 .* drop_path = 0\.2.*correct the member"):
        built(member, backbone="ghostnet_050", drop_path=0.2)


def test_a_gpu_that_is_demanded_but_absent_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(TrainError, match=r"machine\.device = 'cuda': no GPU .* set it to auto"):
        choose_device("cuda")
    assert choose_device("auto").type == "cpu"


def test_a_gpu_is_taken_unless_the_cpu_is_demanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [choose_device(device).type for device in ("auto", "cuda", "cpu")] == [
        "cuda",
        "cuda",
        "cpu",
    ]


def test_mixed_precision_is_what_the_recipe_says_and_off_on_a_cpu_by_itself(cpu: torch.device) -> None:
    found = [autocast_dtype(precision, cpu) for precision in ("auto", "float32", "tf32", "bfloat16", "float16")]
    assert found == [None, None, None, torch.bfloat16, torch.float16]


@pytest.mark.parametrize(
    ("capability", "computes", "expected"),
    [((8, 0), True, torch.bfloat16), ((7, 5), False, torch.float16), ((6, 1), False, None)],
)
def test_a_gpu_that_only_emulates_bfloat16_gets_float16_and_one_without_tensor_cores_float32(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], computes: bool, expected: torch.dtype | None
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or computes
    )
    assert autocast_dtype("auto", torch.device("cuda")) == expected


def test_a_driver_that_is_too_old_is_named_whether_a_gpu_is_demanded_or_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unavailable() -> bool:
        warnings.warn("CUDA initialization: The NVIDIA driver is too old (found version 11040). Please", stacklevel=1)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", unavailable)
    with pytest.raises(TrainError, match=r"'cuda': no GPU can be used here \(CUDA .* \(found version 11040\)\); see"):
        choose_device("cuda")
    assert choose_device("auto").type == "cpu"
    assert "warning: no GPU is used (CUDA initialization" in capsys.readouterr().out
    assert choose_device("cpu").type == "cpu"
    assert capsys.readouterr().out == ""
