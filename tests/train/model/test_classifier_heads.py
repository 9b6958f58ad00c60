"""What a model can do with its two parts: freeze one, recompute, be copied and compiled."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from torch import Tensor, nn

from birdcache.errors import TrainError
from birdcache.params.recipe import Member
from birdcache.params.views import MelView
from train.augment.normalise import BinStatistics
from train.model.classifier import Classifier, build_model
from train.model.sizes import Clips

CLASSES = 7
MEL_BINS, CLIP_FRAMES = 64, 80  # of which backbones make maps of 2 mel bins and 3 frames
HEADS = [("linear", "avg"), ("linear", "gem"), ("sed", "avg"), ("sed", "gem")]


@pytest.fixture
def clips() -> Tensor:
    return torch.randn(3, 1, MEL_BINS, CLIP_FRAMES, generator=torch.Generator().manual_seed(1))


def built(member: Member, **changes: object) -> Classifier:
    torch.manual_seed(2)
    return build_model(member.model_copy(update=changes), CLASSES, MEL_BINS, pretrained=False)


def names(model: nn.Module, parameters: list[nn.Parameter]) -> set[str]:
    known = {tensor: name for name, tensor in model.named_parameters()}
    return {known[tensor] for tensor in parameters}


@pytest.mark.parametrize(
    ("head", "pool", "expected"),
    [
        ("linear", "avg", {"backbone.classifier.weight", "backbone.classifier.bias"}),
        (
            "linear",
            "gem",
            {"backbone.classifier.weight", "backbone.classifier.bias", "backbone.global_pool.exponent"},
        ),
        ("sed", "avg", {f"head.{part}.{kind}" for part in ("attention", "frames") for kind in ("weight", "bias")}),
    ],
)
def test_head_and_backbone_share_out_all_parameters(member: Member, head: str, pool: str, expected: set[str]) -> None:
    model = built(member, head=head, pool=pool)
    found, others = names(model, model.head_parameters()), names(model, model.backbone_parameters())
    assert found == expected
    assert found | others == {name for name, _ in model.named_parameters()}
    assert not found & others


def test_a_distilled_transformer_has_two_classifiers(member: Member) -> None:
    model = built(member, backbone="deit_tiny_distilled_patch16_224")
    assert {name.rsplit(".", 1)[0] for name in names(model, model.head_parameters())} == {
        "backbone.head",
        "backbone.head_dist",
    }


def one_step(model: Classifier, clips: Tensor) -> set[str]:
    """Names of the tensors, buffers included, that a step in training mode changes."""
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    logits = model.train()(clips)
    (logits.clip - torch.arange(CLASSES)).square().mean().backward()
    optimiser.step()
    return {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}


@pytest.mark.parametrize(("head", "pool"), HEADS)
def test_a_new_model_is_ready_to_train(member: Member, head: str, pool: str) -> None:
    assert all(part.training for part in built(member, head=head, pool=pool).modules())


@pytest.mark.parametrize(("head", "pool"), HEADS)
def test_only_the_head_of_a_frozen_model_changes_and_all_of_it_once_it_is_thawed(
    member: Member, clips: Tensor, head: str, pool: str
) -> None:
    """Parameters, and the running statistics of batch norms, which training mode would move."""
    model = built(member, head=head, pool=pool)
    model.freeze_backbone(True)
    assert model.frozen
    assert one_step(model, clips) == names(model, model.head_parameters())
    model.freeze_backbone(False)
    changed = one_step(model, clips)
    assert {"backbone.conv_stem.weight", "backbone.bn1.running_mean"} <= changed
    assert names(model, model.backbone_parameters()) <= changed


def test_a_classifier_with_batch_norms_of_its_own_keeps_them_learning_while_the_backbone_is_frozen(
    member: Member,
) -> None:
    model = built(member, backbone="repvit_m0_9")
    model.freeze_backbone(True)
    norms = {name: part.training for name, part in model.train().named_modules() if hasattr(part, "running_var")}
    assert len(norms) > 50
    assert {name for name, training in norms.items() if training} == {
        "backbone.head.head.bn",
        "backbone.head.head_dist.bn",
    }


def test_what_a_backbone_never_learns_stays_so_when_it_is_thawed() -> None:
    backbone = timm.create_model("test_resnet", in_chans=1, num_classes=CLASSES)
    backbone.get_parameter("conv1.0.weight").requires_grad_(False)
    model = Classifier(backbone, MEL_BINS)
    model.freeze_backbone(True)
    model.freeze_backbone(False)
    assert {name for name, tensor in model.named_parameters() if not tensor.requires_grad} == {
        "backbone.conv1.0.weight"
    }


@pytest.mark.parametrize("head", ["linear", "sed"])
def test_recomputed_activations_give_the_same_gradients(member: Member, clips: Tensor, head: str) -> None:
    gradients, passes = [], []
    for enabled in (False, True):
        model, calls = built(member, head=head), list[int]()
        model.backbone.get_submodule("blocks.1.0").register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
        if enabled:
            model.recompute()
        model.train()(clips).clip.square().sum().backward()
        gradients.append([tensor.grad for tensor in model.parameters()])
        passes.append(len(calls))
    assert passes == [1, 2]
    for ours, theirs in zip(*gradients, strict=True):
        assert ours is not None
        assert theirs is not None
        assert torch.allclose(ours, theirs, atol=1e-6)


def test_a_backbone_that_cannot_recompute_is_refused_by_name(member: Member) -> None:
    model = built(member, backbone="dla46_c")
    with pytest.raises(TrainError, match=r"recompute = true: .* for backbone dla46_c; set recompute: false"):
        model.recompute()


@pytest.mark.parametrize(("head", "pool"), [("linear", "gem"), ("sed", "gem")])
def test_a_copy_of_a_model_says_the_same_and_learns_apart_from_it(
    member: Member, clips: Tensor, head: str, pool: str
) -> None:
    """A running mean of the weights is such a copy."""
    model = built(member, head=head, pool=pool)
    model.freeze_backbone(True)
    double = copy.deepcopy(model).eval()
    before = model.eval()(clips).clip
    assert double.frozen
    assert torch.equal(double(clips).clip, before)
    assert one_step(double, clips) == names(double, double.head_parameters())
    assert torch.equal(model.eval()(clips).clip, before)


@pytest.mark.parametrize(("head", "pool"), HEADS)
def test_a_model_compiles_in_one_piece(member: Member, clips: Tensor, head: str, pool: str) -> None:
    """`eager` traces as torch.compile does, and needs no C++ compiler."""
    model = built(member, head=head, pool=pool).eval()
    with torch.no_grad():
        compiled, plain = torch.compile(model, backend="eager", fullgraph=True)(clips), model(clips)
    assert torch.allclose(compiled.clip, plain.clip, atol=1e-6)
    assert (compiled.frame_max is None) is (plain.frame_max is None)


@pytest.mark.parametrize("head", ["linear", "sed"])
def test_samples_of_dropout_differ_in_training_and_are_one_afterwards(member: Member, clips: Tensor, head: str) -> None:
    model = built(member, head=head, dropout=0.5, dropout_samples=3)
    one, batch = built(member, head=head, dropout=0.5), len(clips)
    one.load_state_dict(model.state_dict())
    assert torch.equal(model.eval()(clips).clip, one.eval()(clips).clip)
    for module in model.train().modules():
        if hasattr(module, "running_var"):
            module.eval()
    for logits in (each for each in model(clips) if each is not None):
        samples = logits.reshape(batch, 3, CLASSES)
        assert not torch.equal(samples[:, 0], samples[:, 1])
    torch.manual_seed(1)
    mean = torch.stack([model(clips).clip.reshape(batch, 3, CLASSES).mean(dim=1) for _ in range(300)]).mean(dim=0)
    if head == "linear":
        assert torch.allclose(mean, one(clips).clip, atol=0.1), "dropout keeps the mean"


def test_statistics_travel_with_the_model(member: Member) -> None:
    model = built(member)
    mean = torch.arange(MEL_BINS)[None] * 1.0
    model.statistics = BinStatistics(mean, mean + 2.0)
    again = built(member)
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.statistics.mean, mean)
    assert torch.equal(again.statistics.deviation, mean + 2.0)


def clips_of(view: MelView, frames: int) -> Clips:
    return Clips(view.model_copy(update={"n_mels": MEL_BINS}), frames * view.hop / view.sample_rate_hz)


@pytest.mark.parametrize(("backbone", "frames"), [("test_vit", 313), ("test_resnet", 313), ("dla46_c", 320)])
def test_clips_that_a_backbone_can_look_at_pass_and_leave_it_as_it_was(
    member: Member, view: MelView, backbone: str, frames: int
) -> None:
    model = built(member, backbone=backbone)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.check_clips(clips_of(view, frames))
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(("backbone", "frames"), [("test_vit_relpos", 64), ("dla46_c", 313), ("test_maxvit", 64)])
def test_clips_of_a_size_that_a_backbone_cannot_look_at_are_refused(
    member: Member, view: MelView, backbone: str, frames: int
) -> None:
    with pytest.raises(
        TrainError, match=rf"{backbone} cannot process clips of 64 mel bins and {frames} frames: .*clip_s"
    ):
        built(member, backbone=backbone).check_clips(clips_of(view, frames))
