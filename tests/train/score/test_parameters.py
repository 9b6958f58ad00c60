"""Parameters of members side by side, and what one has otherwise than another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from birdcache.params.model import Params
from birdcache.params.recipe import resolve_recipe
from tests.conftest import TinyProject
from train.data.member import ResolvedMember
from train.score.parameters import changes, parameter_table


def resolved(params: Params, name: str, override: dict[str, Any], **keys: Any) -> ResolvedMember:
    member = params.members["base"].model_copy(update=keys)
    recipe = resolve_recipe(params.recipe_of("base"), override)
    return ResolvedMember(
        name=name, member=member, recipe=recipe, view=params.spectrograms["mel"], store_digest=name, weights_sha256=None
    )


@pytest.fixture
def pair(params: Params) -> list[ResolvedMember]:
    later = resolved(params, "later", {"seed": 9, "optimiser": {"lr": 0.25}}, head="sed", recipe="another")
    return [resolved(params, "first", {"optimiser": {"lr": 0.5}}), later]


def test_changes_are_told_in_the_order_of_params_yaml_and_names_are_none(pair: list[ResolvedMember]) -> None:
    assert changes(*pair) == ['`head`: "linear" -> "sed"', "`optimiser.lr`: 0.5 -> 0.25"]


def test_a_key_that_only_one_member_has_is_told(params: Params) -> None:
    with_pcen = {"gain": 0.9, "bias": 2.0, "power": 0.5, "time_constant_s": 0.4, "eps": 1.0}
    plain, other = resolved(params, "a", {}), resolved(params, "b", {"pcen": with_pcen})
    assert "`pcen.gain`: none -> 0.9" in changes(plain, other)
    assert "`pcen.gain`: 0.9 -> none" in changes(other, plain)


def test_parameters_stand_side_by_side_first_where_they_differ(pair: list[ResolvedMember]) -> None:
    table = parameter_table(pair).set_index("key")
    assert list(table.index[:4]) == ["recipe", "head", "seed", "optimiser.lr"]
    assert list(table.loc["optimiser.lr"]) == ["0.5", "0.25"]
    assert table["first"].tolist()[4:] == table["later"].tolist()[4:]
    assert set(table.index) >= {"backbone", "epochs", "augment.mixup.alpha", "channels"}
    assert table.index.is_unique


def test_of_one_member_all_stand_in_order(pair: list[ResolvedMember]) -> None:
    assert parameter_table(pair[:1])["key"].iloc[0] == "view"


def test_stage_evaluate_reports_what_each_member_was_trained_with(tiny_project: TinyProject) -> None:
    reports: Path = tiny_project.root / "reports/evaluate"
    table = pd.read_csv(reports / "parameters.csv").set_index("key")
    assert table.loc["view"].to_dict() == {"base": '"mel"', "pcen": '"pcen"'}
    assert '| view | "mel" | "pcen" |' in (reports / "parameters.md").read_text()
