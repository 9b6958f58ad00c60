"""Stage `check`: the network of every member, built before anything is decoded.

What it writes never changes: a changed member runs this stage again, and none of those that only come after it.
"""

from __future__ import annotations

from birdcache.errors import TrainError, run_stage
from birdcache.files import write_text
from birdcache.params import load as parameters
from birdcache.params.model import Params
from birdcache.params.recipe import Member, Recipe
from birdcache.params.views import multi_view
from train.augment.normalise import channel_count
from train.loop.optim import build_optimiser
from train.model.classifier import build_model
from train.paths import CHECKED

CLASSES = 2  # how many there are is not known yet, and matters to no backbone


def main() -> None:
    """Check the members, then write data/checked.txt."""
    check_members(parameters.load())
    write_text(CHECKED, "the networks of all members can be built\n")


def check_members(params: Params) -> None:
    """Build the network of every member, with its first weights, and give it a silent clip.

    Raises
    ------
    TrainError
        If some cannot be built or cannot process their clips; names all of these.
    """
    problems = []
    for name, member in params.members.items():
        try:
            check_member(params, member, params.recipe_of(name))
        except TrainError as error:
            problems.append(f"members.{name}: {str(error).removeprefix('params.yaml: ')}")
    if problems:
        raise TrainError("params.yaml: " + "\n".join(problems))


def check_member(params: Params, member: Member, recipe: Recipe) -> None:
    """Build one network; errors as in `build_model`, `check_clips` and `recompute` of a classifier."""
    view = multi_view([params.views[name] for name in member.views])
    model = build_model(member, CLASSES, view.n_mels, member.pretrained, channel_count(view, recipe))
    model.check_clips(view.frames(recipe.clip_s))
    if recipe.recompute:
        model.recompute(True)
    build_optimiser(model, recipe.optimiser)


if __name__ == "__main__":
    run_stage(main)
