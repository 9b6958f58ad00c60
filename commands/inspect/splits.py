"""Training data of a member and a fold, for commands that inspect training."""

from birdcache.errors import CommandError
from birdcache.params import load as parameters
from cache import tables
from train.data.member import read_member
from train.loop.split import TrainingSplit, open_split
from train.model.classifier import choose_device
from train.paths import MEMBERS, store_path


def split_of(name: str, fold: int | None) -> TrainingSplit:
    """Open the training data of member `name` with a fold held out; None is the first fold of folds.train.

    A CommandError if there is no such member or fold, or a stage before training has to run first.
    """
    loaded = parameters.load()
    if name not in loaded.members:
        raise CommandError(f"{name!r}: params.yaml names no such member; choose one of {', '.join(loaded.members)}")
    fold = loaded.folds.train[0] if fold is None else fold
    if not 0 <= fold < loaded.folds.count:
        raise CommandError(f"--fold {fold}: must be from 0 to {loaded.folds.count - 1} (folds.count in params.yaml)")
    stores = map(store_path, loaded.members[name].views)
    needed = [table.path for table in (tables.RECORDINGS, tables.LABELS, tables.FOLDS)]
    for path in (*needed, *stores, MEMBERS / f"{name}.json"):
        if not path.exists():
            raise CommandError(f"{path}: is missing; run `dvc repro member@{name} folds` first (it does not train)")
    member = read_member(name)
    now = loaded.members[name].model_copy(update={"override": {}}), loaded.recipe_of(name)
    if (member.member, member.recipe) != now:
        raise CommandError(f"{MEMBERS / name}.json: params.yaml has changed since; run `dvc repro member@{name}`")
    return open_split(member, fold, loaded.machine, choose_device(loaded.machine.device))
