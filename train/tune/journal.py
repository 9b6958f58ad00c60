"""The journal of a search: an Optuna study in one file, written by one process at a time and usable after a kill."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.pruners import BasePruner
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from birdcache.errors import TrainError
from birdcache.files import lock

WHY = "why"  # attribute of a trial that has failed; one that was cut off has none


@contextmanager
def open_study(path: Path, maximise: bool, pruner: BasePruner) -> Iterator[Study]:
    """Open or begin the study in a file; trials that a kill cut off have failed; a TrainError if another one has it."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        if not lock(file):
            raise TrainError(f"{path}: another process runs this search; wait for it, or stop it")
        file.truncate(path.read_bytes().rfind(b"\n") + 1)  # without the half line that a kill may have left
        study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(path))),
            pruner=pruner,
            study_name=path.stem,
            direction="maximize" if maximise else "minimize",
            load_if_exists=True,
        )
        for trial in study.get_trials(states=(TrialState.RUNNING,)):
            study.tell(trial.number, state=TrialState.FAIL)
        yield study


def concluded(study: Study) -> list[FrozenTrial]:
    """Trials that need not be run again, in the order in which they ran."""
    trials = study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL))
    return [trial for trial in trials if trial.state != TrialState.FAIL or WHY in trial.user_attrs]
