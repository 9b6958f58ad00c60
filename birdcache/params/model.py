"""The schema of the whole params.yaml: every knob, its unit, its bounds."""

from typing import Annotated

from pydantic import Field

from birdcache.params import sections
from birdcache.params.ladder import Ladder
from birdcache.params.recipe import Member, Recipe, resolve_recipe
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
