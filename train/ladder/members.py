"""Stage `ladder_members`: rungs and ablations of the ladder, each resolved into one file that its training depends on.

So a changed key reaches exactly the runs that it concerns, as with `train.members`.
"""

from birdcache.errors import run_stage
from birdcache.files import write_text
from birdcache.params import load as parameters
from birdcache.params.model import Params
from train.data.member import ResolvedMember, labelled_digest
from train.members import resolve, stores_of
from train.paths import LADDER_MEMBERS, read_json


def main() -> None:
    """Write data/ladder/members/<run>.json for each rung and ablation."""
    params = parameters.load()
    for run in params.ladder.trained:
        path = LADDER_MEMBERS / f"{run}.json"
        write_text(path, resolve_run(run, params).model_dump_json(indent=2) + "\n")
        print(path)


def resolve_run(run: str, params: Params) -> ResolvedMember:
    """Gather what decides the training of a rung or an ablation, but for its seed."""
    members = {run: params.ladder.member(run)}
    alone = Params.model_construct(train=params.train, views=params.views, members=members)
    return resolve(run, alone, *stores_of(run, alone), labelled=labelled_digest(members[run]))


def read_run(run: str, seed: int) -> ResolvedMember:
    """Read a resolved rung or ablation, to be trained with `seed`; errors as of `read_json`."""
    again = "run `birdcache ladder`", "remove it and run `birdcache ladder`"
    member = read_json(ResolvedMember, LADDER_MEMBERS / f"{run}.json", *again)
    return member.model_copy(update={"recipe": member.recipe.model_copy(update={"seed": seed})})


if __name__ == "__main__":
    run_stage(main)
