"""The learning rate at known steps, and how fast each parameter learns and decays."""

from __future__ import annotations

import copy
import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from timm.optim import list_optimizers  # type: ignore[attr-defined]
from torch import Tensor, nn

from birdcache.errors import TrainError
from birdcache.params.recipe import Member, OptimiserParams, Recipe
from train.loop.optim import UNFIT, build_optimiser, create_optimiser, is_recordable, learning_rate, set_rate
from train.model.classifier import Classifier, build_model

MEL_BINS = 64
PLAIN: dict[str, Any] = {
    "kind": "adamw",
    "lr": 1e-3,
    "min_lr": 1e-5,
    "backbone_scale": 1.0,
    "layer_decay": 1.0,
    "weight_decay": 0.05,
    "warmup_epochs": 2.0,
    "schedule": "cosine",
    "cycles": 1,
}


@pytest.fixture(params=["linear", "sed"])
def model(request: pytest.FixtureRequest, member: Member) -> Classifier:
    return made(member, head=request.param)


def made(member: Member, **changes: Any) -> Classifier:
    torch.manual_seed(1)
    return build_model(member.model_copy(update={"pool": "gem", **changes}), 3, MEL_BINS, pretrained=False)


@pytest.fixture
def plain(recipe: Recipe) -> OptimiserParams:
    return OptimiserParams.model_validate({**recipe.optimiser.model_dump(), **PLAIN})


def chosen(plain: OptimiserParams, **changes: Any) -> OptimiserParams:
    return OptimiserParams.model_validate({**plain.model_dump(), **changes})


def rates(params: OptimiserParams, steps_per_epoch: int = 10, epochs: int = 10) -> list[float]:
    return [learning_rate(step, steps_per_epoch, epochs, params) for step in range(steps_per_epoch * epochs)]


def of_each(model: nn.Module, optimiser: torch.optim.Optimizer, key: str) -> dict[str, float]:
    """What each parameter's group says; none stands in two groups."""
    value = {tensor: group[key] for group in optimiser.param_groups for tensor in group["params"]}
    assert len(value) == sum(len(group["params"]) for group in optimiser.param_groups)
    return {name: value[tensor] for name, tensor in model.named_parameters()}


def test_warm_up_is_linear_from_one_step_above_zero_to_the_full_rate(plain: OptimiserParams) -> None:
    assert rates(plain)[:20] == pytest.approx([1e-3 * (step + 1) / 20 for step in range(20)])


def test_a_flat_share_keeps_the_rate_before_the_cosine(plain: OptimiserParams) -> None:
    """100 steps, 20 of them warm-up; half of the other 80 are flat, and the cosine has the last 40."""
    found = rates(chosen(plain, flat_share=0.5))
    assert found[19:61] == pytest.approx([1e-3] * 42)
    assert found[80] == pytest.approx((1e-3 + 1e-5) / 2)
    assert 1e-5 < found[-1] < 1.2e-5


@pytest.mark.parametrize("kind", ["radam", "nadamw", "lion", "adan", "muon", "sgd", "lamb"])
def test_any_optimiser_of_timm_trains_all_of_a_model(model: Classifier, plain: OptimiserParams, kind: str) -> None:
    optimiser = build_optimiser(model, chosen(plain, kind=kind, lr=1e-2, layer_decay=0.8))
    images, wanted = torch.randn(4, 1, MEL_BINS, 64), torch.tensor([0, 1, 2, 0])
    before = [parameter.detach().clone() for parameter in model.parameters()]
    losses = []
    for _ in range(8):
        loss = nn.functional.cross_entropy(model(images).clip, wanted)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    learnt = [tensor for tensor in model.parameters() if tensor.grad is not None and tensor.grad.any()]
    changed = [now for now, then in zip(model.parameters(), before, strict=True) if not torch.equal(now, then)]
    assert len(changed) >= len(learnt) > 0


def numbers(optimiser: torch.optim.Optimizer) -> list[object]:
    """What an optimiser keeps and no tensor holds; a replayed CUDA graph leaves it as it was when recorded."""
    kept = [*optimiser.state.values(), *optimiser.param_groups]
    return [value for each in kept for key, value in each.items() if key != "params" and not torch.is_tensor(value)]


OPTIMISERS = [name for name in map(str, list_optimizers()) if not name.startswith(("bnb", "fused", *UNFIT))]


@pytest.mark.parametrize("kind", OPTIMISERS)
def test_a_graph_holds_only_optimisers_that_count_in_tensors(plain: OptimiserParams, kind: str) -> None:
    weights = nn.Parameter(torch.eye(4))
    optimiser = create_optimiser([{"params": [weights]}], chosen(plain, kind=kind))
    kept = []
    for _ in range(3):
        optimiser.zero_grad()
        (weights**2).sum().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        kept.append(numbers(optimiser))
    assert kept[1] == kept[2] or not is_recordable(kind)


def test_optimisers_that_count_in_numbers_are_not_recorded() -> None:
    assert [
        kind for kind in ("adan", "lamb", "laprop", "adabelief", "novograd", "adagrad") if is_recordable(kind)
    ] == []
    assert [kind for kind in ("adam", "adamw", "nadam", "radam", "sgd", "muon") if not is_recordable(kind)] == []


def test_a_fused_kernel_is_asked_for_where_gpus_have_it_too(plain: OptimiserParams) -> None:
    """Torch's Adagrad has one for CPUs alone, and its first step on a GPU would be an error."""
    built = {
        kind: create_optimiser([{"params": [nn.Parameter(torch.eye(2))]}], chosen(plain, kind=kind))
        for kind in ("adamw", "sgd", "adagrad")
    }
    assert {kind: bool(each.defaults.get("fused")) for kind, each in built.items()} == {
        "adamw": True,
        "sgd": True,
        "adagrad": False,
    }


def test_arguments_reach_the_optimiser(model: Classifier, plain: OptimiserParams) -> None:
    built = build_optimiser(model, chosen(plain, arguments={"betas": [0.8, 0.9]}))
    assert {tuple(group["betas"]) for group in built.param_groups} == {(0.8, 0.9)}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"kind": "adamww"}, "optimiser.kind adamww: timm has no such optimiser; similar names: adamw"),
        (
            {"kind": "lion", "arguments": {"momentum_of": 1.0}},
            "lion with arguments .*momentum_of.*: .*momentum_of",
        ),
        ({"kind": "bnbadam"}, "bnbadam with arguments {}: "),
        ({"kind": "kronw"}, "optimiser.kind kronw: needs second derivatives, or keeps what no checkpoint can hold"),
    ],
)
def test_an_optimiser_that_cannot_be_made_is_named(
    model: Classifier, plain: OptimiserParams, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(TrainError, match=told):
        build_optimiser(model, chosen(plain, **changes))


def test_the_cosine_starts_at_the_full_rate_is_half_way_in_the_middle_and_ends_just_above_its_minimum(
    plain: OptimiserParams,
) -> None:
    found = rates(plain)
    assert found[20] == pytest.approx(1e-3)
    assert found[60] == pytest.approx((1e-3 + 1e-5) / 2)
    assert found[40] == pytest.approx(1e-5 + (1e-3 - 1e-5) * (1 + math.sqrt(0.5)) / 2)
    assert 1e-5 < found[-1] < 1.1e-5
    assert all(later < earlier for earlier, later in pairwise(found[20:]))


@pytest.mark.parametrize("cycles", [1, 2, 4])
def test_each_cosine_is_as_long_as_the_others_and_like_them(plain: OptimiserParams, cycles: int) -> None:
    found = rates(chosen(plain, cycles=cycles))
    length = 80 // cycles
    expected = [1e-5 + (1e-3 - 1e-5) * (1 + math.cos(math.pi * step / length)) / 2 for step in range(length)]
    assert found[20:] == pytest.approx(expected * cycles)


def test_cosines_that_do_not_divide_the_steps_begin_anew_within_a_step_of_their_turn(plain: OptimiserParams) -> None:
    found = rates(chosen(plain, cycles=3))[20:]
    begins = [0] + [step for step in range(1, 80) if found[step] > found[step - 1]]
    assert begins == [0, 27, 54]
    assert all(found[step] > 0.99e-3 for step in begins)


def test_a_constant_rate_stays_after_its_warm_up(plain: OptimiserParams) -> None:
    found = rates(chosen(plain, schedule="constant"))
    assert found[:20] == rates(plain)[:20]
    assert set(found[20:]) == {1e-3}


def test_without_warm_up_the_first_step_has_the_full_rate(plain: OptimiserParams) -> None:
    for schedule in ("cosine", "constant"):
        assert rates(chosen(plain, schedule=schedule, warmup_epochs=0.0))[0] == 1e-3


def test_warm_up_may_last_a_part_of_an_epoch(plain: OptimiserParams) -> None:
    found = rates(chosen(plain, warmup_epochs=0.5))
    assert found[:6] == pytest.approx([2e-4, 4e-4, 6e-4, 8e-4, 1e-3, 1e-3])


@pytest.mark.parametrize("layer_decay", [1.0, 0.5])
@pytest.mark.parametrize(("kind", "expected"), [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam)])
def test_only_weights_decay_neither_norms_nor_biases_nor_exponents(
    model: Classifier, plain: OptimiserParams, kind: str, expected: type[torch.optim.Optimizer], layer_decay: float
) -> None:
    built = build_optimiser(model, chosen(plain, kind=kind, layer_decay=layer_decay))
    assert isinstance(built, expected)
    for name, decay in of_each(model, built, "weight_decay").items():
        assert decay == (0.05 if model.get_parameter(name).ndim > 1 else 0), name


@pytest.mark.parametrize("layer_decay", [1.0, 0.5])
def test_what_a_transformer_exempts_does_not_decay(member: Member, plain: OptimiserParams, layer_decay: float) -> None:
    model = made(member, backbone="test_vit", pool="avg")
    decay = of_each(model, build_optimiser(model, chosen(plain, layer_decay=layer_decay)), "weight_decay")
    assert (decay["backbone.pos_embed"], decay["backbone.cls_token"]) == (0, 0)
    assert decay["backbone.patch_embed.proj.weight"] == 0.05


def test_the_backbone_learns_at_a_rate_of_its_own(model: Classifier, plain: OptimiserParams) -> None:
    built = build_optimiser(model, chosen(plain, backbone_scale=0.1))
    head, scale = {id(tensor) for tensor in model.head_parameters()}, of_each(model, built, "lr_scale")
    for name, tensor in model.named_parameters():
        assert scale[name] == pytest.approx(1 if id(tensor) in head else 0.1), name
    assert [group["lr"] for group in built.param_groups] == [
        pytest.approx(1e-3 * group["lr_scale"]) for group in built.param_groups
    ]


def test_each_layer_learns_at_a_part_of_the_rate_of_the_next_one(model: Classifier, plain: OptimiserParams) -> None:
    """The layers of this backbone: stem, blocks one after another (the last one with the final convolution), head."""
    blocks = [
        f"backbone.blocks.{stage}.{number}."
        for stage, modules in model.backbone.get_submodule("blocks").named_children()
        for number, _ in modules.named_children()
    ]
    layers = [("backbone.conv_stem.", "backbone.bn1."), *((block,) for block in blocks)]
    layers[-1] = (*layers[-1], "backbone.conv_head.", "backbone.bn2.")
    built = build_optimiser(model, chosen(plain, layer_decay=0.5, backbone_scale=0.8))
    for name, scale in of_each(model, built, "lr_scale").items():
        depth = [number for number, prefixes in enumerate(layers) if name.startswith(prefixes)]
        assert scale == pytest.approx(0.8 * 0.5 ** (len(layers) - depth[0]) if depth else 1), name
    assert len(layers) > 4


def test_a_rate_reaches_each_group_by_its_scale(model: Classifier, plain: OptimiserParams) -> None:
    built = build_optimiser(model, chosen(plain, backbone_scale=0.25))
    set_rate(built, 4e-4)
    assert {(group["lr_scale"], round(group["lr"], 12)) for group in built.param_groups} == {(1.0, 4e-4), (0.25, 1e-4)}


def test_a_frozen_backbone_has_its_groups_already_and_stays_frozen(model: Classifier, plain: OptimiserParams) -> None:
    free = of_each(model, build_optimiser(model, chosen(plain, backbone_scale=0.1)), "lr_scale")
    model.freeze_backbone(True)
    assert of_each(model, build_optimiser(model, chosen(plain, backbone_scale=0.1)), "lr_scale") == free
    assert model.frozen
    assert all(tensor.requires_grad is False for tensor in model.backbone_parameters())


@pytest.mark.parametrize(("kind", "reference"), [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam)])
def test_steps_are_those_of_torchs_plain_optimiser_within_rounding(
    model: Classifier, plain: OptimiserParams, kind: str, reference: Any
) -> None:
    twin = copy.deepcopy(model)
    ours = build_optimiser(model, chosen(plain, kind=kind, backbone_scale=0.1))
    head, scale = {id(tensor) for tensor in twin.head_parameters()}, {True: 1e-3, False: 1e-4}
    theirs = reference(
        [
            {"params": [tensor], "lr": scale[id(tensor) in head], "weight_decay": 0.05 * (tensor.ndim > 1)}
            for tensor in twin.parameters()
        ],
        foreach=False,
    )
    generator = torch.Generator().manual_seed(3)
    for _ in range(5):
        for mine, other in zip(model.parameters(), twin.parameters(), strict=True):
            mine.grad = torch.randn(mine.shape, generator=generator)
            other.grad = mine.grad.clone()
        ours.step()
        theirs.step()
    for mine, other in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(mine, other, atol=1e-6)


def test_a_loss_scaler_skips_a_step_whose_gradient_left_the_numbers(model: Classifier, plain: OptimiserParams) -> None:
    built, scaler = build_optimiser(model, plain), torch.amp.GradScaler("cpu")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def step(factor: float) -> Tensor:
        built.zero_grad()
        loss = sum((factor * tensor.sum() for tensor in model.parameters()), torch.zeros(()))
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        scaler.step(built)
        scaler.update()
        return torch.stack([(tensor != before[name]).any() for name, tensor in model.named_parameters()])

    assert not step(float("inf")).any()
    assert step(1.0).all()
