"""The ladder: members measured rung by rung, and each technique taken away again. Section `ladder` of params.yaml."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field, ValidationError

from birdcache.params.checks import each_once
from birdcache.params.recipe import Member, Recipe, merged, resolve_recipe
from birdcache.params.rules import Entries, explain, mapping, member_problems, valid, valid_entries
from birdcache.params.sections import Name, Section, Seed

FEWEST_SEEDS = 3  # a spread of two is none


class Ablation(Section):
    """A rung with something taken away: `without` holds the keys of its member section that are then other ones.

    Source: ablation of single techniques, as in He et al. 2019, Bag of tricks for image classification.
    """

    rung: Name
    without: Annotated[dict[str, Any], Field(min_length=1)]


class Ladder(Section):
    """The trainings of `birdcache ladder`: every rung and every ablation with each seed, on the given folds.

    Source: seeds as repetitions of an experiment, Bouthillier et al. 2021, Accounting for variance in machine learning
    benchmarks.
    """

    seeds: Annotated[list[Seed], Field(min_length=FEWEST_SEEDS), each_once("a number")]
    folds: Annotated[list[int], Field(min_length=1), each_once("a number")]
    rungs: dict[Name, Member]
    ensemble: dict[Name, Annotated[list[Name], Field(min_length=2)]]
    ablations: dict[Name, Ablation]

    @property
    def trained(self) -> list[str]:
        """All that is trained: rungs, then ablations."""
        return [*self.rungs, *self.ablations]

    def member(self, run: str) -> Member:
        """The member that a rung or an ablation trains; errors as of `ablated`."""
        if run in self.rungs:
            return self.rungs[run]
        ablation = self.ablations[run]
        return ablated(self.rungs[ablation.rung], ablation.without)


def ablated(rung: Member, without: dict[str, Any]) -> Member:
    """A rung with keys of its section changed, nested alike; a ValidationError if one is unknown or breaks a rule."""
    return Member.model_validate(merged(rung.model_dump(), without))


def ladder_problems(raw: dict[str, Any]) -> Iterator[str]:
    """Problems between the ladder's keys, and between these and views, recipes and folds."""
    section, entries = mapping(raw.get("ladder")), Entries.of(raw)
    rungs = valid_entries(Member, section.get("rungs"))
    for name, rung in rungs.items():
        yield from member_problems(f"ladder.rungs.{name}", rung, entries)
    for name, ablation in valid_entries(Ablation, section.get("ablations")).items():
        yield from _ablation_problems(f"ladder.ablations.{name}", ablation, rungs, entries)
    if ladder := valid(Ladder, section):
        yield from _name_problems(ladder)
        count = mapping(raw.get("folds")).get("count")
        if isinstance(count, int) and count < 100 and not all(0 <= fold < count for fold in ladder.folds):
            rule = f"must name folds between 0 and {count - 1}; correct the list or raise folds.count"
            yield f"ladder.folds = {ladder.folds}: {rule}"


def _ablation_problems(key: str, ablation: Ablation, rungs: dict[str, Member], entries: Entries) -> Iterator[str]:
    if ablation.rung not in rungs:
        yield f"{key}.rung = {ablation.rung!r}: names no valid rung; choose one of: {', '.join(rungs)}"
        return
    rung = rungs[ablation.rung]
    try:
        member = ablated(rung, ablation.without)
    except ValidationError as error:
        yield from (explain(problem, {}, Member, f"{key}.without.") for problem in error.errors())
        return
    yield from member_problems(f"{key}.without", member, entries)
    if _same_training(member, rung, entries.recipes):
        yield f"{key}.without: changes nothing of rung {ablation.rung}; name keys with values that it does not have"


def _same_training(member: Member, rung: Member, recipes: Mapping[str, Recipe]) -> bool:
    """True if both are trained alike, however their sections are written; False if one cannot be trained."""
    plain = {"recipe": "", "override": {}}
    if member.model_copy(update=plain) != rung.model_copy(update=plain):
        return False
    try:
        resolved = [resolve_recipe(recipes[each.recipe], each.override) for each in (member, rung)]
    except (KeyError, ValidationError):
        return False
    return resolved[0] == resolved[1]


def _name_problems(ladder: Ladder) -> Iterator[str]:
    count = Counter([*ladder.rungs, *ladder.ensemble, *ladder.ablations])
    for name in (name for name, times in count.items() if times > 1):
        yield f"ladder: {name!r} names several of rungs, ensemble and ablations; rename all but one"
    for name, rungs in ladder.ensemble.items():
        for number, rung in enumerate(rungs):
            key = f"ladder.ensemble.{name}.{number} = {rung!r}"
            if rung not in ladder.rungs:
                yield f"{key}: names no rung; choose one of: {', '.join(ladder.rungs)}"
            elif rung in rungs[:number]:
                yield f"{key}: is there already; name each rung once"
