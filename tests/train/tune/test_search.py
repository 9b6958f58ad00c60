"""A search is repeatable, goes on after a kill as if nothing had been, stops poor trials and survives broken ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from birdcache.errors import TrainError
from birdcache.params.model import Params
from birdcache.params.recipe import resolve_recipe
from tests.train.tune.searching import EPOCHS, KEYS, ScriptedTrainer, opened, outcomes_of, reached, search_for
from train.data.member import ResolvedMember
from train.tune import search
from train.tune.search import Outcome, Search, best_of, journal_path

MakeSearch = Callable[..., Search]


@pytest.fixture
def tuned(resolved: ResolvedMember) -> ResolvedMember:
    """A member in the middle of what is searched."""
    recipe = resolve_recipe(
        resolved.recipe, {"epochs": EPOCHS, "augment": {"mixup": {"alpha": 0.4}}, "optimiser": {"lr": 0.012345}}
    )
    return resolved.model_copy(update={"recipe": recipe})


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> ScriptedTrainer:
    scripted = ScriptedTrainer()
    monkeypatch.setattr(search, "Trainer", scripted)
    return scripted


@pytest.fixture
def make(tuned: ResolvedMember, params: Params, trainer: ScriptedTrainer, tmp_path: Path, monkeypatch: Any) -> Any:
    """A function that makes a search; its trainings are scripted, and its project is an empty folder."""
    (tmp_path / "data/tables").mkdir(parents=True)
    for name in ("tables/labels.csv", "folds.csv"):
        (tmp_path / "data" / name).write_text("x\n")
    monkeypatch.chdir(tmp_path)
    return lambda **changes: search_for(changes.pop("member", tuned), params.machine, **changes)


def without_times(outcomes: list[Outcome]) -> list[Outcome]:
    return [replace(each, seconds=0.0) for each in outcomes]


def test_the_same_seed_tries_the_same_and_another_seed_does_not(make: MakeSearch, tmp_path: Path) -> None:
    first, again = (outcomes_of(make(trials=12), tmp_path / name) for name in ("first", "again"))
    assert without_times(first) == without_times(again)
    turned = outcomes_of(make(trials=12, keys=dict(reversed(KEYS.items()))), tmp_path / "turned")
    assert without_times(turned) == without_times(first)
    other = outcomes_of(make(trials=12, seed=2), tmp_path / "other")
    assert [each.values for each in other[1:]] != [each.values for each in first[1:]]


def test_the_first_trials_cover_the_space_evenly(make: MakeSearch, tmp_path: Path) -> None:
    """In each half of each range lies about half of them, in each quarter of the square at least one."""
    tried = [each.values for each in outcomes_of(make(trials=8), tmp_path)]
    fast = [each["optimiser.lr"] > 10**-2.5 for each in tried[1:]]
    mixed = [each["augment.mixup.alpha"] > 2.05 for each in tried[1:]]
    assert 3 <= sum(fast) <= 4
    assert 3 <= sum(mixed) <= 4
    assert len(set(zip(fast, mixed, strict=True))) == 4


def test_later_trials_are_better_than_those_spread_out(make: MakeSearch, tmp_path: Path) -> None:
    outcomes = outcomes_of(make(trials=24), tmp_path)
    merits = [each.merit or 0 for each in outcomes]
    assert sum(merits[14:]) / 10 > sum(merits[1:8]) / 7 + 0.1
    best = best_of(outcomes, maximises=True)
    assert best is not None
    assert best.merit == max(each.merit or 0 for each in outcomes if each.state == "finished")
    assert best.values["optimiser.lr"] == pytest.approx(0.02, rel=0.6)


@pytest.mark.parametrize("cut", [(1,), (5,), (12,), (1, 2, 7, 9, 14)])
def test_a_killed_search_goes_on_as_if_it_had_not_been(
    make: MakeSearch, trainer: ScriptedTrainer, tmp_path: Path, cut: tuple[int, ...]
) -> None:
    whole = outcomes_of(make(trials=12), tmp_path / "whole")
    del trainer.trained[:]
    trainer.breaks |= {number: KeyboardInterrupt() for number in cut}
    for _ in cut:
        with pytest.raises(KeyboardInterrupt):
            outcomes_of(make(trials=12), tmp_path / "cut")
    outcomes = outcomes_of(make(trials=12), tmp_path / "cut")
    assert without_times(outcomes) == without_times(whole)
    assert best_of(outcomes, maximises=True) == replace(
        best_of(whole, maximises=True) or whole[0], seconds=(best_of(outcomes, maximises=True) or whole[0]).seconds
    )
    assert len(trainer.trained) == 12 + len(cut), "only what was cut off is run again"


@pytest.mark.parametrize("place", [1, 4])
def test_a_kill_between_planning_a_trial_and_beginning_it_plans_it_once(
    make: MakeSearch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    whole = outcomes_of(make(trials=6), tmp_path / "whole")
    outcomes_of(make(trials=place - 1) if place > 1 else make(trials=1, seed=9), tmp_path / "cut")
    with monkeypatch.context() as patch:
        patch.setattr("optuna.study.Study.ask", _killed)
        with pytest.raises(KeyboardInterrupt):
            outcomes_of(make(trials=6), tmp_path / "cut")
    assert without_times(outcomes_of(make(trials=6), tmp_path / "cut")) == without_times(whole)


def _killed(*_: Any) -> None:
    raise KeyboardInterrupt


def test_a_search_that_is_done_trains_nothing_and_more_trials_go_on_from_it(
    make: MakeSearch, trainer: ScriptedTrainer, tmp_path: Path
) -> None:
    ten = outcomes_of(make(trials=10), tmp_path)
    assert outcomes_of(make(trials=10), tmp_path) == ten
    assert outcomes_of(make(trials=12), tmp_path)[:10] == ten
    assert len(trainer.trained) == 12


def test_half_a_line_that_a_kill_left_in_the_journal_is_taken_away(make: MakeSearch, tmp_path: Path) -> None:
    search = make(trials=3)
    three = outcomes_of(search, tmp_path)
    journal = journal_path(tmp_path, search)
    before = journal.read_bytes()
    journal.write_bytes(before + b'{"op_code":4,"worker')
    assert outcomes_of(search, tmp_path) == three
    assert journal.read_bytes().startswith(before)
    assert len(outcomes_of(make(trials=4), tmp_path)) == 4
    assert len(outcomes_of(make(trials=4), tmp_path)) == 4


def test_two_processes_do_not_share_a_journal(make: MakeSearch, tmp_path: Path) -> None:
    search = make()
    with opened(search, tmp_path), pytest.raises(TrainError, match="another process runs this search"):
        outcomes_of(search, tmp_path)


def test_the_first_trial_is_the_member_as_it_stands_to_the_last_digit(make: MakeSearch, tmp_path: Path) -> None:
    outcomes = outcomes_of(make(trials=2), tmp_path)
    assert outcomes[0].values == {"optimiser.lr": 0.012345, "augment.mixup.alpha": 0.4}
    assert outcomes[1].values != outcomes[0].values


def test_a_member_outside_of_what_is_searched_is_not_tried(make: MakeSearch, tmp_path: Path) -> None:
    search = make(keys={"optimiser.lr": {"low": 0.02, "high": 0.1, "log": True}}, trials=5)
    assert not search.begins_with_standing
    assert all(0.02 <= each.values["optimiser.lr"] <= 0.1 for each in outcomes_of(search, tmp_path))


def test_what_is_tried_has_the_recipe_s_type_lies_in_its_range_and_is_short(
    make: MakeSearch, trainer: ScriptedTrainer, tmp_path: Path
) -> None:
    keys = {
        "optimiser.lr": {"low": 0.0123456, "high": 0.0123999, "log": True},
        "augment.mixup.alpha": {"low": 1, "high": 3, "log": False},
        "sampling.floor": {"low": 2, "high": 4, "log": False},
        "channels": {"choices": [["level"], ["level", "slope"]]},
        "sampling.weighted": {"choices": [False, True]},
        "sampling.clips_per_epoch": {"choices": [None, 50]},
    }
    tried = [each.values for each in outcomes_of(make(keys=keys, trials=16), tmp_path)]
    assert {each["sampling.floor"] for each in tried} == {2, 3, 4}
    assert {type(each["sampling.floor"]) for each in tried} == {int}
    assert {tuple(each["channels"]) for each in tried} == {("level",), ("level", "slope")}
    assert {each["sampling.weighted"] for each in tried} == {False, True}
    assert {each["sampling.clips_per_epoch"] for each in tried} == {None, 50}
    assert all(0.0123456 <= each["optimiser.lr"] <= 0.0123999 for each in tried)
    assert all(each["augment.mixup.alpha"] == float(f"{each['augment.mixup.alpha']:.3g}") for each in tried)
    assert [recipe.augment.mixup.alpha for recipe in trainer.trained] == [each["augment.mixup.alpha"] for each in tried]
    assert [recipe.sampling.floor for recipe in trainer.trained] == [each["sampling.floor"] for each in tried]


def test_poor_trials_are_stopped_after_the_warm_up_but_not_the_first_four(make: MakeSearch, tmp_path: Path) -> None:
    outcomes = outcomes_of(make(trials=20), tmp_path)
    assert {each.state for each in outcomes} == {"finished", "pruned"}
    assert all(each.state == "finished" and each.epochs == EPOCHS for each in outcomes[:4])
    for each in outcomes:
        assert each.state == "finished" or 3 <= each.epochs < EPOCHS, "two of six epochs are the warm-up"
    finished = [each.merit or 0 for each in outcomes if each.state == "finished"]
    assert max(each.merit or 0 for each in outcomes if each.state == "pruned") < max(finished)


def test_a_trial_that_has_come_to_its_last_epoch_has_finished(
    make: MakeSearch, trainer: ScriptedTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def last_one_falls_back(recipe: Any, epoch: int) -> float:
        return 0.5 if epoch + 1 < EPOCHS else 0.9 if len(trainer.trained) < 6 else 0.6

    monkeypatch.setattr("tests.train.tune.searching.reached", last_one_falls_back)
    outcomes = outcomes_of(make(trials=6), tmp_path)
    assert [(each.state, each.merit) for each in outcomes] == [*[("finished", 0.9)] * 5, ("finished", 0.6)]


def test_a_trial_that_breaks_has_failed_and_the_search_goes_on(
    make: MakeSearch, trainer: ScriptedTrainer, tmp_path: Path
) -> None:
    whole = outcomes_of(make(trials=1), tmp_path / "whole")
    trainer.breaks |= {3: TrainError("the loss became nan; lower it\nmore"), 4: torch.OutOfMemoryError("no memory")}
    outcomes = outcomes_of(make(trials=5), tmp_path)
    assert [each.state for each in outcomes] == ["finished", "failed", "failed", "finished", "finished"]
    assert [(each.why, each.merit) for each in outcomes[1:3]] == [
        ("the loss became nan; lower it", None),
        ("no memory", None),
    ]
    assert outcomes[0].merit == whole[0].merit
    assert outcomes_of(make(trials=5), tmp_path) == outcomes, "what failed is not run again"
    assert best_of(outcomes[1:3], maximises=True) is None


def test_values_that_do_not_go_together_fail_without_a_training(
    make: MakeSearch, trainer: ScriptedTrainer, tmp_path: Path
) -> None:
    def refused(values: dict[str, Any]) -> list[str]:
        return ["too fast for it"] if values["optimiser.lr"] > 0.012345 else []

    outcomes = outcomes_of(make(trials=8, refused=refused), tmp_path)
    failed = [each for each in outcomes if each.state == "failed"]
    assert {each.why for each in failed} == {"too fast for it"}
    assert all(each.values["optimiser.lr"] > 0.012345 and each.epochs == 0 for each in failed)
    assert len(trainer.trained) == 8 - len(failed) < 8


def test_a_loss_is_better_when_it_is_lower(make: MakeSearch, tmp_path: Path) -> None:
    search = make(metric="loss", trials=12)
    outcomes = outcomes_of(search, tmp_path)
    best = best_of(outcomes, search.maximises)
    assert best is not None
    assert best.merit == min(each.merit for each in outcomes if each.merit is not None)
    assert best.merit < 0.2, "the sampler looks for low losses too"


@pytest.mark.parametrize(("weights", "kept"), [("last", 5), ("best", 1)])
def test_the_merit_is_that_of_the_weights_that_the_recipe_keeps(
    make: MakeSearch, tuned: ResolvedMember, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: str, kept: int
) -> None:
    script = (0.1, 0.9, 0.2, 0.3, 0.1, 0.5)
    monkeypatch.setattr("tests.train.tune.searching.reached", lambda recipe, epoch: script[epoch])
    recipe = resolve_recipe(tuned.recipe, {"weights": weights})
    search = make(member=tuned.model_copy(update={"recipe": recipe}), metric="accuracy", trials=1)
    assert outcomes_of(search, tmp_path)[0].merit == script[kept] / 2


def test_a_metric_that_the_fold_cannot_measure_is_refused_before_any_training(make: MakeSearch) -> None:
    make().check()
    make(primary=(0, 0), metric="loss").check()
    with pytest.raises(TrainError, match=r"tune\.metric = macro_roc_auc: cannot be measured on fold 0.*choose another"):
        make(primary=(0, 0)).check()


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 2},
        {"metric": "cmap"},
        {"keys": {**KEYS, "optimiser.lr": {"low": 1e-4, "high": 1e-2, "log": True}}},
        {"keys": {"optimiser.lr": KEYS["optimiser.lr"]}},
    ],
)
def test_another_search_begins_anew_and_the_old_one_is_kept(
    make: MakeSearch, trainer: ScriptedTrainer, tmp_path: Path, changes: dict[str, Any]
) -> None:
    old = outcomes_of(make(trials=2), tmp_path)
    assert len(outcomes_of(make(trials=3, **changes), tmp_path)) == 3
    assert len(trainer.trained) == 5
    assert outcomes_of(make(trials=2), tmp_path) == old
    assert len(list((tmp_path / "tiny-0").glob("*.journal"))) == 2


def test_the_search_depends_on_the_member_the_fold_and_the_tables(
    make: MakeSearch, tuned: ResolvedMember, tmp_path: Path
) -> None:
    before = make().digest
    assert make(trials=99).digest == before
    others = [
        make(member=tuned.model_copy(update={"store_digest": "1" * 64})).digest,
        make(member=tuned.model_copy(update={"recipe": resolve_recipe(tuned.recipe, {"epochs": 9})})).digest,
    ]
    search = make()
    others.append(replace(search, split=replace(search.split, fold=1)).digest)
    for name in ("tables/labels.csv", "folds.csv"):
        (tmp_path / "data" / name).write_text("y\n")
        others.append(make().digest)
    assert len({before, *others}) == 6


def test_the_script_is_steepest_where_it_says(tuned: ResolvedMember) -> None:
    best = resolve_recipe(tuned.recipe, {"optimiser": {"lr": 0.02}, "augment": {"mixup": {"alpha": 1.5}}})
    assert reached(best, 100) == pytest.approx(1.0)
    assert reached(tuned.recipe, 100) < 1.0
