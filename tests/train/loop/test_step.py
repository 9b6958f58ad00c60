"""Steps of the optimiser: grouped batches, running mean of the weights, frozen backbones, precision, compilation."""

from __future__ import annotations

import copy
import shutil
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from timm.utils.model_ema import ModelEmaV3

from birdcache.params.embedding import Output
from birdcache.params.recipe import Member, Recipe, resolve_recipe
from birdcache.params.teacher import TeacherParams
from tests.train.small import CLASSES, MEL_BINS, alike, batch_of, cut, small_model
from train.loop.batch_norm import is_joint, join_batch_norm
from train.loop.distributed import ALONE, Ranks
from train.loop.step import RunningMean, TrainingStep
from train.model.classifier import Classifier, build_model

CPU = torch.device("cpu")


def training_step(
    recipe: Recipe, changes: dict[str, Any] | None = None, model: Classifier | None = None
) -> TrainingStep:
    counts = np.ones(CLASSES, np.int64)
    return TrainingStep(model or small_model(), counts, resolve_recipe(recipe, changes or {}), CPU, ALONE)


def gradients(model: Classifier) -> dict[str, torch.Tensor]:
    return {name: tensor.grad.clone() for name, tensor in model.named_parameters() if tensor.grad is not None}


def assert_alike(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor], tolerance: float = 1e-6) -> None:
    assert first.keys() == second.keys() != set()
    for name, tensor in first.items():
        torch.testing.assert_close(tensor, second[name], rtol=1e-4, atol=tolerance)


@pytest.mark.parametrize("kind", ["ce", "bce"])
@pytest.mark.parametrize("sizes", [(4, 4), (2, 2, 2, 2), (6, 2)])
def test_a_group_of_batches_gives_the_gradient_of_one_batch_of_all_their_clips(
    recipe: Recipe, kind: str, sizes: tuple[int, ...]
) -> None:
    changes = {"loss": {"kind": kind}, "optimiser": {"clip_norm": 0.0}}
    batch = alike(batch_of(8))
    one, several = training_step(recipe, changes), training_step(recipe, changes)
    loss_of_one, loss_of_several = one.step(batch), several.step(*cut(batch, *sizes))
    assert_alike(gradients(one.kept), gradients(several.kept))
    assert float(loss_of_several) == pytest.approx(float(loss_of_one), rel=1e-5)


def test_a_step_forgets_the_gradient_of_the_one_before(recipe: Recipe) -> None:
    still = {"optimiser": {"lr": 1e-12, "min_lr": 0.0, "clip_norm": 0.0}}
    first, second = training_step(recipe, still), training_step(recipe, still)
    first.step(batch_of(4, seed=1))
    for each in (first, second):
        each.step(batch_of(4, seed=2))
    assert_alike(gradients(first.kept), gradients(second.kept))


def test_the_gradient_of_a_group_is_clipped_as_a_whole(recipe: Recipe) -> None:
    clipped = training_step(recipe, {"optimiser": {"clip_norm": 0.01}})
    clipped.step(*cut(batch_of(8), 4, 4))
    norm = torch.stack([tensor.norm() for tensor in gradients(clipped.kept).values()]).norm()
    assert float(norm) == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("decay", [0.5, 0.9])
def test_the_kept_weights_are_a_running_mean_that_is_short_at_first(recipe: Recipe, decay: float) -> None:
    """Reference in float64: after step n the mean moves towards the weights by 1 - min(decay, 1 - n^-0.75)."""
    model = small_model()
    averaging = training_step(recipe, {"optimiser": {"ema_decay": decay, "lr": 0.1}}, model)
    expected: dict[str, torch.Tensor] = {}
    for number in range(1, 9):
        averaging.step(batch_of(4, seed=number))
        share = min(decay, 1 - number**-0.75)
        for name, weight in model.named_parameters():
            now = weight.detach().double()
            expected[name] = share * expected[name] + (1 - share) * now if name in expected else now
    for name, weight in averaging.kept.named_parameters():
        torch.testing.assert_close(weight.double(), expected[name], rtol=1e-5, atol=1e-6)
    assert averaging.kept is not model


def test_without_a_running_mean_the_kept_weights_are_the_model_s_own(recipe: Recipe) -> None:
    model = small_model()
    assert training_step(recipe, model=model).kept is model


def test_a_frozen_backbone_stays_while_its_head_learns_until_it_is_set_free(recipe: Recipe) -> None:
    model = small_model()
    frozen = training_step(recipe, model=model)
    before = copy.deepcopy(model.state_dict())
    frozen.begin_epoch(frozen=True)
    frozen.step(batch_of(4))
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == {"backbone.4.weight", "backbone.4.bias"}
    frozen.begin_epoch(frozen=False)
    frozen.step(batch_of(4))
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == {"backbone.0.weight", "backbone.0.bias", "backbone.4.weight", "backbone.4.bias"}


def test_the_memory_layout_changes_no_step(recipe: Recipe) -> None:
    last, first = (training_step(recipe, {"channels_last": wanted}) for wanted in (True, False))
    for each in (last, first):
        each.step(batch_of(4))
    assert_alike(gradients(last.kept), gradients(first.kept))


def test_recomputed_activations_give_the_same_gradient(recipe: Recipe, member: Member) -> None:
    layered = member.model_copy(update={"backbone": "test_efficientnet_ln"})
    models = []
    for recompute in (False, True):
        torch.manual_seed(1)
        models.append(build_model(layered, CLASSES, MEL_BINS, pretrained=False))
        each = training_step(recipe, {"recompute": recompute}, models[-1])
        each.begin_epoch(frozen=False)
        each.step(batch_of(4))
    assert_alike(gradients(models[0]), gradients(models[1]))


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_lower_precision_steps_much_like_float32_with_weights_that_stay_float32(recipe: Recipe, precision: str) -> None:
    low, full = training_step(recipe, {"precision": precision}), training_step(recipe)
    assert float(low.step(batch_of(8))) == pytest.approx(float(full.step(batch_of(8))), rel=0.02)
    assert {tensor.dtype for tensor in low.kept.parameters()} == {torch.float32}
    for name, tensor in gradients(low.kept).items():
        torch.testing.assert_close(tensor, gradients(full.kept)[name], rtol=0.1, atol=0.01)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_joint_batch_norm_of_one_process_is_batch_norm(member: Member, dtype: torch.dtype) -> None:
    """Of several see `test_distributed`. Names and what is shown in evaluation stay, and so does a copy's."""
    torch.manual_seed(1)
    plain = build_model(member, CLASSES, MEL_BINS, pretrained=False).train()
    joint = copy.deepcopy(plain)
    join_batch_norm(joint, ALONE)
    kinds = {type(module).__name__ for module in joint.modules() if hasattr(module, "running_mean")}
    assert kinds == {"JointBatchNormAct2d"}
    for model in (plain, joint):
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            model(batch_of(4).clips).clip.square().mean().backward()
    if dtype == torch.float32:
        assert_alike(gradients(plain), gradients(joint), tolerance=2e-3)  # of up to 30
        assert_alike(plain.state_dict(), joint.state_dict())
    else:
        largest = [torch.cat([each.flatten() for each in gradients(model).values()]) for model in (plain, joint)]
        assert float(torch.corrcoef(torch.stack(largest))[0, 1]) > 0.99
    again = copy.deepcopy(joint).eval()
    assert list(again.state_dict()) == list(plain.state_dict())
    torch.testing.assert_close(
        again(batch_of(4).clips).clip, plain.eval()(batch_of(4).clips).clip, rtol=0.05, atol=0.05
    )


@pytest.mark.parametrize(
    ("wanted", "share", "world", "joint"),
    [
        ("auto", 15, 2, True),
        ("auto", 16, 2, False),
        ("joint", 64, 2, True),
        ("own", 2, 2, False),
        ("joint", 4, 1, False),
    ],
)
def test_batch_norm_is_joint_where_shares_are_small_or_as_it_is_asked_for(
    wanted: str, share: int, world: int, joint: bool
) -> None:
    assert is_joint(wanted, share, Ranks(0, world)) == joint


@pytest.mark.parametrize("backbone", ["test_efficientnet", "test_resnet"])
def test_activations_that_are_not_in_place_give_the_same_gradient_to_the_last_bit(
    recipe: Recipe, member: Member, backbone: str
) -> None:
    torch.manual_seed(1)
    model = build_model(member.model_copy(update={"backbone": backbone}), CLASSES, MEL_BINS, pretrained=False)
    in_place = copy.deepcopy(model)
    assert any(getattr(module, "inplace", False) for module in in_place.modules())
    kept = training_step(recipe, {"channels_last": False}, model).kept
    assert not any(getattr(module, "inplace", False) for module in kept.modules())
    for each in (kept, in_place):
        each.train()(batch_of(4).clips).clip.square().mean().backward()
    assert all(torch.equal(weight, gradients(in_place)[name]) for name, weight in gradients(kept).items())


def test_the_running_mean_is_timm_s(member: Member) -> None:
    model = build_model(member, CLASSES, MEL_BINS, pretrained=False)
    ours, timms = RunningMean(model, 0.9), ModelEmaV3(model, 0.9, use_warmup=True, warmup_power=0.75)
    for step in range(1, 40):
        with torch.no_grad():
            for tensor in model.state_dict().values():
                tensor.add_(torch.ones_like(tensor))
        ours.update(step)
        timms.update(model, step=step)
        pairs = zip(ours.model.state_dict().values(), timms.module.state_dict().values(), strict=True)
        assert all(torch.equal(our, their) for our, their in pairs if our.is_floating_point()), step


@pytest.mark.parametrize(
    ("precision", "computed", "tf32"),
    [("auto", "float32", False), ("tf32", "tf32", True), ("float16", "float16 with a loss scaler", False)],
)
def test_the_first_line_says_in_what_is_computed(recipe: Recipe, precision: str, computed: str, tf32: bool) -> None:
    assert (
        training_step(recipe, {"precision": precision}).line
        == f"computing in {computed} on the CPU; batches of 4 clips"
    )
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == (tf32, tf32)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_model_takes_the_same_steps_and_is_kept_uncompiled(recipe: Recipe) -> None:
    compiled, plain = (training_step(recipe, {"compile": wanted}) for wanted in (True, False))
    losses = [[float(each.step(batch_of(4, seed))) for seed in (1, 2)] for each in (compiled, plain)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert_alike(gradients(compiled.kept), gradients(plain.kept), tolerance=1e-5)
    assert type(compiled.kept) is Classifier
    assert compiled.kept.state_dict().keys() == plain.kept.state_dict().keys()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_model_learns_the_same_of_a_teacher(recipe: Recipe) -> None:
    params = TeacherParams.model_validate({"view": "birds", "loss": "mse"})
    teacher: Any = SimpleNamespace(params=params, output=Output(name="embedding", start=0, stop=5))
    steps = []
    for wanted in (True, False):
        changed = resolve_recipe(recipe, {"compile": wanted})
        steps.append(TrainingStep(small_model(), np.ones(CLASSES, np.int64), changed, CPU, ALONE, teacher))
    batches = [replace(batch_of(4, seed), taught=(torch.full((4, 5), float(seed)), torch.ones(4))) for seed in (1, 2)]
    losses = [[float(each.step(batch)) for batch in batches] for each in steps]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert float(steps[0].taught) == pytest.approx(float(steps[1].taught), rel=1e-4)
    assert float(steps[0].taught) > 0
    assert_alike(gradients(steps[0].kept), gradients(steps[1].kept), tolerance=1e-5)
    assert not [name for name in steps[0].kept.state_dict() if "projection" in name]
