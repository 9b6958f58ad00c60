"""Class weights against their formulas, and laws that they obey."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from birdcache.params.loss import LossParams
from birdcache.params.recipe import Recipe
from train.model.losses import class_weights, positive_weights

COUNTS = np.array([1500, 5, 40, 0, 1, 300], np.int64)


@pytest.fixture
def plain(recipe: Recipe) -> LossParams:
    return recipe.loss


def chosen(params: LossParams, kind: str, beta: float = 0.99) -> LossParams:
    changes: dict[str, Any] = {"class_weights": kind, "effective_beta": beta}
    return LossParams.model_validate({**params.model_dump(), **changes})


@pytest.mark.parametrize(("kind", "beta"), [("inverse", 0.5), ("effective", 0.99), ("effective", 0.9999)])
def test_class_weights_equal_their_formula(plain: LossParams, kind: str, beta: float) -> None:
    """The effective number of n samples is the sum of beta^i over i < n."""
    raw = []
    for count in COUNTS:
        effective = sum(beta**i for i in range(int(count))) if kind == "effective" else float(count)
        raw.append(1 / effective if count else 0.0)
    mean = sum(weight * int(count) for weight, count in zip(raw, COUNTS, strict=True)) / int(COUNTS.sum())
    expected = [weight / mean if count else 1.0 for weight, count in zip(raw, COUNTS, strict=True)]
    found = class_weights(COUNTS, chosen(plain, kind, beta))
    assert found.dtype == np.float32
    assert found == pytest.approx(np.array(expected), rel=1e-5)


@pytest.mark.parametrize("kind", ["none", "inverse", "effective"])
def test_over_the_recordings_the_mean_weight_is_one(plain: LossParams, kind: str) -> None:
    found = class_weights(COUNTS, chosen(plain, kind))
    assert (found * COUNTS).sum() / COUNTS.sum() == pytest.approx(1, rel=1e-5)
    assert found[3] == 1


def test_positives_weigh_absent_recordings_over_present_ones_within_bounds(plain: LossParams) -> None:
    params = LossParams.model_validate({**plain.model_dump(), "kind": "bce", "pos_weight": 100.0})
    found = positive_weights(COUNTS, params)
    assert found == pytest.approx([1, 100, 1806 / 40, 100, 100, 1546 / 300])
    assert positive_weights(COUNTS, plain) is None


def test_by_inverse_frequency_all_classes_count_alike(plain: LossParams) -> None:
    found = class_weights(COUNTS, chosen(plain, "inverse"))
    present = COUNTS > 0
    assert (found * COUNTS)[present] == pytest.approx(np.full(5, COUNTS.sum() / 5), rel=1e-5)


def test_the_effective_number_goes_from_no_weights_to_inverse_frequency(plain: LossParams) -> None:
    assert class_weights(COUNTS, chosen(plain, "effective", 0.0)) == pytest.approx(np.ones(6), rel=1e-6)
    nearly = class_weights(COUNTS, chosen(plain, "effective", 1 - 1e-9))
    assert nearly == pytest.approx(class_weights(COUNTS, chosen(plain, "inverse")), rel=1e-4)


@pytest.mark.parametrize("kind", ["inverse", "effective"])
def test_without_any_recording_no_class_is_special(plain: LossParams, kind: str) -> None:
    assert (class_weights(np.zeros(4, np.int64), chosen(plain, kind)) == 1).all()
