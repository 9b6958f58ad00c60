"""Members resolved into one file, and runs named after them: what is missing or misspelt is refused by name."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from birdcache.errors import TrainError
from birdcache.params import load as parameters
from birdcache.params.model import Params
from birdcache.params.recipe import Recipe, SomeClasses
from cache.store import Store
from train import members
from train.data.dataset import Dataset, open_stores
from train.data.examples import Events, Examples
from train.data.frames import ArrayFrames
from train.data.member import ResolvedMember, read_member
from train.loop.validation import check_split
from train.members import resolve
from train.paths import split_run

RandomStore = Callable[..., Store]
ExamplesOf = Callable[..., Examples]


@pytest.fixture
def store(random_store: RandomStore, params: Params) -> Store:
    return random_store((50, 60), params.spectrograms["mel"])


def with_base(params: Params, **changes: object) -> Params:
    """params.yaml with another member `base`."""
    base = params.members["base"].model_copy(update=changes)
    return params.model_copy(update={"members": params.members | {"base": base}})


def test_a_member_is_resolved_with_its_overrides_applied(params: Params, store: Store) -> None:
    member = resolve("base", with_base(params, override={"optimiser": {"lr": 0.5}}), store)
    assert member.recipe.optimiser.lr == 0.5
    assert member.member.override == {}
    assert member.store_digest == store.digest


def test_an_override_and_the_same_value_in_the_recipe_are_the_same_training(params: Params, store: Store) -> None:
    epochs = with_base(params, override={}).recipe_of("base").epochs
    plain, overridden, longer = (
        resolve("base", with_base(params, override=override), store)
        for override in ({}, {"epochs": epochs}, {"epochs": epochs + 1})
    )
    assert plain == overridden != longer


def test_other_pretrained_bytes_are_another_training(params: Params, store: Store, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    members_seen = []
    for content in (b"one", b"other"):
        path.write_bytes(content)
        members_seen.append(resolve("base", with_base(params, pretrained=str(path)), store))
    assert members_seen[0] != members_seen[1]


def test_missing_pretrained_weights_are_refused(params: Params, store: Store) -> None:
    with pytest.raises(TrainError, match=r"members\.base\.pretrained = 'nowhere': no such file"):
        resolve("base", with_base(params, pretrained="nowhere"), store)


TAXONOMY = "index,label,scientific_name,common_name,class_name,recordings\n0,a,,,Aves,3\n1,b,,,Insecta,2\n2,c,,,,1\n"


def test_a_member_of_some_classes_is_for_the_labels_that_the_taxonomy_counts_among_them(
    params: Params, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data/tables").mkdir(parents=True)
    Path("data/tables/labels.csv").write_text(TAXONOMY)
    insects = SomeClasses(class_name=["Insecta"])
    member = resolve("base", with_base(params, labels=insects), store)
    assert member.only == ["b"]
    assert "only" not in resolve("base", params, store).model_dump()
    with pytest.raises(TrainError, match=r"base\.labels\.class_name: Reptilia is the .* choose of: Aves, Insecta"):
        resolve("base", with_base(params, labels=SomeClasses(class_name=["Aves", "Reptilia"])), store)
    Path("data/tables/labels.csv").write_text(TAXONOMY.replace("Aves", "").replace("Insecta", ""))
    with pytest.raises(TrainError, match=r"Insecta is the class_name of no label .* has no taxonomy\.csv"):
        resolve("base", with_base(params, labels=insects), store)


def test_it_draws_others_seldom_and_is_judged_on_its_own(
    store: Store, resolved: ResolvedMember, examples_of: ExamplesOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.data.dataset.with_annotated_times", lambda trained, *_: trained)
    examples = examples_of(store, [0, 1, 2, 1, 2])
    some = SomeClasses(class_name=["Insecta"], others=0.25)
    labelled = {"only": [examples.labels[1]], "member": resolved.member.model_copy(update={"labels": some})}
    frames = ArrayFrames(np.zeros((1, 4), np.float16), store.quantizer, torch.device("cpu"))
    of_member = resolved.model_copy(update=labelled), examples, np.array([0, 1, 1, 1, 0])
    trained, validated = Dataset((store,), frames, "", *of_member).split(0)
    assert trained.weight is not None
    assert trained.weight.tolist() == [1.0, 0.25, 1.0]
    assert validated.unjudged.tolist() == [[label != 1 for label in range(examples.classes)]] * 2


def test_an_unknown_member_is_refused_with_those_there_are(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parameters, "load", lambda: params)
    monkeypatch.setattr(sys, "argv", ["train.members", "bsae"])
    with pytest.raises(TrainError, match=r"'bsae': params\.yaml names no such member; choose one of .*base"):
        members.main()


def test_a_member_that_was_not_resolved_or_is_damaged_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resolved: ResolvedMember
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TrainError, match=r"tiny\.json: is missing; run `dvc repro member@tiny`"):
        read_member("tiny")
    path = Path("data/members/tiny.json")
    path.parent.mkdir(parents=True)
    path.write_text(resolved.model_dump_json())
    assert read_member("tiny") == resolved
    path.write_text("{")
    with pytest.raises(TrainError, match=r"tiny\.json: .* rebuild it with `dvc repro -f member@tiny`"):
        read_member("tiny")


def test_a_store_that_changed_after_its_member_was_resolved_is_refused(
    monkeypatch: pytest.MonkeyPatch, params: Params, store: Store
) -> None:
    monkeypatch.setattr("train.data.dataset.store_path", lambda view, soundscapes: store.path)
    member = resolve("base", params, store)
    assert [each.digest for each in open_stores(member)] == [store.digest]
    with pytest.raises(TrainError, match=r"tiny\.zarr: changed after member base was resolved; run `dvc repro`"):
        open_stores(member.model_copy(update={"store_digest": "1" * 64}))


@pytest.mark.parametrize(("text", "run"), [("base-0", ("base", 0)), ("a_b-12", ("a_b", 12))])
def test_a_run_is_a_member_and_a_fold(text: str, run: tuple[str, int]) -> None:
    assert split_run(text) == run


@pytest.mark.parametrize("text", ["base", "base-", "-0", "base-one", ""])
def test_anything_else_is_refused_as_a_run(text: str) -> None:
    with pytest.raises(TrainError, match="must be a name, a hyphen and a number, such as base-0"):
        split_run(text)


def test_a_split_with_an_empty_side_is_refused(params: Params, store: Store, examples_of: ExamplesOf) -> None:
    some, recipe = examples_of(store, (0, 1)), params.recipe_of("base")
    none = some.subset([])
    check_split("base", 0, some, some, recipe)
    for trained, validated, side in ((none, some, "train"), (some, none, "validate")):
        with pytest.raises(TrainError, match=f"base-0: no recording is left to {side} on; .* lower folds.count"):
            check_split("base", 0, trained, validated, recipe)


@pytest.mark.parametrize("kind", ["ce", "focal_ce"])
def test_softmax_over_one_taught_class_is_refused(
    params: Params, store: Store, examples_of: ExamplesOf, kind: str
) -> None:
    def recipe(kind: str, **secondary: object) -> Recipe:
        return params.model_copy(
            update={
                "members": {
                    "base": params.members["base"].model_copy(
                        update={"override": {"loss": {"kind": kind}, "secondary": secondary}}
                    )
                }
            }
        ).recipe_of("base")

    both = examples_of(store, (0, 1))
    one, other = both.subset([0]), both.subset([1])
    said = "base-0: the recordings to train on teach one class alone, bird0, .* the label nocall, or set loss.kind: bce"
    with pytest.raises(TrainError, match=said):
        check_split("base", 0, one, other, recipe(kind))
    check_split("base", 0, one, other, recipe("bce"))
    heard = examples_of(store, (0, 1), secondary=[(0, 1)]).subset([0])
    check_split("base", 0, heard, other, recipe(kind, policy="positive"))
    with pytest.raises(TrainError, match=said):
        check_split("base", 0, heard, other, recipe(kind, policy="ignore"))
    events = Events(*(np.array([number]) for number in (one.rows[0], 0, 5, 1)))
    check_split("base", 0, replace(one, events=events), other, recipe(kind))
