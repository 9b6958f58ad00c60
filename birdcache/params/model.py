"""The schema of the whole params.yaml: every knob, its unit, its bounds."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from birdcache.params.ladder import Ladder
from birdcache.params.recipe import Member, Recipe, resolve_recipe
from birdcache.params.rules import Entries, member_problems
from birdcache.params.sections import (
    DataParams,
    DemoParams,
    EnsembleParams,
    EvaluateParams,
    ExportParams,
    FoldsParams,
    MachineParams,
    Name,
    PredictParams,
    ReportParams,
    Section,
)
from birdcache.params.student import StudentParams
from birdcache.params.tune import TuneParams
from birdcache.params.views import View


class Params(Section):
    """The whole of params.yaml."""

    demo: dict[Name, DemoParams]
    data: DataParams
    views: Annotated[dict[Name, View], Field(min_length=1)]
    folds: FoldsParams
    train: Annotated[dict[Name, Recipe], Field(min_length=1)]
    members: Annotated[dict[Name, Member], Field(min_length=1)]
    ladder: Ladder
    evaluate: EvaluateParams
    report: ReportParams
    ensemble: EnsembleParams
    predict: PredictParams
    export: ExportParams
    student: StudentParams
    tune: TuneParams
    machine: MachineParams

    def recipe_of(self, member: str) -> Recipe:
        """The member's recipe with its overrides applied."""
        chosen = self.members[member]
        return resolve_recipe(self.train[chosen.recipe], chosen.override)


def override_problems(params: Params, name: str, override: Mapping[str, Any]) -> list[str]:
    """Problems of a member if its override were this one."""
    member = params.members[name].model_copy(update={"override": override})
    return list(member_problems(f"members.{name}", member, Entries.of(params.model_dump())))
