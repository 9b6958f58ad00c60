"""Section `tune` is refused by key, value, rule and way out when params.yaml is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from birdcache.params import load as params
from birdcache.params.load import ParamsError, override_problems
from birdcache.params.model import Params
from birdcache.params.recipe import Recipe
from birdcache.params.tune import as_override, is_whole, recipe_keys
from tests.fixtures import tiny

LR = {"low": 1e-4, "high": 1e-2, "log": True}


def load(tmp_path: Path, tune: dict[str, Any]) -> Params:
    """The shipped params.yaml with another section `tune`, loaded."""
    raw = tiny.shipped_params()
    raw["tune"] |= tune
    tiny.write_params(tmp_path / "params.yaml", raw)
    return params.load(tmp_path / "params.yaml")


def problems(tmp_path: Path, tune: dict[str, Any]) -> list[str]:
    with pytest.raises(ParamsError) as caught:
        load(tmp_path, tune)
    return [line.strip() for line in str(caught.value).splitlines()[1:]]


@pytest.mark.parametrize(
    ("key", "space", "said"),
    [
        ("optimiser.lrr", LR, "tune.keys.optimiser.lrr: is no key of a recipe; did you mean optimiser.lr?"),
        ("lr", LR, "tune.keys.lr: is no key of a recipe; did you mean optimiser.lr?"),
        ("zzz", LR, "tune.keys.zzz: is no key of a recipe; remove it"),
        ("augment.mixup", LR, "tune.keys.augment.mixup: is a section of a recipe; name one of its keys: augment.mixup"),
        (
            "short",
            LR,
            "tune.keys.short: holds no number in a recipe, so it has no range; list its values under choices",
        ),
        ("compile", {"low": 0, "high": 1, "log": False}, "tune.keys.compile: holds no number in a recipe"),
        ("optimiser.lr", LR | {"low": 0.02}, "tune.keys.optimiser.lr.high = 0.01: must be above low (0.02); raise it"),
        ("optimiser.lr", LR | {"low": 0.01}, "tune.keys.optimiser.lr.high = 0.01: must be above low (0.01); raise it"),
        ("optimiser.lr", LR | {"low": 0.0}, "tune.keys.optimiser.lr.log = True: needs a low above 0, not 0; raise low"),
        ("optimiser.lr", LR | {"log": False, "low": 0.0}, "tune.keys.optimiser.lr.low = 0.0: input should be greater"),
        ("optimiser.lr", LR | {"low": "slow"}, "tune.keys.optimiser.lr.low"),
        ("optimiser.lr", LR | {"high": float("inf")}, "tune.keys.optimiser.lr.high"),
        ("optimiser.lr", {"low": 0.1, "high": 0.2}, "tune.keys.optimiser.lr.log: is missing"),
        ("optimiser.lr", LR | {"step": 1}, "tune.keys.optimiser.lr.step: is not a known key"),
        ("optimiser.lr", 3, "tune.keys.optimiser.lr = 3: must be {low, high, log} or {choices: [...]}"),
        ("optimiser.lr", {"choices": [0.1]}, "tune.keys.optimiser.lr.choices: list should have at least 2 items"),
        ("optimiser.lr", {"choices": [0.1, 0.1]}, "tune.keys.optimiser.lr.choices: names a value twice"),
        ("optimiser.lr", {"choices": [0.1, -0.2]}, "tune.keys.optimiser.lr.choices.1 = -0.2: input should be greater"),
        ("optimiser.lr", {"choices": [0.1, True]}, "tune.keys.optimiser.lr.choices.1 = True: input should be a valid"),
        ("epochs", {"low": 1.5, "high": 3.0, "log": False}, "tune.keys.epochs.low = 1.5: input should be a valid int"),
        ("epochs", {"low": 0, "high": 3, "log": False}, "tune.keys.epochs.low = 0: input should be greater than or"),
        ("loss.label_smoothing", {"low": 0, "high": 1, "log": False}, "tune.keys.loss.label_smoothing.high = 1: input"),
        (
            "loss.kind",
            {"choices": ["ce", "bcee"]},
            "tune.keys.loss.kind.choices.1 = 'bcee': input should be 'ce', 'focal_ce'",
        ),
        ("channels", {"choices": [["level"], []]}, "tune.keys.channels.choices.1 = []: list should have at least 1"),
    ],
)
def test_a_key_that_cannot_be_searched_is_refused(tmp_path: Path, key: str, space: Any, said: str) -> None:
    lines = problems(tmp_path, {"keys": {key: space}})
    assert any(line.startswith(said) for line in lines), lines
    assert all(line.startswith("tune.") for line in lines)


@pytest.mark.parametrize("key", ["loss.kind", "loss.focal_gamma", "loss.clip", "secondary.policy"])
def test_losses_that_do_not_compare_are_not_searched_by_loss(tmp_path: Path, key: str) -> None:
    values = {"loss.kind": ["ce", "bce"], "secondary.policy": ["mask", "ignore"]}.get(key, [1.0, 2.0])
    tune = {"keys": {key: {"choices": values}, "loss.label_smoothing": {"choices": [0.0, 0.1]}}}
    (line,) = problems(tmp_path, {"metric": "loss", **tune})
    assert line.startswith(f"tune.keys.{key}: losses under it do not compare; set tune.metric: macro_roc_auc")
    assert load(tmp_path, {"metric": "cmap", **tune}).tune.metric == "cmap"


@pytest.mark.parametrize(
    ("tune", "said"),
    [
        (
            {"metric": "auc"},
            "tune.metric = 'auc': input should be 'macro_roc_auc', 'accuracy', 'cmap', 'loss', 'windows.macro",
        ),
        ({"trials": 0}, "tune.trials = 0"),
        ({"fold": -1}, "tune.fold = -1"),
        ({"seed": -1}, "tune.seed = -1"),
        ({"tirals": 3}, "tune.tirals: is not a known key; did you mean trials?"),
    ],
)
def test_other_impossible_values_are_refused(tmp_path: Path, tune: dict[str, Any], said: str) -> None:
    assert any(line.startswith(said) for line in problems(tmp_path, tune))


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    keys = {"optimiser.lrr": LR, "epochs": {"choices": [0, -1]}, "optimiser.lr": LR}
    assert len(problems(tmp_path, {"keys": keys})) == 3


def test_nothing_to_search_is_no_mistake(tmp_path: Path) -> None:
    assert load(tmp_path, {"keys": {}}).tune.keys == {}


def test_every_key_of_a_recipe_can_be_named(tmp_path: Path) -> None:
    """Also those of sections that may be null."""
    recipe = params.load(tiny.ROOT / "params.yaml").train["baseline"]
    flat = dict(_flat(recipe.model_dump(), ""))
    assert set(recipe_keys()) - set(flat) == {
        f"pcen.{key}" for key in ("gain", "bias", "power", "time_constant_s", "eps")
    }
    assert set(flat) - set(recipe_keys()) == {"pcen"}
    assert Recipe.model_validate(as_override(flat)) == recipe


def _flat(node: dict[str, Any], prefix: str) -> list[tuple[str, Any]]:
    pairs = []
    for key, value in node.items():
        pairs += _flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else [(prefix + key, value)]
    return pairs


@pytest.mark.parametrize(
    ("key", "whole"),
    [
        ("epochs", True),
        ("sampling.clips_per_epoch", True),
        ("augment.eq.bands", True),
        ("optimiser.lr", False),
        ("optimiser.warmup_epochs", False),
        ("pcen.gain", False),
        ("compile", False),
        ("short", False),
    ],
)
def test_whole_numbers_are_told_from_others_by_the_recipe(key: str, whole: bool) -> None:
    assert is_whole(key) is whole


def test_what_a_member_s_override_would_break_is_told_in_its_own_words(tmp_path: Path) -> None:
    loaded = load(tmp_path, {})
    assert override_problems(loaded, "base", {"optimiser": {"lr": 0.1}}) == []
    (line,) = override_problems(loaded, "pcen", {"dynamic_range_db": 0.0, "augment": {"gain_db": 3.0}})
    assert line.startswith("members.pcen: augment.gain_db = 3 has no meaning on the PCEN values")
    (line,) = override_problems(loaded, "base", {"optimiser": {"lr": 1e-9}})
    assert line.startswith("members.base.override.optimiser.min_lr = 1e-06: must be at most lr (1e-09)")
