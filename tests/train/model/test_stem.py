"""The stride of a network's first convolution, and the size of the images that it sees."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from birdcache.errors import TrainError
from birdcache.params.recipe import Member
from birdcache.params.views import MelView
from train.model.classifier import Classifier, build_model, features_and_logits
from train.model.heads import feature_maps
from train.model.sizes import Clips

MEL_BINS, CLIP_FRAMES = 64, 96


def built(member: Member, clips: Clips | None = None, **changes: object) -> Classifier:
    torch.manual_seed(2)
    return build_model(member.model_copy(update=changes), 3, MEL_BINS, False, clips=clips).eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(2, 1, MEL_BINS, CLIP_FRAMES, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("backbone", ["test_efficientnet", "test_resnet", "tf_efficientnet_lite0", "test_byobnet"])
def test_a_stem_of_stride_1_has_the_same_weights_and_maps_twice_as_fine(
    member: Member, images: torch.Tensor, backbone: str
) -> None:
    plain, fine = built(member, backbone=backbone), built(member, backbone=backbone, stem_stride=1)
    state = plain.state_dict()
    assert all(torch.equal(each, state[name]) for name, each in fine.state_dict().items())
    coarse_maps, maps = (feature_maps(model.backbone, images) for model in (plain, fine))
    assert maps.shape[2:] == tuple(2 * size for size in coarse_maps.shape[2:])


def test_a_stem_of_the_networks_own_stride_changes_nothing(member: Member, images: torch.Tensor) -> None:
    plain, same = built(member), built(member, stem_stride=2)
    assert torch.equal(plain(images).clip, same(images).clip)


@pytest.mark.parametrize(
    ("backbone", "stride"),
    [("test_vit", 2), ("swin_tiny_patch4_window7_224", 2), ("fastvit_t8", 1), ("test_efficientnet", 3)],
)
def test_a_network_without_such_a_stem_is_refused(member: Member, backbone: str, stride: int) -> None:
    with pytest.raises(
        TrainError, match=rf"stem_stride = {stride}: backbone {backbone} does not begin .* set stem_str"
    ):
        built(member, backbone=backbone, stem_stride=stride)


@pytest.mark.parametrize("head", ["linear", "sed"])
@pytest.mark.parametrize("size", [(96, 128), (32, 48)])
def test_the_network_sees_images_of_the_wanted_size(
    member: Member, view: MelView, images: torch.Tensor, head: str, size: tuple[int, int]
) -> None:
    clips = Clips(view.model_copy(update={"n_mels": MEL_BINS}), CLIP_FRAMES * view.hop / view.sample_rate_hz)
    plain, model = (built(member, clips, head=head, image_size=each) for each in (None, [*size]))
    model.check_clips(clips)
    resized = functional.interpolate(images, size, mode="bilinear", antialias=True)
    assert torch.equal(model(images).clip, plain(resized).clip)
    assert torch.equal(features_and_logits(model, images)[0], features_and_logits(plain, resized)[0])


def test_images_in_half_precision_as_kernels_make_them_are_resized_in_float32(
    member: Member, images: torch.Tensor
) -> None:
    small = built(member, image_size=[16, 24])
    assert torch.equal(small.resized(images.bfloat16()), small.resized(images.bfloat16().float()))


def test_an_image_that_shrinks_keeps_its_mean_so_no_cell_is_skipped(member: Member, images: torch.Tensor) -> None:
    small = built(member, image_size=[16, 24]).resized(images)
    assert small.shape == (2, 1, 16, 24)
    clicks = torch.zeros(1, 1, MEL_BINS, CLIP_FRAMES)
    clicks[..., 1::4] = 1  # a stride of 4 that took single cells could miss them all
    assert built(member, image_size=[16, 24]).resized(clicks)[..., 2:-2].mean() == pytest.approx(0.25, abs=0.01)


def test_a_network_for_images_of_one_size_is_made_for_that_which_it_sees(member: Member, view: MelView) -> None:
    clips = Clips(view, 5.0)
    model = built(member, clips, backbone="test_vit_relpos", image_size=[160, 160])
    assert model.padding == (0, 0)
    assert model(torch.randn(1, 1, *clips.size)).clip.shape == (1, 3)


def test_what_cannot_process_images_names_the_key(member: Member, view: MelView) -> None:
    clips = Clips(view, 5.0)
    with pytest.raises(
        TrainError, match=r"nest_tiny cannot process .* 64 mel bins and 96 frames.* image_size: \[\d+, "
    ):
        built(member, clips, backbone="nest_tiny", image_size=[64, 96]).check_clips(clips)
