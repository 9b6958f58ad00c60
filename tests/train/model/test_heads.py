"""Heads against their formulas in float64, and on every kind of backbone that they meet."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from timm.layers import SelectAdaptivePool2d  # type: ignore[attr-defined]
from torch import Tensor, nn

from birdcache.errors import TrainError
from birdcache.params.recipe import Member
from tests.train.conftest import CLIP_FRAMES, MEL_BINS
from train.model.classifier import Classifier, build_model
from train.model.heads import FrameAttention, GeneralisedMean, feature_maps, generalise_pool

B, C, K = 3, 6, 5
Floats = npt.NDArray[np.float64]


@pytest.fixture
def maps() -> Tensor:
    """Features (B, C, M, T), some of them negative."""
    return torch.randn(B, C, 4, 7, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def clips() -> Tensor:
    return torch.randn(2, 1, MEL_BINS, CLIP_FRAMES, generator=torch.Generator().manual_seed(2))


def with_head(member: Member, head: str, pool: str = "avg", backbone: str = "test_efficientnet") -> Classifier:
    torch.manual_seed(5)
    chosen = member.model_copy(update={"head": head, "pool": pool, "backbone": backbone})
    return build_model(chosen, K, MEL_BINS, pretrained=False)


def generalised_mean(values: Floats, exponent: float, axes: tuple[int, ...]) -> Floats:
    mean: Floats = np.mean(np.maximum(values, 1e-6) ** exponent, axis=axes)
    return mean ** (1 / exponent)


def attended(maps: Floats, head: FrameAttention, exponent: float | None) -> tuple[Floats, Floats]:
    """The head's formula, clip by clip and class by class."""
    weights = {name: tensor.detach().double().numpy() for name, tensor in head.state_dict().items()}
    clip, loudest = np.zeros((len(maps), K)), np.zeros((len(maps), K))
    pooled = maps.mean(axis=2) if exponent is None else generalised_mean(maps, exponent, (2,))
    for b in range(len(maps)):
        for k in range(K):
            attention = np.tanh(weights["attention.weight"][k, :, 0] @ pooled[b] + weights["attention.bias"][k])
            frames = weights["frames.weight"][k, :, 0] @ pooled[b] + weights["frames.bias"][k]
            share = np.exp(attention) / np.exp(attention).sum()
            clip[b, k], loudest[b, k] = (share * frames).sum(), frames.max()
    return clip, loudest


@pytest.mark.parametrize("exponent", [1.0, 3.0, 4.7])
@pytest.mark.parametrize("axes", [(2, 3), (1, 2), (2,)])
def test_a_generalised_mean_equals_its_formula(maps: Tensor, exponent: float, axes: tuple[int, ...]) -> None:
    pool = GeneralisedMean(axes, keepdim=False)
    assert pool.exponent.item() == 3
    pool.exponent.data.fill_(exponent)
    expected = generalised_mean(maps.double().numpy(), exponent, axes)
    assert pool(maps).detach().numpy() == pytest.approx(expected, rel=1e-5)


def test_a_generalised_mean_lies_between_the_mean_and_the_maximum_and_nears_it(maps: Tensor) -> None:
    pool, positive = GeneralisedMean((2, 3), keepdim=False), maps.abs() + 0.1
    mean, highest = positive.mean(dim=(2, 3)), positive.amax(dim=(2, 3))
    assert ((pool(positive) > mean) & (pool(positive) < highest)).all()
    pool.exponent.data.fill_(500.0)
    assert torch.allclose(pool(positive), highest, rtol=0.02)


@pytest.mark.parametrize("exponent", [3.0, 12.0, 60.0])
def test_a_silent_channel_leaves_a_generalised_mean_and_its_gradients_finite(exponent: float) -> None:
    """(1e-6)^12 is no float32 any more."""
    maps = torch.zeros(1, 2, 3, 4, requires_grad=True)
    pool = GeneralisedMean((2, 3), keepdim=False)
    pool.exponent.data.fill_(exponent)
    value = pool(torch.cat([maps, maps + 1e4]))
    value.sum().backward()
    assert value.detach().numpy() == pytest.approx(np.array([[1e-6, 1e-6], [1e4, 1e4]]), rel=1e-4)
    assert maps.grad is not None
    assert pool.exponent.grad is not None
    assert torch.isfinite(maps.grad).all()
    assert torch.isfinite(pool.exponent.grad).all()


@pytest.mark.parametrize("backbone", ["test_efficientnet", "test_convnext", "mobilenetv3_small_050"])
def test_gem_takes_the_place_of_the_backbones_own_pooling(member: Member, clips: Tensor, backbone: str) -> None:
    """With exponent 1 and features above the floor it is the mean that timm takes, so nothing else has changed."""
    plain, gem = (with_head(member, "linear", pool, backbone).eval() for pool in ("avg", "gem"))
    pool = next(module for module in gem.modules() if isinstance(module, GeneralisedMean))
    seen: list[Tensor] = []
    pool.register_forward_hook(lambda module, inputs, output: seen.append(output))
    missing = gem.load_state_dict(plain.state_dict(), strict=False).missing_keys
    assert [name.rsplit(".", 1)[1] for name in missing] == ["exponent"]
    pool.exponent.data.fill_(1.0)
    expected = feature_maps(plain.backbone, clips).detach().clamp(min=1e-6).mean(dim=(2, 3))
    gem(clips)
    assert torch.allclose(seen[0].flatten(1), expected, rtol=1e-4)
    assert seen[0].ndim == (4 if backbone != "test_efficientnet" else 2)


@pytest.mark.parametrize("backbone", ["test_efficientnet", "test_convnext"])
def test_gem_by_axis_pools_mel_bins_then_frames_each_with_its_own_exponent(
    member: Member, clips: Tensor, backbone: str
) -> None:
    model = with_head(member, "linear", "gem_axes", backbone).eval()
    pools = [module for module in model.modules() if isinstance(module, GeneralisedMean)]
    for pool, exponent in zip(pools, (2.0, 5.0), strict=True):
        pool.exponent.data.fill_(exponent)
    seen: list[Tensor] = []
    pools[1].register_forward_hook(lambda module, inputs, output: seen.append(output.flatten(1)))
    model(clips)
    maps = feature_maps(model.backbone, clips).detach().double().numpy()
    expected = generalised_mean(generalised_mean(maps, 2.0, (2,)), 5.0, (2,))
    np.testing.assert_allclose(seen[0].detach().numpy(), expected, rtol=1e-4)
    assert {id(pool.exponent) for pool in pools} <= {id(each) for each in model.head_parameters()}


@pytest.mark.parametrize("flatten", [True, False])
@pytest.mark.parametrize("order", ["NCHW", "NHWC"])
def test_gem_pools_the_axes_that_the_pooling_in_its_place_pooled(maps: Tensor, order: str, flatten: bool) -> None:
    pool = SelectAdaptivePool2d(pool_type="avg", flatten=flatten, input_fmt=order)
    backbone = nn.Sequential(nn.Identity(), pool)
    generalise_pool(backbone, "tiny", by_axis=False)
    found = backbone[1]
    assert isinstance(found, GeneralisedMean)
    found.exponent.data.fill_(1.0)
    positive = maps.abs() + 0.1
    assert torch.allclose(backbone(positive), pool(positive), rtol=1e-5)


@pytest.mark.parametrize("backbone", ["test_vit", "test_mambaout", "crossvit_tiny_240"])
def test_gem_is_refused_where_there_is_no_pooling_of_maps(member: Member, backbone: str) -> None:
    with pytest.raises(TrainError, match=rf"pool = 'gem': backbone {backbone} does not end in .*; set pool: avg, or"):
        with_head(member, "linear", "gem", backbone)


@pytest.mark.parametrize("pool", ["avg", "gem"])
def test_attention_over_frames_equals_its_formula(maps: Tensor, pool: str) -> None:
    torch.manual_seed(6)
    head = FrameAttention(C, K, pool, 0.0)
    assert (head.pool is None) is (pool == "avg")
    for tensor in head.parameters():
        tensor.data += 0.3 * torch.randn_like(tensor)
    exponent = None if head.pool is None else head.pool.exponent.item()
    clip, loudest = (each.detach().numpy() for each in head(maps))
    expected_clip, expected_loudest = attended(maps.double().numpy(), head, exponent)
    assert clip == pytest.approx(expected_clip, rel=1e-4, abs=1e-5)
    assert loudest == pytest.approx(expected_loudest, rel=1e-4, abs=1e-5)


def test_the_order_of_frames_does_not_matter_and_no_clip_is_louder_than_its_loudest_frame(maps: Tensor) -> None:
    head = FrameAttention(C, K, "avg", 0.0)
    clip, loudest = head(maps)
    for found, expected in zip(head(maps.flip(3)), (clip, loudest), strict=True):
        assert torch.allclose(found, expected, atol=1e-6)
    assert (clip <= loudest).all()


def test_a_model_with_attention_over_frames_applies_it_to_the_backbones_features(member: Member, clips: Tensor) -> None:
    model = with_head(member, "sed").eval()
    assert model.head is not None
    logits = model(clips)
    clip, loudest = attended(feature_maps(model.backbone, clips).detach().double().numpy(), model.head, None)
    assert logits.clip.detach().numpy() == pytest.approx(clip, rel=1e-4, abs=1e-5)
    assert logits.frame_max.detach().numpy() == pytest.approx(loudest, rel=1e-4, abs=1e-5)


def test_maps_with_channels_last_are_turned(member: Member, clips: Tensor) -> None:
    backbone = with_head(member, "sed", backbone="test_mambaout").eval().backbone
    features = backbone.forward_features(clips)  # type: ignore[operator]
    assert torch.equal(feature_maps(backbone, clips), features.movedim(3, 1))


def test_tokens_of_a_transformer_lie_where_their_patches_do(member: Member, clips: Tensor) -> None:
    backbone: Any = with_head(member, "sed", backbone="test_vit").eval().backbone
    tokens, maps = backbone.forward_features(clips), feature_maps(backbone, clips)
    rows, columns = (-(-size // 16) for size in clips.shape[2:])
    assert (backbone.num_prefix_tokens, maps.shape[2:]) == (1, (rows, columns))
    for row, column in np.ndindex(rows, columns):
        assert torch.equal(maps[:, :, row, column], tokens[:, 1 + row * columns + column])


@pytest.mark.parametrize("backbone", ["test_vit", "test_resnet"])
def test_padding_behind_a_clip_gives_no_frames(member: Member, clips: Tensor, backbone: str) -> None:
    model = with_head(member, "sed", backbone=backbone).eval()
    padded = feature_maps(model.backbone, clips[..., :96], (0, 32))
    assert padded.shape[3] == feature_maps(model.backbone, clips[..., :96]).shape[3]


def test_a_share_of_the_loudest_frame_is_in_a_clips_logits_in_inference_alone(maps: Tensor) -> None:
    head = FrameAttention(C, K, "avg", 0.0, frame_share=0.3)
    clip, loudest = head.train()(maps)
    found = head.eval()(maps)
    assert torch.allclose(found[0], 0.7 * clip + 0.3 * loudest, atol=1e-6)
    assert torch.equal(found[1], loudest)


def test_a_later_sound_is_seen_by_later_frames_only(member: Member) -> None:
    """The second axis of the maps is time: what happens late in a clip changes what late frames say."""
    model = with_head(member, "sed", backbone="test_resnet").eval()
    early, late = torch.zeros(2, 1, 1, MEL_BINS, 640).unbind()
    late = late.clone()
    late[..., 480:] = 3.0
    change = (feature_maps(model.backbone, late) - feature_maps(model.backbone, early)).abs().amax(dim=(0, 1, 2))
    assert change[: len(change) // 2].max() == 0
    assert change[-1] > 0


@pytest.mark.parametrize("pool", ["avg", "gem"])
@pytest.mark.parametrize(
    "backbone", ["test_efficientnet", "mobilenetv3_small_050", "test_mambaout", "test_convnext", "test_vit"]
)
def test_the_clips_loss_alone_reaches_every_parameter(member: Member, clips: Tensor, backbone: str, pool: str) -> None:
    """DistributedDataParallel would stop at a parameter without a gradient."""
    model = with_head(member, "sed", pool, backbone).train()
    model(clips).clip.sum().backward()
    assert [name for name, tensor in model.named_parameters() if tensor.grad is None] == []


def test_a_head_over_frames_is_the_same_where_gradients_are_switched_off(member: Member) -> None:
    with torch.no_grad():
        names = with_head(member, "sed", "gem").state_dict().keys()
    assert names == with_head(member, "sed", "gem").state_dict().keys()


def test_dropout_falls_on_the_pooled_features(maps: Tensor) -> None:
    head = FrameAttention(C, K, "avg", 0.5).train()
    torch.manual_seed(8)
    clip, _ = head(maps)
    torch.manual_seed(8)
    kept = nn.functional.dropout(maps.mean(dim=2), 0.5)
    expected, _ = head.eval()(kept.unsqueeze(2))
    assert (kept == 0).any()
    assert torch.allclose(clip, expected, atol=1e-6)


@pytest.mark.parametrize(("head", "pool"), [("linear", "avg"), ("linear", "gem"), ("sed", "avg"), ("sed", "gem")])
def test_a_members_dropout_falls_before_any_head(member: Member, clips: Tensor, head: str, pool: str) -> None:
    """Without it two passes agree; with it they differ, but not in evaluation mode."""
    for dropout in (0.0, 0.6):
        model = with_head(member.model_copy(update={"dropout": dropout}), head, pool).train()
        assert torch.equal(model(clips).clip, model(clips).clip) is (dropout == 0)
        assert torch.equal(model.eval()(clips).clip, model(clips).clip)


@pytest.mark.parametrize("pool", ["avg", "gem"])
def test_mixed_precision_changes_little_and_heads_over_frames_answer_in_float32(
    member: Member, clips: Tensor, pool: str
) -> None:
    model = with_head(member, "sed", pool).eval()
    plain = model(clips)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = model(clips)
    for found, expected in zip(mixed[:2], plain[:2], strict=True):
        assert found.dtype == torch.float32
        assert torch.allclose(found, expected, atol=0.03 * float(expected.detach().abs().max()))


@pytest.mark.parametrize("backbone", ["xcit_nano_12_p16_224", "crossvit_tiny_240"])
def test_attention_over_frames_is_refused_where_features_are_no_maps(member: Member, backbone: str) -> None:
    with pytest.raises(
        TrainError, match=rf"head = 'sed': backbone {backbone} has no feature maps .*; set head: linear"
    ):
        with_head(member, "sed", backbone=backbone)


def test_attention_over_frames_is_refused_where_the_spectrogram_is_too_small(member: Member) -> None:
    with pytest.raises(
        TrainError, match=r"inception_v3 has no feature maps .* 32 mel bins and 128 frames .*; set head"
    ):
        with_head(member, "sed", backbone="inception_v3")
