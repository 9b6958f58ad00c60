"""Stage `check`: every view and every member of params.yaml, tried before anything is decoded.

What it writes never changes: a changed member runs this stage again, and none of those that only come after it.
"""

from __future__ import annotations

from birdcache.errors import CommandError, TrainError, run_stage
from birdcache.files import write_text
from birdcache.params import load as parameters
from birdcache.params.model import Params
from commands.project.repository import git_trouble
from pipeline.builder.encode import quantizer_of
from train.model.check import check_member
from train.paths import CHECKED


def main() -> None:
    """Check git and params.yaml, then write data/checked.txt."""
    if trouble := git_trouble():
        raise CommandError(trouble)
    check_params(parameters.load())
    write_text(CHECKED, "all views and members can be built\n")


def check_params(params: Params) -> None:
    """Refuse views and members that cannot be built; print what is worth telling about the others.

    Raises
    ------
    CommandError
        With all problems.
    """
    remarks, problems = tried(params)
    if problems:
        raise CommandError("\n".join(problems))
    for remark in remarks:
        print(remark)


def tried(params: Params) -> tuple[list[str], list[str]]:
    """Remarks on members; problems of views whose numbers do not go together, and of members that cannot train."""
    remarks, problems = [], []
    for name, view in params.views.items():
        try:
            quantizer_of(view)
        except ValueError as error:
            problems.append(f"params.yaml: views.{name}: {error}")
    for name in params.members:
        try:
            remarks += check_member(name, params)
        except TrainError as error:
            problems.append(str(error))
    return remarks, problems


if __name__ == "__main__":
    run_stage(main)
