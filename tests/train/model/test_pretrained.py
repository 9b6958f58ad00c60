"""Other members' weights: the backbone is theirs to the last bit, the head is new, and what does not fit is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load, load_file, save, save_file
from timm.models import adapt_input_conv

from birdcache.errors import TrainError
from birdcache.files import checksummed_json, sha256_hex, verified_json
from birdcache.params.model import Params
from birdcache.params.recipe import Member
from cache.store import Store
from tests.train.conftest import MEL_BINS
from train.data.member import ResolvedMember
from train.loop.split import check_source
from train.members import resolve
from train.model.classifier import Classifier, build_model
from train.model.pretrained import adapted_stem
from train.model.weight_source import find_source
from train.model.weights import Sidecar, read_model, read_sidecar, weights_bytes, write_model

CLASSES = 7  # of the fine-tuned model; the source knows three


def trained(
    folder: Path, resolved: ResolvedMember, channels: int = 1, weights: str = "last", **changes: object
) -> Classifier:
    """A model as a training of another project leaves it: `last` and `best` differ."""
    member = resolved.member.model_copy(update=changes)
    recipe = resolved.recipe.model_copy(update={"weights": weights, "channels": ["level", "slope", "pcen"][:channels]})
    kinds = {}
    for seed, kind in enumerate(("best", "last")):
        torch.manual_seed(seed)
        model = build_model(member, 3, MEL_BINS, pretrained=False, channels=channels).eval()
        with torch.no_grad():
            for tensor in model.parameters():
                tensor.add_(0.01 * torch.randn(tensor.shape))
        kinds[kind] = weights_bytes(model)
    sidecar = Sidecar(
        labels=["robin", "wren", "owl"],
        fold=0,
        member=resolved.model_copy(update={"member": member, "recipe": recipe}),
        folds_sha256="1" * 64,
        sha256={kind: sha256_hex(content) for kind, content in kinds.items()},
        metrics={},
    )
    write_model(folder, kinds, sidecar)
    return model


def tuned(member: Member, pretrained: Path, channels: int = 1, **changes: object) -> Classifier:
    torch.manual_seed(99)
    changed = member.model_copy(update=changes)
    return build_model(changed, CLASSES, MEL_BINS, str(pretrained), channels)


@pytest.mark.parametrize("named", ["", "last.safetensors"])
def test_the_backbone_is_taken_and_the_head_is_new(
    tmp_path: Path, resolved: ResolvedMember, member: Member, named: str
) -> None:
    source = trained(tmp_path, resolved).backbone.state_dict()
    found = tuned(member, tmp_path / named).backbone.state_dict()
    fresh = tuned(member.model_copy(update={"backbone": "test_efficientnet"}), tmp_path).backbone.state_dict()
    assert found.keys() == source.keys()
    for name, tensor in found.items():
        if name.startswith("classifier"):
            assert tensor.shape[0] == CLASSES
            assert torch.equal(tensor, fresh[name])
        else:
            assert torch.equal(tensor, source[name]), name


def test_of_a_folder_the_weights_that_its_recipe_keeps_are_taken(tmp_path: Path, resolved: ResolvedMember) -> None:
    trained(tmp_path / "last", resolved)
    trained(tmp_path / "best", resolved, weights="best")
    assert find_source(str(tmp_path / "last")).path.name == "last.safetensors"
    assert find_source(str(tmp_path / "best")).path.name == "best.safetensors"
    assert find_source(str(tmp_path / "last" / "best.safetensors")).path.name == "best.safetensors"


@pytest.mark.parametrize(("given", "wanted"), [(1, 1), (1, 2), (1, 3), (2, 1), (3, 1), (2, 3), (3, 2)])
def test_the_stem_is_adapted_to_another_number_of_channels(
    tmp_path: Path, resolved: ResolvedMember, member: Member, given: int, wanted: int
) -> None:
    """The same picture in all channels gives the same features, wherever they are repeated whole or summed."""
    source = trained(tmp_path, resolved, channels=given).backbone
    found = tuned(member, tmp_path, channels=wanted).eval().backbone
    picture = torch.randn(2, 1, MEL_BINS, 40, generator=torch.Generator().manual_seed(1))
    stem, other = (each.get_submodule("conv_stem") for each in (source, found))
    theirs, ours = stem(picture.expand(-1, given, -1, -1)), other(picture.expand(-1, wanted, -1, -1))
    if wanted == 1 or wanted % given == 0:
        assert torch.allclose(ours, theirs, atol=1e-5)
    assert torch.equal(found.state_dict()["blocks.0.0.bn1.weight"], source.state_dict()["blocks.0.0.bn1.weight"])


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_stems_of_three_channels_are_adapted_as_by_timm(channels: int) -> None:
    weight = torch.randn(8, 3, 5, 5, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(adapted_stem(weight, channels), adapt_input_conv(channels, weight.clone()), atol=1e-6)


@pytest.mark.parametrize("backbone", ["test_efficientnet", "test_convnext", "test_resnet"])
@pytest.mark.parametrize(("head", "pool"), [("sed", "avg"), ("sed", "gem"), ("linear", "gem")])
@pytest.mark.parametrize("source_head", ["linear", "sed"])
def test_only_the_backbone_passes_from_any_head_to_any_other(
    tmp_path: Path, resolved: ResolvedMember, member: Member, backbone: str, head: str, pool: str, source_head: str
) -> None:
    source = trained(tmp_path, resolved, backbone=backbone, head=source_head, pool="gem").backbone.state_dict()
    model = tuned(member, tmp_path, backbone=backbone, head=head, pool=pool)
    found = model.backbone.state_dict()
    heads = ("classifier", "fc", "head")
    taken = [name for name in found if name in source and not name.startswith(heads) and "exponent" not in name]
    assert len(taken) > 20
    assert all(torch.equal(found[name], source[name]) for name in taken)
    assert model(torch.randn(2, 1, MEL_BINS, 64)).clip.shape == (2, CLASSES)
    exponents = [tensor for name, tensor in model.named_parameters() if name.endswith("exponent")]
    assert all(float(each.detach()) == 3.0 for each in exponents), "a pool's exponent belongs to the head"


def test_a_source_of_a_transformer_fits_too(tmp_path: Path, resolved: ResolvedMember, member: Member) -> None:
    source = trained(tmp_path, resolved, backbone="test_vit").backbone.state_dict()
    found = tuned(member, tmp_path, backbone="test_vit", channels=2).backbone.state_dict()
    assert torch.equal(found["pos_embed"], source["pos_embed"])
    assert torch.allclose(found["patch_embed.proj.weight"], source["patch_embed.proj.weight"].repeat(1, 2, 1, 1) / 2)


def test_another_backbone_is_refused_naming_both(tmp_path: Path, resolved: ResolvedMember, member: Member) -> None:
    trained(tmp_path, resolved, backbone="test_resnet")
    said = r"was trained with backbone test_resnet, but this member has test_efficientnet; name the same backbone"
    with pytest.raises(TrainError, match=said):
        tuned(member, tmp_path)


def change_sidecar(folder: Path, **changes: Any) -> None:
    path = folder / "model.json"
    path.write_bytes(checksummed_json(verified_json(path.read_bytes()) | changes))


def corruption(folder: Path) -> None:
    path = folder / "last.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"?")


def strip(folder: Path, wanted: Callable[[str], bool]) -> None:
    """Leave tensors out of the weights, as if they had been trained so."""
    state = {name: tensor for name, tensor in load((folder / "last.safetensors").read_bytes()).items() if wanted(name)}
    content = save(state)
    (folder / "last.safetensors").write_bytes(content)
    change_sidecar(folder, sha256={"last": sha256_hex(content)})


@pytest.mark.parametrize(
    ("break_it", "named", "said"),
    [
        (
            corruption,
            "",
            r"last\.safetensors does not match the checksum in model\.json; copy the folder again",
        ),
        (lambda folder: (folder / "last.safetensors").unlink(), "", r"last\.safetensors is missing, or .*model\.json"),
        (lambda folder: change_sidecar(folder, sha256={}), "last.safetensors", r"model\.json does not list it"),
        (lambda folder: (folder / "model.json").write_text("{"), "", r"model\.json: .*; copy the folder again"),
        (lambda folder: (folder / "model.json").unlink(), "", r"holds no model\.json, .*; name the folder of a fold"),
        (lambda folder: folder.rename(folder.parent / "1"), "..", r"holds no model\.json.*; name one of its folds: 1"),
        (
            lambda folder: strip(folder, lambda name: "blocks.0" not in name),
            "",
            r"lacks \d+ of \d+ tensors of the backbone, such as blocks\.0",
        ),
    ],
)
def test_what_is_no_whole_model_is_refused_by_name(
    tmp_path: Path, resolved: ResolvedMember, member: Member, break_it: Callable[[Path], Any], named: str, said: str
) -> None:
    folder = tmp_path / "tiny" / "0"
    trained(folder, resolved)
    break_it(folder)
    with pytest.raises(TrainError, match=said):
        tuned(member, folder.parent if named == ".." else folder / named)


def test_weights_of_other_shapes_are_refused(tmp_path: Path, resolved: ResolvedMember, member: Member) -> None:
    trained(tmp_path, resolved)
    state = load_file(tmp_path / "last.safetensors")
    state["backbone.bn1.weight"] = torch.zeros(3)
    content = save(state)
    (tmp_path / "last.safetensors").write_bytes(content)
    change_sidecar(tmp_path, sha256={"last": sha256_hex(content)})
    with pytest.raises(TrainError, match=r"has other shapes for 1 of \d+ tensors of the backbone, such as bn1\.weight"):
        tuned(member, tmp_path)


def test_a_trained_model_with_values_that_are_no_numbers_is_neither_used_nor_a_source(
    tmp_path: Path, resolved: ResolvedMember, member: Member
) -> None:
    trained(tmp_path, resolved)
    state = load_file(tmp_path / "last.safetensors")
    state["backbone.bn1.weight"][2] = float("nan")
    content = save(state)
    (tmp_path / "last.safetensors").write_bytes(content)
    change_sidecar(tmp_path, sha256={"last": sha256_hex(content)})
    said = r"last\.safetensors: 1 of \d+ values of tensor (backbone\.)?bn1\.weight are NaN or infinite"
    with pytest.raises(TrainError, match=said):
        tuned(member, tmp_path)
    with pytest.raises(TrainError, match=said + ".*; train again"):
        read_model(tmp_path, read_sidecar(tmp_path), "last", torch.device("cpu"))


@pytest.mark.parametrize("version", [1, 3])
def test_a_sidecar_of_another_version_of_this_project_will_do(
    tmp_path: Path, resolved: ResolvedMember, member: Member, version: int
) -> None:
    """The first version had no seal."""
    source = trained(tmp_path, resolved).backbone.state_dict()
    sidecar = verified_json((tmp_path / "model.json").read_bytes()) | {"version": version}
    del sidecar["fold"], sidecar["member"]["view"]
    sidecar["member"]["member"] |= {"more": "keys"}
    content = json.dumps(sidecar).encode() if version == 1 else checksummed_json(sidecar)
    (tmp_path / "model.json").write_bytes(content)
    assert torch.equal(tuned(member, tmp_path).backbone.state_dict()["bn1.weight"], source["bn1.weight"])


def test_a_sidecar_with_another_byte_is_refused(tmp_path: Path, resolved: ResolvedMember, member: Member) -> None:
    trained(tmp_path, resolved)
    path = tmp_path / "model.json"
    path.write_text(path.read_text().replace('"fold": 0', '"fold": 1'))
    with pytest.raises(TrainError, match=r"model\.json: does not match its own checksum; copy the folder again"):
        tuned(member, tmp_path)


def with_base(params: Params, pretrained: str) -> Params:
    base = params.members["base"].model_copy(update={"pretrained": pretrained})
    return params.model_copy(update={"members": params.members | {"base": base}})


def test_a_changed_source_is_another_training(
    tmp_path: Path, resolved: ResolvedMember, params: Params, random_store: Callable[..., Store]
) -> None:
    store = random_store((50, 60), params.spectrograms["mel"])
    changed = with_base(params, str(tmp_path))
    trained(tmp_path, resolved)
    one = resolve("base", changed, store)
    assert one.weights_sha256 == sha256_hex((tmp_path / "last.safetensors").read_bytes())
    check_source(one)
    trained(tmp_path, resolved, head="sed")
    other = resolve("base", changed, store)
    assert one.weights_sha256 != other.weights_sha256
    check_source(other)
    with pytest.raises(TrainError, match="changed after member base was resolved; run `dvc repro -f member@base`"):
        check_source(one)


def test_a_source_that_is_missing_or_broken_stops_the_stage_member_by_key(
    tmp_path: Path, resolved: ResolvedMember, params: Params, random_store: Callable[..., Store]
) -> None:
    store = random_store((50, 60), params.spectrograms["mel"])
    with pytest.raises(TrainError, match=r"members\.base\.pretrained = '.*nowhere': no such file or folder"):
        resolve("base", with_base(params, str(tmp_path / "nowhere")), store)
    trained(tmp_path, resolved)
    corruption(tmp_path)
    with pytest.raises(TrainError, match=r"members\.base\.pretrained = .* does not match the checksum in model\.json"):
        resolve("base", with_base(params, str(tmp_path)), store)


def test_a_file_with_timms_names_needs_no_sidecar(tmp_path: Path) -> None:
    save_file(timm.create_model("test_efficientnet").state_dict(), tmp_path / "timm.safetensors")
    source = find_source(str(tmp_path / "timm.safetensors"))
    assert source.trained is None
    assert source.sha256 == sha256_hex((tmp_path / "timm.safetensors").read_bytes())
