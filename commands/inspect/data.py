"""What notebooks, and commands that inspect training, open in a project: stores, a member's data, a fold's scores."""

import pandas as pd

from birdcache.errors import CommandError
from birdcache.params import load as parameters
from cache import tables
from cache.store import Store, open_named
from train.data.examples import read_labels
from train.data.member import read_member
from train.loop.split import TrainingSplit, open_split
from train.model.classifier import choose_device
from train.paths import MEMBERS, store_path
from train.score.out_of_fold import read_out_of_fold


def open_store(view: str, soundscapes: bool = False) -> Store:
    """Open a view's store of recordings, or of soundscapes; a StoreError if it is missing, unfinished or damaged."""
    return open_named(store_path(view, soundscapes))


def fold_scores(member: str, fold: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores of a held-out fold, and whether each label is the recording's own: (N, K) by recording and label.

    A TrainError if they are missing or damaged.
    """
    labels = read_labels()
    found = read_out_of_fold([member], [fold], read_member(member).member.view, labels)
    names = pd.Index(found.examples.names, name="recording")
    return pd.DataFrame(found.scores[member], names, labels), pd.DataFrame(found.truth, names, labels)


def open_dataset(name: str, fold: int | None = None) -> TrainingSplit:
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
