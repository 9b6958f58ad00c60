"""The schema of the whole params.yaml: every knob, its unit, its bounds."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from birdcache.params import sections
from birdcache.params.ladder import Ladder
from birdcache.params.recipe import Member, Recipe, resolve_recipe
from birdcache.params.rules import Entries, member_problems
from birdcache.params.student import StudentParams
from birdcache.params.tune import TuneParams
from birdcache.params.views import MelView, PcenView, ViewParams


class Params(sections.Section):
    """The whole of params.yaml."""

    demo: dict[sections.Name, sections.DemoParams]
    data: sections.DataParams
    views: Annotated[dict[sections.Name, ViewParams], Field(min_length=1)]
    folds: sections.FoldsParams
    train: Annotated[dict[sections.Name, Recipe], Field(min_length=1)]
    members: Annotated[dict[sections.Name, Member], Field(min_length=1)]
    ladder: Ladder
    evaluate: sections.EvaluateParams
    report: sections.ReportParams
    ensemble: sections.EnsembleParams
    predict: sections.PredictParams
    export: sections.ExportParams
    student: StudentParams
    tune: TuneParams
    machine: sections.MachineParams

    @property
    def spectrograms(self) -> dict[str, MelView | PcenView]:
        """The views that members can train on."""
        return {name: view for name, view in self.views.items() if isinstance(view, MelView | PcenView)}

    def recipe_of(self, member: str) -> Recipe:
        """The member's recipe with its overrides applied."""
        chosen = self.members[member]
        return resolve_recipe(self.train[chosen.recipe], chosen.override)


def override_problems(params: Params, name: str, override: Mapping[str, Any]) -> list[str]:
    """Problems of a member if its override were this one."""
    member = params.members[name].model_copy(update={"override": override})
    return list(member_problems(f"members.{name}", member, Entries.of(params.model_dump())))
