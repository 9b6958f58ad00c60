"""Stage `member@<name>`: everything that decides a member's training, resolved into one file.

`train` depends on this file, not on params.yaml: a changed recipe, override or view reaches exactly the members that
use it.
"""

from birdcache.errors import TrainError, run_stage
from birdcache.files import write_text
from birdcache.params import load as parameters
from birdcache.params.model import Params
from birdcache.params.recipe import SomeClasses
from birdcache.params.views import multi_view, unlike
from birdcache.stage import stage_key
from cache.store import Store, open_named
from train.data.member import ResolvedMember, joint_digest, labelled_digest
from train.data.taxa import class_names
from train.model.weight_source import find_source
from train.paths import MEMBERS, store_path


def main() -> None:
    """Write data/members/<name>.json for one member."""
    name = stage_key("base")
    params = parameters.load()
    if name not in params.members:
        raise TrainError(f"{name!r}: params.yaml names no such member; choose one of {', '.join(params.members)}")
    labelled = labelled_digest(params.members[name])
    member = resolve(name, params, *stores_of(name, params), labelled=labelled)
    write_text(MEMBERS / f"{name}.json", member.model_dump_json(indent=2) + "\n")


def stores_of(name: str, params: Params) -> list[Store]:
    """The stores of a member's views. Those beside the first are known to DVC by their bytes, not by their keys."""
    first, *more = params.members[name].views
    return [open_named(store_path(first), params.views[first]), *(open_named(store_path(view)) for view in more)]


def resolve(name: str, params: Params, *stores: Store, labelled: str = "") -> ResolvedMember:
    """Gather what decides the member's training.

    A TrainError if its pretrained weights are missing, a store was built for a view of another geometry, or no label is
    of the classes that it is for.

    Parameters
    ----------
    stores : of all its views.
    labelled : as from `labelled_digest`.
    """
    member, first = params.members[name], stores[0]
    for store in stores[1:]:
        if keys := unlike(first.view, store.view):
            raise TrainError(f"{store.path}: differs from {first.path} in {', '.join(keys)}; run `dvc repro`")
    named = isinstance(member.pretrained, str)
    weights = find_source(str(member.pretrained), f"members.{name}.pretrained") if named else None
    return ResolvedMember(
        name=name,
        member=member.model_copy(update={"override": {}}),
        recipe=params.recipe_of(name),
        view=multi_view([store.view for store in stores]),
        store_digest=joint_digest(stores),
        weights_sha256=weights.sha256 if weights else None,
        weights_origin=weights.origin if weights else None,
        labelled_digest=labelled,
        teacher_digest=open_named(store_path(member.teacher.view)).digest if member.teacher else "",
        only=labels_of(name, member.labels) if member.labels else [],
    )


def labels_of(name: str, wanted: SomeClasses) -> list[str]:
    """The labels of the classes that a member is for; errors as of `class_names`."""
    names = class_names(f"members.{name}.labels.class_name", wanted.class_name)
    return names.index[names.isin(wanted.class_name)].tolist()


if __name__ == "__main__":
    run_stage(main)
