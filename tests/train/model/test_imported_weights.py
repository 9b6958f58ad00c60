"""`birdcache weights import`: files of any project become weights of a timm network, with their licence beside them."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import starmap
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision  # type: ignore[import-untyped]
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from birdcache import cli
from birdcache.bundle.format import MemberFacts
from birdcache.errors import TrainError
from birdcache.files import file_sha256
from birdcache.params.recipe import Member
from commands.export.bundle_files import member_text
from tests.commands.export.models import mel, weighted_model
from train.data.member import ResolvedMember
from train.model.classifier import build_model
from train.model.module_order import WORDS, in_order
from train.model.weight_source import Origin, find_source

State = dict[str, Tensor]


def shaken(network: nn.Module) -> nn.Module:
    """With values at which no tensor could be taken for another one."""
    torch.manual_seed(3)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5) if "running_var" in name else tensor.add_(torch.randn_like(tensor) * 0.05)
    return network.eval()


def imported(file: Path, backbone: str, *more: str) -> None:
    arguments = ["weights", "import", str(file), "--backbone", backbone, *more]
    cli.run(cli.build_parser().parse_args(arguments))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def theirs() -> nn.Module:
    return shaken(timm.create_model("test_efficientnet", num_classes=5))


def test_a_checkpoint_of_lightning_becomes_weights_with_source_and_licence(
    theirs: nn.Module, capsys: pytest.CaptureFixture[str]
) -> None:
    state = {f"model.backbone.{name}": tensor for name, tensor in theirs.state_dict().items()}
    state["model.head.weight"] = torch.ones(5, 8)
    torch.save({"state_dict": state, "epoch": 7, "hyper_parameters": {"lr": 0.1}}, "birds.ckpt")
    imported(Path("birds.ckpt"), "test_efficientnet", "--source", "hub of birds", "--licence", "CC BY 4.0")
    out = Path("weights/test_efficientnet.safetensors")
    found = load_file(out)
    assert found.keys() == {name for name in theirs.state_dict() if not name.startswith("classifier.")}
    assert all(torch.equal(found[name], theirs.state_dict()[name]) for name in found)
    assert json.loads(out.with_suffix(".json").read_text()) == {
        "backbone": "test_efficientnet",
        "file": "birds.ckpt",
        "file_sha256": file_sha256(Path("birds.ckpt")),
        "weights_sha256": file_sha256(out),
        "source": "hub of birds",
        "licence": "CC BY 4.0",
    }
    told = capsys.readouterr().out
    assert f"{len(found)} tensors of birds.ckpt below state_dict.model.backbone are taken" in told
    assert "left out     3  classifier.bias, classifier.weight, state_dict.model.head.weight\n" in told
    assert "renamed      0" in told


@pytest.mark.parametrize("given", [1, 3])
def test_members_of_any_channels_take_what_was_imported_as_the_file_itself(
    member: Member, given: int, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = shaken(timm.create_model("test_efficientnet", num_classes=5, in_chans=given))
    torch.save(theirs.state_dict(), "birds.pth")
    imported(Path("birds.pth"), "test_efficientnet", "--out", "birds.safetensors")
    assert f"adapted      {given != 3:d}" in capsys.readouterr().out
    for channels in (1, 2, 3):
        one, other = (build_model(member, 4, 64, name, channels) for name in ("birds.safetensors", "birds.pth"))
        kept = {name: tensor for name, tensor in one.backbone.state_dict().items() if "classifier" not in name}
        assert all(torch.equal(tensor, other.backbone.state_dict()[name]) for name, tensor in kept.items())


def of_convnext(network: Any, images: Tensor) -> Tensor:
    features: Tensor = network.classifier[1](network.classifier[0](network.avgpool(network.features(images))))
    return features


def pooled(network: Any, images: Tensor) -> Tensor:
    features: Tensor = network.features(images).mean((2, 3))
    return features


@pytest.mark.parametrize(
    ("name", "backbone", "features"),
    [
        ("mobilenet_v2", "mobilenetv2_100", pooled),
        ("efficientnet_b0", "efficientnet_b0", pooled),
        pytest.param("convnext_tiny", "convnext_tiny", of_convnext, marks=pytest.mark.slow),
        pytest.param("resnet18", "resnet18", None, marks=pytest.mark.slow),
    ],
)
def test_weights_of_torchvision_give_its_features(
    name: str, backbone: str, features: Callable[[Any, Tensor], Tensor] | None
) -> None:
    network: Any = shaken(getattr(torchvision.models, name)())
    save_file(network.state_dict(), "their.safetensors")
    imported(Path("their.safetensors"), backbone, "--out", "ours.safetensors")
    ours: Any = timm.create_model(backbone, num_classes=0).eval()
    ours.load_state_dict(load_file("ours.safetensors"))
    images = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    if features is None:
        network.fc = nn.Identity()
        features = lambda net, given: net(given)  # noqa: E731
    with torch.no_grad():
        assert torch.allclose(ours(images), features(network, images), rtol=1e-4, atol=1e-5)


# names of transformers 4.57 and those of timm for the same tensors
HUGGING_FACE = {
    "tf_efficientnet_b0": {
        "embeddings.convolution.weight": "conv_stem.weight",
        "embeddings.batchnorm.running_mean": "bn1.running_mean",
        "encoder.blocks.0.depthwise_conv.depthwise_conv.weight": "blocks.0.0.conv_dw.weight",
        "encoder.blocks.0.depthwise_conv.depthwise_norm.bias": "blocks.0.0.bn1.bias",
        "encoder.blocks.0.squeeze_excite.reduce.bias": "blocks.0.0.se.conv_reduce.bias",
        "encoder.blocks.0.squeeze_excite.expand.bias": "blocks.0.0.se.conv_expand.bias",
        "encoder.blocks.0.projection.project_conv.weight": "blocks.0.0.conv_pw.weight",
        "encoder.blocks.0.projection.project_bn.weight": "blocks.0.0.bn2.weight",
        "encoder.blocks.10.expansion.expand_conv.weight": "blocks.4.2.conv_pw.weight",
        "encoder.blocks.10.expansion.expand_bn.running_var": "blocks.4.2.bn1.running_var",
        "encoder.blocks.10.projection.project_bn.weight": "blocks.4.2.bn3.weight",
        "encoder.top_conv.weight": "conv_head.weight",
        "encoder.top_bn.bias": "bn2.bias",
    },
    "convnextv2_atto": {
        "embeddings.patch_embeddings.bias": "stem.0.bias",
        "embeddings.layernorm.weight": "stem.1.weight",
        "encoder.stages.0.layers.0.dwconv.weight": "stages.0.blocks.0.conv_dw.weight",
        "encoder.stages.0.layers.0.layernorm.bias": "stages.0.blocks.0.norm.bias",
        "encoder.stages.0.layers.1.pwconv1.weight": "stages.0.blocks.1.mlp.fc1.weight",
        "encoder.stages.0.layers.1.grn.weight": "stages.0.blocks.1.mlp.grn.weight",
        "encoder.stages.2.layers.5.pwconv2.bias": "stages.2.blocks.5.mlp.fc2.bias",
        "encoder.stages.3.downsampling_layer.1.weight": "stages.3.downsample.1.weight",
        "layernorm.weight": "head.norm.weight",
    },
    "convnext_atto": {"encoder.stages.1.layers.1.layer_scale_parameter": "stages.1.blocks.1.gamma"},
}


def published_convnext(name: str, tensor: Tensor) -> tuple[str, Tensor]:
    renames = {"head.norm": "layernorm", "head.fc": "classifier", "stem.0": "embeddings.patch_embeddings"}
    renames |= {"stem.1": "embeddings.layernorm", ".blocks.": ".layers.", "stages.": "encoder.stages."}
    renames |= {".conv_dw": ".dwconv", ".norm": ".layernorm", "mlp.fc": "pwconv", "mlp.grn": "grn"}
    renames |= {"downsample": "downsampling_layer", "gamma": "layer_scale_parameter"}
    for own, theirs in renames.items():
        name = name.replace(own, theirs)
    return name, tensor[None, None, None] if ".grn" in name else tensor


OUTSIDE = {"conv_stem": "embeddings.convolution", "bn1": "embeddings.batchnorm", "classifier": "classifier"}
OUTSIDE |= {"conv_head": "encoder.top_conv", "bn2": "encoder.top_bn"}
INSIDE = {"se.conv_reduce": "squeeze_excite.reduce", "se.conv_expand": "squeeze_excite.expand"}
INSIDE |= {"conv_dw": "depthwise_conv.depthwise_conv"}
PLAIN = {"bn1": "depthwise_conv.depthwise_norm", "conv_pw": "projection.project_conv", "bn2": "projection.project_bn"}
EXPANDING = {"conv_pw": "expansion.expand_conv", "bn1": "expansion.expand_bn", "bn2": "depthwise_conv.depthwise_norm"}
EXPANDING |= {"conv_pwl": "projection.project_conv", "bn3": "projection.project_bn"}


def published_efficientnet(state: State) -> State:
    found, blocks = State(), dict[str, int]()
    for name, tensor in state.items():
        module, _, last = name.rpartition(".")
        if module in OUTSIDE:
            found[f"{OUTSIDE[module]}.{last}"] = tensor
            continue
        block, part = ".".join(module.split(".")[:3]), ".".join(module.split(".")[3:])
        number = blocks.setdefault(block, len(blocks))
        parts = INSIDE | (EXPANDING if f"{block}.bn3.weight" in state else PLAIN)
        found[f"encoder.blocks.{number}.{parts[part]}.{last}"] = tensor
    return found


@pytest.mark.parametrize("with_head", [True, False])
@pytest.mark.parametrize("backbone", HUGGING_FACE)
def test_names_of_hugging_face_become_timms(backbone: str, with_head: bool) -> None:
    network = shaken(timm.create_model(backbone, num_classes=6))
    state = network.state_dict()
    is_convnext = backbone.startswith("convnext")
    published = dict(starmap(published_convnext, state.items())) if is_convnext else published_efficientnet(state)
    for their_name, own in HUGGING_FACE[backbone].items():
        assert torch.equal(published[their_name].flatten(), network.state_dict()[own].flatten()), their_name
    if not with_head:
        published = {name: tensor for name, tensor in published.items() if not name.startswith("classifier")}
    found = in_order(dict(sorted(published.items())), timm.create_model(backbone))
    wanted = {name: each for name, each in network.state_dict().items() if with_head or name in found}
    assert len(wanted) == len(found) == len(published)
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())


def test_names_with_other_words_or_of_a_deeper_network_have_no_order() -> None:
    network = timm.create_model("mobilenetv2_100")
    with pytest.raises(ValueError, match="not in list"):
        in_order({"wing.weight": torch.ones(1)}, network)
    with pytest.raises(ValueError, match="shorter"):
        in_order({f"features.{n}.weight": torch.ones(1) for n in range(400)}, network)
    with pytest.raises(ValueError, match=r"0\.0 is no whole name"):
        in_order({"0.0.weight": torch.ones(1)}, network)
    assert len(set(WORDS.split())) == len(WORDS.split())


def test_a_file_that_needs_code_is_refused_with_the_way_out(theirs: nn.Module) -> None:
    torch.save(theirs, "whole.pt")
    with pytest.raises(TrainError, match=r"whole\.pt is no file of weights .*save the network's state_dict\(\)"):
        imported(Path("whole.pt"), "test_efficientnet")
    assert not Path("weights").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--out", "x.pth"], r"--out x\.pth: must end in \.safetensors"),
        (["--out", "a/model.safetensors"], "not be called model; choose another name"),
    ],
)
def test_names_that_would_be_taken_for_something_else_are_refused(
    theirs: nn.Module, more: list[str], said: str
) -> None:
    save_file(theirs.state_dict(), "birds.safetensors")
    with pytest.raises(TrainError, match=said):
        imported(Path("birds.safetensors"), "test_efficientnet", *more)


def test_what_does_not_fit_is_refused_and_nothing_is_written(theirs: nn.Module) -> None:
    save_file(theirs.state_dict(), "birds.safetensors")
    with pytest.raises(TrainError, match=r"--backbone test_resnet: .*lacks \d+ of \d+ tensors"):
        imported(Path("birds.safetensors"), "test_resnet")
    with pytest.raises(TrainError, match=r"--backbone = 'hf-hub:x/y': timm has no such model"):
        imported(Path("birds.safetensors"), "hf-hub:x/y")
    with pytest.raises(TrainError, match=r"none\.pth: no such file; correct the path"):
        imported(Path("none.pth"), "test_efficientnet")
    assert not Path("weights").exists()


def test_a_member_of_another_backbone_and_changed_files_are_refused(theirs: nn.Module, member: Member) -> None:
    save_file(theirs.state_dict(), "birds.safetensors")
    imported(Path("birds.safetensors"), "test_efficientnet", "--out", "own.safetensors")
    with pytest.raises(
        TrainError, match="was imported with backbone test_efficientnet, but this member has test_resnet"
    ):
        build_model(member.model_copy(update={"backbone": "test_resnet"}), 4, 64, "own.safetensors")
    save_file({name: tensor + 1 for name, tensor in theirs.state_dict().items()}, "own.safetensors")
    for text in (None, "{}", "[", json.dumps({"backbone": 1})):
        if text:
            Path("own.json").write_text(text)
        with pytest.raises(
            TrainError, match=r"own\.json is not what `birdcache weights import` wrote .*import them again"
        ):
            find_source("own.safetensors")
    Path("own.json").unlink()
    assert find_source("own.safetensors").origin is None


def test_members_carry_the_origin_and_others_are_written_as_before() -> None:
    resolved = weighted_model(mel()).model.sidecar.member
    assert "weights_origin" not in resolved.model_dump_json()
    origin = Origin(backbone="x", file="f", file_sha256="1", weights_sha256="2", source="hub", licence="CC0")
    own = resolved.model_copy(update={"weights_origin": origin})
    assert ResolvedMember.model_validate_json(own.model_dump_json()) == own
    assert ResolvedMember.model_validate_json(resolved.model_dump_json()) == resolved
    facts: dict[str, Any] = {"weight": 1.0, "weights_sha256": {"0": "1" * 64}}
    texts = [member_text("a", MemberFacts(**facts, resolved=each.model_dump(mode="json"))) for each in (resolved, own)]
    assert texts[1] == f"{texts[0]}; first weights: hub, licence: CC0"
