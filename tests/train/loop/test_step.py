"""Steps of the optimiser: grouped batches, running mean of the weights, frozen backbones, precision, compilation."""

from __future__ import annotations

import copy
import shutil
from typing import Any

import numpy as np
import pytest
import torch

from birdcache.params.recipe import Member, Recipe, resolve_recipe
from tests.train.small import CLASSES, MEL_BINS, alike, batch_of, cut, small_model
from train.loop.distributed import ALONE, Ranks
from train.loop.step import TrainingStep, joint_batch_norm
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


def test_batch_norm_is_joined_over_gpus_with_the_same_weights_and_results(member: Member) -> None:
    plain = build_model(member, CLASSES, MEL_BINS, pretrained=False).eval()
    names, images = list(plain.state_dict()), batch_of(4).clips
    before = plain(images).clip
    joint = joint_batch_norm(plain, torch.device("cuda"), Ranks(0, 2)).eval()
    kinds = {type(module).__name__ for module in joint.modules() if hasattr(module, "running_mean")}
    assert kinds == {"SyncBatchNormAct"}
    assert list(joint.state_dict()) == names
    torch.testing.assert_close(joint(images).clip, before)


@pytest.mark.parametrize(("device", "world"), [("cpu", 2), ("cuda", 1)])
def test_batch_norm_stays_each_process_s_own_on_cpus_and_alone(member: Member, device: str, world: int) -> None:
    model = joint_batch_norm(
        build_model(member, CLASSES, MEL_BINS, pretrained=False), torch.device(device), Ranks(0, world)
    )
    kinds = {type(module).__name__ for module in model.modules() if hasattr(module, "running_mean")}
    assert kinds == {"BatchNormAct2d"}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_model_takes_the_same_steps_and_is_kept_uncompiled(recipe: Recipe) -> None:
    compiled, plain = (training_step(recipe, {"compile": wanted}) for wanted in (True, False))
    losses = [[float(each.step(batch_of(4, seed))) for seed in (1, 2)] for each in (compiled, plain)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert_alike(gradients(compiled.kept), gradients(plain.kept), tolerance=1e-5)
    assert type(compiled.kept) is Classifier
    assert compiled.kept.state_dict().keys() == plain.kept.state_dict().keys()
