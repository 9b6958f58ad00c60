"""A projection of features for a teacher: its distances, its gradients, and that nothing of it is saved."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import expit

from birdcache.params.embedding import Output
from birdcache.params.recipe import Member
from birdcache.params.teacher import TeacherParams
from train.augment.batch import Batch
from train.model.classifier import Classifier, Logits, build_model
from train.model.distilled import Distilled, distances

IMAGES = torch.linspace(-1, 1, 2 * 32 * 40).reshape(2, 1, 32, 40)


def params(**keys: object) -> TeacherParams:
    return TeacherParams.model_validate({"view": "birds", **keys})


def distilled_from(network: Classifier, **keys: object) -> Distilled:
    teacher: Any = SimpleNamespace(params=params(**keys), output=Output(name="embedding", start=2, stop=9))
    return Distilled(network, teacher)


def network(member: Member, **changes: object) -> Classifier:
    torch.manual_seed(1)
    return build_model(member.model_copy(update=changes), 3, 32, pretrained=False)


def test_distances_are_those_of_the_formulas_times_the_weights() -> None:
    rng = np.random.default_rng(2)
    projected, target, weight = rng.normal(size=(5, 4)), rng.random((5, 4)), np.array([1.0, 2.0, 0.0, 0.5, 1.0])
    target[0, :2] = 0, 1  # whose entropy is 0
    score = expit(projected)
    with np.errstate(divide="ignore", invalid="ignore"):
        each = np.nan_to_num(target * np.log(target / score)) + np.nan_to_num(
            (1 - target) * np.log((1 - target) / (1 - score))
        )
    lengths = np.linalg.norm(projected, axis=1) * np.linalg.norm(target, axis=1)
    expected = {
        "cosine": 1 - (projected * target).sum(axis=1) / lengths,
        "mse": ((projected - target) ** 2).mean(axis=1),
        "kl": each.mean(axis=1),
    }
    nothing = torch.empty(0)
    taught = torch.tensor(target).float(), torch.tensor(weight).float()
    batch = Batch(nothing, nothing, nothing, nothing, taught=taught)
    for loss, values in expected.items():
        found = distances(Logits(nothing, projected=torch.tensor(projected)), batch, params(loss=loss))
        np.testing.assert_allclose(found.numpy(), weight * values, atol=1e-5, err_msg=loss)


@pytest.mark.parametrize("projection", ["linear", "mlp"])
@pytest.mark.parametrize(
    ("backbone", "head"),
    [
        ("test_efficientnet", "linear"),
        ("test_efficientnet", "sed"),
        ("mobilenetv3_small_050", "linear"),  # whose classifier sees more features than its maps have
        ("test_vit", "linear"),
    ],
)
def test_logits_are_those_of_the_network_and_features_of_any_are_projected(
    member: Member, backbone: str, head: str, projection: str
) -> None:
    alone = network(member, backbone=backbone, head=head).eval()
    images = torch.nn.functional.interpolate(IMAGES, (160, 160)) if backbone == "test_vit" else IMAGES
    distilled = distilled_from(alone, projection=projection)
    logits = distilled(images)
    assert logits.projected.shape == (2, 7)
    plain = alone(images)
    torch.testing.assert_close(logits.clip, plain.clip)
    if plain.frame_max is not None:
        torch.testing.assert_close(logits.frame_max, plain.frame_max)


@pytest.mark.parametrize("stops", [False, True])
def test_the_backbone_learns_of_the_teacher_unless_its_gradient_is_stopped(member: Member, stops: bool) -> None:
    distilled = distilled_from(network(member), stop_gradient=stops)
    projected = distilled(IMAGES).projected
    projected.square().sum().backward()
    assert all(weight.grad is not None for weight in distilled.projection.parameters())
    learnt = [weight for weight in distilled.network.backbone_parameters() if weight.grad is not None]
    assert bool(learnt) != stops
