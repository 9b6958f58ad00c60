"""The ladder: members measured rung by rung, and each technique taken away again. Section `ladder` of params.yaml."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator

from birdcache.params.base import Name, Section
from birdcache.params.members import Member
from birdcache.params.recipe import merged

FEWEST_SEEDS = 3  # a spread of two is none


class Ablation(Section):
    """A rung with something taken away: `without` holds the keys of its member section that are then other ones.

    Source: ablation of single techniques, as in He et al. 2019, Bag of tricks for image classification.
    """

    rung: Name
    without: Annotated[dict[str, Any], Field(min_length=1)]


class Ladder(Section):
    """What `birdcache ladder` trains: every rung and every ablation with each seed, on the given folds.

    Source: seeds as repetitions of an experiment, Bouthillier et al. 2021, Accounting for variance in machine learning
    benchmarks.
    """

    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**32)]], Field(min_length=FEWEST_SEEDS)]
    folds: Annotated[list[int], Field(min_length=1)]
    rungs: dict[Name, Member]
    ensemble: dict[Name, Annotated[list[Name], Field(min_length=2)]]
    ablations: dict[Name, Ablation]

    @field_validator("seeds", "folds")
    @classmethod
    def _each_once(cls, numbers: list[int]) -> list[int]:
        if len(set(numbers)) != len(numbers):
            raise ValueError("names a number twice; name each once")
        return numbers

    @property
    def trained(self) -> list[str]:
        """All that is trained: rungs, then ablations."""
        return [*self.rungs, *self.ablations]

    def member(self, run: str) -> Member:
        """The member that a rung or an ablation trains.

        Raises
        ------
        ValidationError
            If an ablation changes an unknown key of its rung or breaks a rule.
        """
        if run in self.rungs:
            return self.rungs[run]
        ablation = self.ablations[run]
        return ablated(self.rungs[ablation.rung], ablation.without)


def ablated(rung: Member, without: dict[str, Any]) -> Member:
    """A rung with some keys of its section changed, nested alike.

    Raises
    ------
    ValidationError
        If a key is unknown or a value breaks a rule.
    """
    return Member.model_validate(merged(rung.model_dump(), without))
