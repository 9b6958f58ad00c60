"""Stage `check`: every view and every member of params.yaml, tried before anything is decoded.

What it writes never changes: a changed member runs this stage again, and none of those that only come after it.
"""

from __future__ import annotations

from collections.abc import Iterator

from birdcache.errors import CommandError, TrainError, run_stage
from birdcache.files import write_text
from birdcache.params import load as parameters
from birdcache.params.model import Params
from birdcache.params.recipe import Member, Recipe
from birdcache.params.views import multi_view
from pipeline.builder.encode import quantizer_of
from train.augment.normalise import channel_count
from train.loop.optim import build_optimiser
from train.model.classifier import build_model
from train.paths import CHECKED

CLASSES = 2  # how many there are is not known yet, and matters to no backbone


def main() -> None:
    """Check params.yaml, then write data/checked.txt."""
    check_params(parameters.load())
    write_text(CHECKED, "all views and members can be built\n")


def check_params(params: Params) -> None:
    """Refuse views and members that cannot be built.

    Raises
    ------
    CommandError
        With all problems.
    """
    if found := list(problems(params)):
        raise CommandError("params.yaml: " + "\n".join(found))


def problems(params: Params) -> Iterator[str]:
    """The views whose numbers do not go together, and the members whose networks cannot be trained."""
    for name, view in params.views.items():
        try:
            quantizer_of(view)
        except ValueError as error:
            yield f"views.{name}: {error}"
    for name, member in params.members.items():
        try:
            check_member(params, member, params.recipe_of(name))
        except TrainError as error:
            yield f"members.{name}: {str(error).removeprefix('params.yaml: ')}"


def check_member(params: Params, member: Member, recipe: Recipe) -> None:
    """Build a member's network with its first weights, and give it a silent clip.

    Raises
    ------
    TrainError
        If it cannot be built, or cannot process such clips.
    """
    view = multi_view([params.views[name] for name in member.views])
    model = build_model(member, CLASSES, view.n_mels, member.pretrained, channel_count(view, recipe))
    model.check_clips(view.frames(recipe.clip_s))
    if recipe.recompute:
        model.recompute(True)
    build_optimiser(model, recipe.optimiser)


if __name__ == "__main__":
    run_stage(main)
