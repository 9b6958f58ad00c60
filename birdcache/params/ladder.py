"""The ladder: members measured rung by rung, and each technique taken away again. Section `ladder` of params.yaml."""

from typing import Annotated, Any

from pydantic import Field

from birdcache.params.checks import each_once
from birdcache.params.recipe import Member, merged
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
