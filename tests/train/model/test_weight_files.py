"""Files of weights as people have them: other names, wrappings, channels and sizes are put right, damage is refused."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save, save_file
from torch import Tensor

from birdcache.errors import TrainError
from birdcache.params.recipe import Member
from birdcache.params.views import MelView
from train.model.classifier import Classifier, build_model
from train.model.pretrained import adapted_stem
from train.model.sizes import Clips
from train.model.weight_file import read_tensors

State = dict[str, Tensor]


def state_of(backbone: str = "test_efficientnet", **options: Any) -> State:
    torch.manual_seed(5)
    return {name: tensor.contiguous() for name, tensor in timm.create_model(backbone, **options).state_dict().items()}


def built(
    member: Member, path: Path, backbone: str = "test_efficientnet", channels: int = 1, clips: Clips | None = None
) -> Classifier:
    return build_model(member.model_copy(update={"backbone": backbone}), 4, 64, str(path), channels, clips)


def saved(path: Path, content: Any) -> Path:
    if path.suffix == ".safetensors":
        save_file(content, path)
    else:
        torch.save(content, path)
    return path


def prefixed(prefix: str) -> Callable[[State], State]:
    return lambda state: {prefix + name: tensor for name, tensor in state.items()}


WRAPPINGS: dict[str, Callable[[State], Any]] = {
    "as it is": lambda state: state,
    "half": lambda state: {name: each.half() if each.is_floating_point() else each for name, each in state.items()},
    "state_dict": lambda state: {"state_dict": state, "epoch": 3, "arch": "x"},
    "model": lambda state: {"model": prefixed("module.")(state), "args": Namespace(lr=1.0)},
    "model_state_dict": lambda state: {"model_state_dict": prefixed("_orig_mod.module.")(state), "loss": 0.1},
    "optimiser": lambda state: {
        "net": state,
        "optimizer": {"state": {n: {"exp_avg": each, "exp_avg_sq": each} for n, each in enumerate(state.values())}},
    },
    "network of several parts": lambda state: {**prefixed("encoder.backbone.")(state), "head.weight": torch.ones(3)},
    "EMA": lambda state: {
        "state_dict": {name: torch.zeros_like(each) for name, each in state.items()},
        "state_dict_ema": state,
    },
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_what_stands_before_the_names_is_taken_off(member: Member, tmp_path: Path, wrapping: str) -> None:
    state = state_of(num_classes=10)
    model = built(member, saved(tmp_path / "w.pth", WRAPPINGS[wrapping](state)))
    found = model.backbone.state_dict()
    assert torch.allclose(found["bn1.weight"], state["bn1.weight"])
    assert torch.allclose(found["conv_head.weight"], state["conv_head.weight"], atol=1e-3)
    assert re.match(r"\d+ tensors of .*w\.pth.* are taken, none of its head", model.pretrained)


@pytest.mark.parametrize("prefix", ["model.", "backbone.", "module.", "_orig_mod.", "encoder.", "a.b.c."])
def test_any_prefix_is_taken_off_and_told(member: Member, tmp_path: Path, prefix: str) -> None:
    state = state_of()
    model = built(member, saved(tmp_path / "w.safetensors", prefixed(prefix)(state)))
    assert torch.equal(model.backbone.state_dict()["conv_head.weight"], state["conv_head.weight"])
    assert f" below {prefix[:-1]} are taken" in model.pretrained


def test_of_two_whole_networks_none_is_guessed(member: Member, tmp_path: Path) -> None:
    both = {**prefixed("student.")(state_of()), **prefixed("teacher.")(state_of(num_classes=3))}
    with pytest.raises(TrainError, match=r"holds several networks, whose names begin with student\. and teacher\."):
        built(member, saved(tmp_path / "w.safetensors", both))


@pytest.mark.parametrize("given", [1, 2, 3])
@pytest.mark.parametrize("wanted", [1, 2, 3])
def test_a_stem_of_any_channels_is_adapted_to_any(member: Member, tmp_path: Path, given: int, wanted: int) -> None:
    state = state_of(in_chans=given)
    model = built(member, saved(tmp_path / "w.safetensors", state), channels=wanted)
    found = model.backbone.state_dict()["conv_stem.weight"]
    assert torch.equal(found, adapted_stem(state["conv_stem.weight"], wanted))


@pytest.mark.slow
@pytest.mark.parametrize("given", [1, 3])
def test_a_stem_that_folds_space_into_channels_is_adapted_as_by_timm(
    member: Member, tmp_path: Path, given: int
) -> None:
    """The same picture in all channels gives the same features."""
    picture = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    theirs = timm.create_model("tresnet_m", in_chans=given).eval()
    path = saved(tmp_path / "w.safetensors", {name: each.contiguous() for name, each in theirs.state_dict().items()})
    ours = built(member, path, "tresnet_m", channels=2).eval().backbone
    seen = [(theirs, picture.repeat(1, given, 1, 1)), (ours, picture.repeat(1, 2, 1, 1))]
    expected, found = (net.get_submodule("body.conv1")(net.get_submodule("body.s2d")(image)) for net, image in seen)
    if given != 3:  # two of three channels are not the mean of all
        assert torch.allclose(found, expected, atol=1e-4)
    ours = built(member, path, "tresnet_m").eval().backbone
    found = ours.get_submodule("body.conv1")(ours.get_submodule("body.s2d")(picture))
    assert torch.allclose(found, expected, atol=1e-4)


def facebooks(state: State) -> State:
    """Names of ConvNeXt as its authors publish it."""
    renames = [
        (r"^stem\.", "downsample_layers.0."),
        (r"\.conv_dw\.", ".dwconv."),
        (r"\.mlp\.fc(\d)\.", r".pwconv\1."),
        (r"^stages\.(\d+)\.blocks\.", r"stages.\1."),
        (r"^stages\.(\d+)\.downsample\.", r"downsample_layers.\1."),
        (r"^head\.norm\.", "norm."),
        (r"^head\.fc\.", "head."),
    ]
    for pattern, name in renames:
        state = {re.sub(pattern, name, key): tensor for key, tensor in state.items()}
    return state


@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"model": state}])
def test_published_names_are_converted_by_timm_inside_any_wrapping(
    member: Member, tmp_path: Path, wrap: Callable[[State], Any]
) -> None:
    state = state_of("test_convnext")
    published = facebooks(state)
    assert not published.keys() >= {"stem.0.weight"}
    found = built(member, saved(tmp_path / "w.pt", wrap(published)), "test_convnext").backbone.state_dict()
    taken = [name for name in found if not name.startswith(("head.fc", "stem.0.weight"))]
    assert all(torch.equal(found[name], state[name]) for name in taken)


@pytest.mark.parametrize("backbone", ["pit_ti_224", "test_vit_relpos", "levit_128s"])
def test_tables_for_images_of_another_size_are_resized_or_the_size_is_named(
    member: Member, view: MelView, tmp_path: Path, backbone: str
) -> None:
    clips = Clips(view.model_copy(update={"n_mels": 64}), 120 * view.hop / view.sample_rate_hz)
    path = saved(tmp_path / "w.safetensors", state_of(backbone))
    try:
        built(member, path, backbone, clips=clips).check_clips(clips)
    except TrainError as error:
        assert "has other shapes for 11 of 269 tensors" in str(error)  # noqa: PT017
        assert "for these clips; timm's are for 224 mel bins and 224 frames" in str(error)  # noqa: PT017
    else:
        assert backbone != "levit_128s"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_no_numbers_are_refused_by_file_and_tensor(
    member: Member, tmp_path: Path, value: float
) -> None:
    state = state_of()
    state["blocks.1.0.bn1.running_var"][3] = value
    path = saved(tmp_path / "w.safetensors", state)
    with pytest.raises(TrainError, match=r"w\.safetensors: 1 of \d+ values of tensor blocks\.1\.0\.bn1\.running_var"):
        built(member, path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "a pointer of Git LFS"),
        (b"\n<!doctype html> sign in", "a web page"),
        (b"", "no file of weights"),
        (b"PK\x03\x04 and then nothing", "no file of weights"),
        (b"\x80\x02 and then nothing", "no file of weights"),
    ],
)
def test_what_is_no_file_of_weights_is_named(member: Member, tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(TrainError, match=rf"w\.safetensors is {said}.*; download it again, or save"):
        built(member, path)


def test_weights_of_a_deeper_network_are_refused_and_other_parts_are_told(member: Member, tmp_path: Path) -> None:
    state = state_of()
    more = state | {"decoder.conv.weight": torch.ones(2)}
    assert built(member, saved(tmp_path / "w.safetensors", more)).pretrained.endswith(
        "; not used: 1 more, such as decoder.conv.weight"
    )
    more = state | {"blocks.7.0.bn1.weight": torch.ones(2)}
    with pytest.raises(TrainError, match=r"holds 1 tensors of more layers than those .*, such as blocks\.7\.0"):
        built(member, saved(tmp_path / "w.safetensors", more))


def test_a_file_of_another_network_is_refused(member: Member, tmp_path: Path) -> None:
    path = saved(tmp_path / "test_convnext2.safetensors", prefixed("model.")(state_of("test_convnext2")))
    with pytest.raises(TrainError, match=r"lacks \d+ of .*; choose weights of this backbone"):
        built(member, path)


def test_a_safetensors_file_is_one_though_the_length_of_its_header_begins_as_a_pickle_does(tmp_path: Path) -> None:
    """The length is written first: of one file in 32 its first byte is 0x80."""
    path = tmp_path / "w.safetensors"
    for padding in range(300):
        path.write_bytes(save({"weight": torch.ones(2)}, {"note": "x" * padding}))
        if path.read_bytes().startswith(b"\x80"):
            break
    assert path.read_bytes().startswith(b"\x80")
    assert list(read_tensors(path, "here")) == ["weight"]
