"""Sizes of clips: most backbones take any, some padded or with timm's `img_size`; the others say what they take."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn

from birdcache.errors import TrainError
from birdcache.params.recipe import Member
from birdcache.params.views import MelView
from train.model.classifier import Classifier, build_model, features_and_logits
from train.model.heads import feature_maps
from train.model.sizes import Clips, fit, padded, without_padding

CLASSES = 3


def clips_of(view: MelView, mel_bins: int, frames: int) -> Clips:
    return Clips(view.model_copy(update={"n_mels": mel_bins}), frames * view.hop / view.sample_rate_hz)


def built(member: Member, clips: Clips, channels: int = 1, **changes: object) -> Classifier:
    torch.manual_seed(2)
    chosen = member.model_copy(update=changes)
    return build_model(chosen, CLASSES, clips.size[0], False, channels, clips)


def images(clips: Clips, channels: int = 1) -> Tensor:
    return torch.randn(2, channels, *clips.size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("backbone", "padding"),
    [
        ("test_efficientnet", (0, 0)),  # takes what comes
        ("test_vit", (0, 0)),  # by an option of timm
        ("dla46x_c", (0, 7)),  # whole strides
        ("test_vit_relpos", (0, 7)),  # whole strides and img_size
        ("test_maxvit", (0, 7)),
        ("levit_128s", (0, 7)),
    ],
)
def test_a_backbone_of_any_kind_takes_clips_of_313_frames(
    member: Member, view: MelView, backbone: str, padding: tuple[int, int]
) -> None:
    clips = clips_of(view, 128, 313)
    model = built(member, clips, backbone=backbone).eval()
    model.check_clips(clips)
    assert model.padding == padding
    features, (logits, *_) = features_and_logits(model, images(clips))
    assert logits.shape == (2, CLASSES)
    assert features.ndim == 2
    assert torch.allclose(model(images(clips)).clip, logits, atol=1e-6)


@pytest.mark.parametrize("backbone", ["test_efficientnet", "test_vit", "test_resnet"])
def test_what_took_its_clips_before_is_built_of_the_same_random_numbers(
    member: Member, view: MelView, backbone: str
) -> None:
    clips = clips_of(view, 64, 80)
    fitted = built(member, clips, backbone=backbone).eval()
    torch.manual_seed(2)
    plain = build_model(member.model_copy(update={"backbone": backbone}), CLASSES, 64, pretrained=False).eval()
    state = plain.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in fitted.state_dict().items())
    assert torch.equal(fitted(images(clips)).clip, plain(images(clips)).clip)


def test_padding_is_as_quiet_as_the_quietest_cell_of_each_clip_and_channel() -> None:
    clips = torch.randn(3, 2, 5, 7, generator=torch.Generator().manual_seed(1))
    found = padded(clips, (3, 2))
    assert found.shape == (3, 2, 8, 9)
    assert torch.equal(found[:, :, :5, :7], clips)
    quietest = clips.amin(dim=(2, 3), keepdim=True)
    assert (found[:, :, 5:] == quietest).all()
    assert (found[:, :, :, 7:] == quietest).all()
    assert padded(clips, (0, 0)) is clips


@pytest.mark.parametrize(("rows", "shape"), [(2, (1, 4, 3, 10)), (1, (1, 3, 10, 4))])
def test_maps_that_see_nothing_but_padding_are_left_out(rows: int, shape: tuple[int, ...]) -> None:
    """Of 3 x 10 maps of 96 x 320 cells, 64 x 250 are the clip's: rows 0 and 1, and columns 0 to 7."""
    maps, clip = torch.rand(shape), torch.zeros(1, 1, 64, 250)
    found = without_padding(maps, clip, (32, 70), rows)
    assert torch.equal(found, maps.narrow(rows, 0, 2).narrow(rows + 1, 0, 8))
    assert without_padding(maps, clip, (0, 0), rows) is maps
    tokens = torch.rand(1, 30, 4)
    assert without_padding(tokens, clip, (32, 70), rows) is tokens


@pytest.mark.parametrize(("head", "pool"), [("sed", "avg"), ("sed", "gem"), ("linear", "avg"), ("linear", "gem")])
def test_no_head_sees_maps_of_padding_alone(member: Member, view: MelView, head: str, pool: str) -> None:
    clips = clips_of(view, 64, 160)
    model = built(member, clips, head=head, pool=pool).eval()
    model.padding = (64, 96)  # of which the stride of 32 makes two rows and three columns
    whole = feature_maps(model.backbone, padded(images(clips), model.padding))
    seen: list[Tensor] = []
    first: nn.Module = model.head if model.head is not None else model.backbone.get_submodule("global_pool")
    first.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    model(images(clips))
    assert whole.shape[2:] == (4, 8)
    assert torch.allclose(seen[0], whole[:, :, :2, :5])


def test_a_trial_leaves_the_random_numbers_as_they_are(view: MelView) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fit("test_vit_relpos", clips_of(view, 64, 77), 2)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("backbone", ["nest_tiny", "mvitv2_tiny"])
def test_a_backbone_that_cannot_take_clips_says_which_it_takes_and_does(
    member: Member, view: MelView, backbone: str
) -> None:
    """mvitv2 finds out only by an index out of bounds."""
    clips = clips_of(view, 64, 313)
    with pytest.raises(TrainError, match=rf"{backbone} cannot process .* 64 mel bins and 313 frames: \w+Error") as told:
        built(member, clips, backbone=backbone).check_clips(clips)
    bins, seconds = re.search(r"it takes n_mels: (\d+) with clip_s: ([\d.]+) ", str(told.value)).groups()  # type: ignore[union-attr]
    other = Clips(view.model_copy(update={"n_mels": int(bins)}), float(seconds))
    built(member, other, backbone=backbone).check_clips(other)


@pytest.mark.parametrize("frames", range(200, 330, 7))
def test_the_clip_length_that_is_named_has_these_frames(view: MelView, frames: int) -> None:
    said = clips_of(view, 64, 100).keys_for((64, frames))
    (seconds,) = re.findall(r"clip_s: ([\d.]+)", said)
    assert view.frames(float(seconds)) == frames


def test_a_pool_that_a_backbone_cannot_have_is_no_traceback(member: Member, view: MelView) -> None:
    clips = clips_of(view, 64, 80)
    with pytest.raises(TrainError, match=r"lowformer_b0 .*; with head: linear and pool: avg it takes them; change"):
        built(member, clips, backbone="lowformer_b0", pool="gem").check_clips(clips)
