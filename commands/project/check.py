"""Stage `check`: every view and every member of params.yaml, tried before anything is decoded.

What it writes never changes: a changed member runs this stage again, and none of those that only come after it.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from birdcache.errors import CommandError, PipelineError, TrainError, run_stage
from birdcache.files import write_text
from birdcache.params import load as parameters
from birdcache.params.embedding import FOLDER, EmbeddingView
from birdcache.params.model import Params
from birdcache.params.recipe import Member, merged, resolve_recipe
from commands.project.hashable import check_data
from commands.project.repository import git_trouble
from pipeline.builder.encode import quantizer_of
from pipeline.builder.teacher import FOLDER as TEACHERS
from pipeline.builder.teacher import network_text, stored_view
from pipeline.source import FOLDER as SOURCES
from train.paths import CHECKED


def main() -> None:
    """Check git, params.yaml and the data's files, then write data/checked.txt, data/teachers and data/sources."""
    if trouble := git_trouble():
        raise CommandError(trouble)
    params = parameters.load()
    check_data(params.data, Path(FOLDER))
    check_params(params)
    for name, view in params.views.items():
        write_text(TEACHERS / f"{name}.txt", network_text(view))
    write_text(CHECKED, "all views and members can be built\n")
    write_text(SOURCES / "README.txt", "a digest of each of data.sources, by stage source\n")


def check_params(params: Params) -> None:
    """Refuse views and members that cannot be built, with all problems; print what is worth telling of the others."""
    remarks, problems = tried(params)
    if problems:
        raise CommandError("\n".join(problems))
    for remark in remarks:
        print(remark)


def tried(params: Params) -> tuple[list[str], list[str]]:
    """Remarks on members; problems of views whose numbers do not go together, and of members that cannot train."""
    problems = []
    for name, view in params.views.items():
        try:
            quantizer_of(stored_view(name, view))
        except ValueError as error:
            problems.append(f"params.yaml: views.{name}: {error}")
        except PipelineError as error:
            problems.append(str(error))
    remarks, of_networks = tried_networks(params, networks(params))
    return remarks, problems + of_networks


def networks(params: Params) -> Iterator[tuple[str, Member]]:
    """The members, then those that a noisy student changes, each with the key that stands for it in messages."""
    for name, member in params.members.items():
        yield f"members.{name}", member
    for number, each in params.student.rounds.items():
        for name in params.student.members:
            override = merged(params.members[name].override, each.override)
            changed = params.members[name].model_copy(update={"override": override})
            yield f"student.rounds.{number}, member {name}", changed


def tried_networks(params: Params, members: Iterable[tuple[str, Member]]) -> tuple[list[str], list[str]]:
    """Remarks on networks, and problems; those that differ only in how they are trained are tried once."""
    from train.model.check import check_member  # here: timm takes seconds, and params.yaml may be refused before

    remarks, problems, seen = [], [], set[str]()
    views = {name: view for name, view in params.views.items() if not isinstance(view, EmbeddingView)}
    for key, member in members:
        recipe = resolve_recipe(params.train[member.recipe], member.override)
        network = member.model_copy(update={"recipe": "", "override": {}})
        optimiser = recipe.optimiser
        facts = f"{network} {recipe.clip_s} {recipe.channels} {recipe.recompute} {optimiser.kind} {optimiser.arguments}"
        if facts in seen:
            continue
        seen.add(facts)
        try:
            remarks += check_member(key, member, recipe, views)
        except TrainError as error:
            problems.append(str(error))
    return remarks, problems


if __name__ == "__main__":
    run_stage(main)
