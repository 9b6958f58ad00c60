"""Section `ladder` of params.yaml: what is merged, and what is refused by key, rule and way out."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from birdcache.params import load as params
from birdcache.params.ladder import Ladder, ablated
from birdcache.params.model import Params
from tests.birdcache.params.test_load import INSECTS, Change, problems, put
from tests.fixtures import tiny


@pytest.fixture
def shipped() -> Params:
    return params.load(tiny.ROOT / "params.yaml")


def rung(**changes: Any) -> dict[str, Any]:
    """The first member of the shipped file, as a rung."""
    member: dict[str, Any] = next(iter(tiny.shipped_params()["members"].values()))
    return {**member, **changes}


def ladder(**changes: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {"seeds": [1, 2, 3], "folds": [0], "rungs": {"low": rung(), "high": rung(dropout=0.2)}}
    return {**plain, "ensemble": {}, "ablations": {}, **changes}


def test_every_shipped_rung_and_ablation_has_a_member_that_can_be_resolved(shipped: Params) -> None:
    for run in shipped.ladder.trained:
        member = shipped.ladder.member(run)
        assert Params.recipe_of(shipped.model_copy(update={"members": {run: member}}), run).epochs > 0


def test_the_shipped_ladder_climbs_in_the_order_of_the_analysis(shipped: Params) -> None:
    assert list(shipped.ladder.rungs)[:4] == ["baseline", "balanced", "regularised", "strong"]
    assert len(shipped.ladder.seeds) >= 3
    recipes = [shipped.ladder.member(name).recipe for name in ("baseline", "balanced", "regularised", "strong")]
    assert recipes == ["baseline", "balanced", "regularised", "strong"]


def test_what_is_taken_away_is_merged_into_the_rung_at_every_depth() -> None:
    override = {"augment": {"gain_db": 3.0, "mixup": {"probability": 0.5, "alpha": 1.0}}, "epochs": 4}
    full = Ladder.model_validate(ladder(rungs={"low": rung(override=override)})).rungs["low"]
    merged = ablated(full, {"head": "sed", "override": {"augment": {"mixup": {"probability": 0.0}}}})
    assert merged.override == {"augment": {"gain_db": 3.0, "mixup": {"probability": 0.0, "alpha": 1.0}}, "epochs": 4}
    assert merged.model_copy(update={"head": full.head, "override": full.override}) == full
    assert full.override == override, "the rung stays as it is"


def test_an_unknown_key_is_not_merged() -> None:
    with pytest.raises(ValidationError, match="dropuot"):
        ablated(Ladder.model_validate(ladder()).rungs["low"], {"dropuot": 0.0})


def test_runs_are_trained_in_the_order_of_the_file() -> None:
    ablations = {"minus": {"rung": "low", "without": {"dropout": 0.5}}}
    built = Ladder.model_validate(ladder(ablations=ablations, ensemble={"both": ["low", "high"]}))
    assert built.trained == ["low", "high", "minus"]
    assert (built.member("high").dropout, built.member("minus").dropout) == (0.2, 0.5)


ABLATION = {"rung": "low", "without": {"dropout": 0.5}}


@pytest.mark.parametrize(
    ("section", "key", "rule"),
    [
        (ladder(seeds=[1, 2]), "ladder.seeds", "at least 3 items"),
        (ladder(rungs={"low": rung(labels=INSECTS)}), "ladder.rungs.low", "labels: rungs are compared on all classes"),
        (ladder(seeds=[1, 2, 2]), "ladder.seeds", "names a number twice"),
        (ladder(seeds=[1, 2, -1]), "ladder.seeds.2 = -1", "greater than or equal to 0"),
        (ladder(folds=[]), "ladder.folds", "at least 1 item"),
        (ladder(folds=[0, 0]), "ladder.folds", "names a number twice"),
        (ladder(folds=[0, 3]), "ladder.folds = [0, 3]", "between 0 and 2; correct the list or raise folds.count"),
        (ladder(rungs={"Low": rung()}), "ladder.rungs.Low", "pattern"),
        (ladder(rungs={"low": rung(view="mle")}), "ladder.rungs.low.view = 'mle'", "names no view"),
        (ladder(rungs={"low": rung(recipe="x")}), "ladder.rungs.low.recipe = 'x'", "names no recipe"),
        (ladder(rungs={"low": rung(override={"epoch": 1})}), "ladder.rungs.low.override.epoch", "did you mean epochs?"),
        (
            ladder(rungs={"low": {k: v for k, v in rung().items() if k != "pool"}}),
            "ladder.rungs.low.pool",
            "is missing",
        ),
        (ladder(ensemble={"both": ["low"]}), "ladder.ensemble.both", "at least 2 items"),
        (ladder(ensemble={"both": ["low", "top"]}), "ladder.ensemble.both.1 = 'top'", "choose one of: high, low"),
        (ladder(ensemble={"both": ["low", "low"]}), "ladder.ensemble.both.1 = 'low'", "name each rung once"),
        (ladder(ensemble={"low": ["low", "high"]}), "ladder: 'low'", "rename all but one"),
        (ladder(ablations={"low": ABLATION}), "ladder: 'low'", "rename all but one"),
        (ladder(ablations={"minus": {**ABLATION, "rung": "top"}}), "ladder.ablations.minus.rung = 'top'", "high, low"),
        (ladder(ablations={"minus": {**ABLATION, "without": {}}}), "ladder.ablations.minus.without", "at least 1 item"),
        (
            ladder(ablations={"minus": {"rung": "low", "without": {"dropuot": 0.0}}}),
            "ladder.ablations.minus.without.dropuot",
            "did you mean dropout?",
        ),
        (
            ladder(ablations={"minus": {"rung": "low", "without": {"override": {"epoch": 1}}}}),
            "ladder.ablations.minus.without.override.epoch",
            "did you mean epochs?",
        ),
        (
            ladder(ablations={"minus": {"rung": "low", "without": {"override": {"loss": {"frame_max": 0.5}}}}}),
            "ladder.ablations.minus.without",
            "needs scores for every frame",
        ),
        (
            ladder(ablations={"minus": {"rung": "low", "without": {"dropout": rung()["dropout"]}}}),
            "ladder.ablations.minus.without",
            "changes nothing of rung low",
        ),
        (
            ladder(ablations={"minus": {"rung": "low", "without": {"override": {"epochs": 12}}}}),
            "ladder.ablations.minus.without",
            "changes nothing of rung low",
        ),
        (ladder(extra=1), "ladder.extra", "not a known key"),
        (None, "ladder", "dictionary"),
    ],
)
def test_an_impossible_ladder_is_refused_by_key_and_rule(tmp_path: Any, section: Any, key: str, rule: str) -> None:
    change: Change = put("ladder", section)
    lines = problems(tmp_path, change)
    assert len(lines) == 1, lines
    assert lines[0].startswith(key), lines
    assert rule in lines[0], lines


def test_a_ladder_without_rungs_is_no_mistake(tmp_path: Any) -> None:
    raw = tiny.shipped_params()
    raw["ladder"] = ladder(rungs={})
    tiny.write_params(tmp_path / "params.yaml", raw)
    assert params.load(tmp_path / "params.yaml").ladder.trained == []


def test_the_documented_ladder_of_esc10_is_valid_and_fits_an_hour() -> None:
    loaded = params.load(tiny.ROOT / "docs/ladder_esc10.params.yaml").ladder
    assert list(loaded.rungs) == ["baseline", "balanced", "regularised", "strong"]
    assert len(loaded.trained) * len(loaded.seeds) * len(loaded.folds) == 12, "trainings of two or three minutes"
