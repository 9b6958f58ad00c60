"""The check of a member before anything is decoded."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
from safetensors.torch import save_file

from birdcache.errors import TrainError
from birdcache.params.model import Params
from birdcache.params.recipe import resolve_recipe
from train.model import check, sizes
from train.model.check import check_member


def checked(params: Params, **changes: object) -> list[str]:
    base = params.members["base"].model_copy(update={"backbone": "test_efficientnet", **changes})
    recipe = resolve_recipe(params.train[base.recipe], base.override)
    return check_member("members.base", base, recipe, params.spectrograms)


@pytest.mark.parametrize("limit", [sizes.LARGE, 0])
def test_a_member_that_will_train_passes_and_tells_of_padding(
    params: Params, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(check, "LARGE", limit)
    assert checked(params) == []
    told = checked(params, backbone="test_vit_relpos")
    assert told == ["members.base: test_vit_relpos sees clips of 128 x 313 padded to 128 x 320"]


@pytest.mark.parametrize("limit", [sizes.LARGE, 0])
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"backbone": "efficientnet_b00"}, "timm has no such model; similar names: .*efficientnet_b0"),
        ({"backbone": "nest_tiny"}, "nest_tiny cannot process clips of 128 mel bins and 313 frames"),
        ({"backbone": "xcit_nano_12_p16_224", "head": "sed"}, "head = 'sed': backbone xcit_nano_12_p16_224 has no"),
        ({"backbone": "test_vit", "pool": "gem"}, "pool = 'gem': backbone test_vit does not end in"),
        ({"backbone": "lowformer_b0", "pool": "gem"}, "with head: linear and pool: avg it takes them"),
        ({"backbone": "ghostnet_050", "drop_path": 0.2}, r"drop_path = 0\.2"),
        ({"backbone": "dla46_c", "override": {"recompute": True}}, "recompute = true: timm has no activation"),
        ({"pretrained": "nowhere.safetensors"}, "no such file or folder"),
        ({"backbone": "coatnet_pico_rw_224", "pretrained": True}, "timm has no weights for coatnet_pico"),
    ],
)
def test_a_member_that_would_fail_is_refused_by_name(
    params: Params, monkeypatch: pytest.MonkeyPatch, limit: int, changes: dict[str, object], said: str
) -> None:
    monkeypatch.setattr(check, "LARGE", limit)
    with pytest.raises(TrainError, match=rf"params\.yaml: members\.base: .*({said})"):
        checked(params, **changes)


@pytest.mark.parametrize("limit", [sizes.LARGE, 0])
def test_weights_in_a_file_are_tried(
    params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(check, "LARGE", limit)
    path = tmp_path / "test_resnet.safetensors"
    save_file(timm.create_model("test_efficientnet").state_dict(), path)
    (told,) = checked(params, pretrained=str(path))
    assert told == f"members.base: 86 tensors of {path} are taken, none of its head"
    save_file(timm.create_model("test_resnet").state_dict(), path)
    with pytest.raises(TrainError, match=r"members\.base: pretrained = .* lacks \d+ of \d+ tensors"):
        checked(params, pretrained=str(path))
