"""A search whose trainings are scripted: what a trial reaches is a formula of its recipe."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from optuna.study import Study

from birdcache.params.recipe import Recipe
from birdcache.params.sections import MachineParams
from birdcache.params.tune import TuneParams
from tests.train.easy import CPU
from train.data.member import ResolvedMember
from train.loop.history import Epoch, History
from train.tune.journal import open_study
from train.tune.search import Outcome, Search, journal_path

EPOCHS = 6
KEYS = {
    "optimiser.lr": {"low": 1e-4, "high": 1e-1, "log": True},
    "augment.mixup.alpha": {"low": 0.1, "high": 4.0, "log": False},
}


def reached(recipe: Recipe, epoch: int) -> float:
    """Grows with the epochs; most at lr 0.02 and alpha 1.5."""
    distance = (math.log10(recipe.optimiser.lr / 0.02)) ** 2 + ((recipe.augment.mixup.alpha - 1.5) / 4) ** 2
    return math.exp(-distance) * (1 - 0.5 ** (epoch + 1))


@dataclass
class ScriptedTrainer:
    """Stands for `train.loop.trainer.Trainer`; notes what is trained, and breaks where it is told to.

    Attributes
    ----------
    breaks
        What is raised in which training of the process, counted from 1, before its third epoch.
    """

    trained: list[Recipe] = field(default_factory=list)
    breaks: dict[int, BaseException] = field(default_factory=dict)

    def __call__(self, model: None, batches: None, recipe: Recipe, device: torch.device, **others: Any) -> Any:
        self.trained.append(recipe)
        history, broken = History.start(recipe, device), self.breaks.get(len(self.trained))
        return SimpleNamespace(run=lambda validation: self.epochs(recipe, history, broken), history=history)

    def epochs(self, recipe: Recipe, history: History, broken: BaseException | None) -> Iterator[Epoch]:
        for number in range(recipe.epochs):
            if broken is not None and number == 2:
                raise broken
            auc = reached(recipe, number)
            metrics = {"loss": 1 - auc, "accuracy": auc / 2, "macro_roc_auc": auc, "cmap": auc}
            yield history.add(Epoch(number, 1.0, metrics, 1.0, 0.0, recipe.optimiser.lr), b"")


@dataclass(frozen=True)
class BareSplit:
    """What a search needs to know of a split: `primary` are the classes of the validated recordings."""

    member: ResolvedMember
    fold: int = 0
    primary: tuple[int, ...] = (0, 0, 1, 1)
    device: torch.device = CPU
    windows: None = None
    judged: Any = None

    @property
    def validated(self) -> Any:
        return _Examples(np.array(self.primary), np.zeros((len(self.primary), 2), bool))

    def model(self) -> None:
        return None

    def batches(self, model: None) -> None:
        return None

    def validation(self) -> None:
        return None


@dataclass(frozen=True)
class _Examples:
    primary: Any
    unjudged: Any
    classes: int = 2

    def __len__(self) -> int:
        return len(self.primary)


def search_for(member: ResolvedMember, machine: MachineParams, **changes: Any) -> Search:
    """A search over learning rate and alpha of mixup; changes are keys of section `tune`, `primary` or `refused`."""
    primary = changes.pop("primary", (0, 0, 1, 1))
    refused = changes.pop("refused", lambda values: [])
    tune = {"trials": 10, "fold": 0, "metric": "macro_roc_auc", "seed": 1, "keys": KEYS, **changes}
    split: Any = BareSplit(member, primary=primary)
    return Search(split, TuneParams.model_validate(tune), machine, refused)


def opened(search: Search, folder: Path) -> AbstractContextManager[Study]:
    """The search's journal in a folder."""
    return open_study(journal_path(folder, search), search.maximises, search.pruner)


def outcomes_of(search: Search, folder: Path) -> list[Outcome]:
    """Run the trials that are missing; all of the search's outcomes."""
    with opened(search, folder) as study:
        for _ in range(search.tune.trials - len(search.outcomes(study))):
            search.run_trial(study, lambda: None)
        return search.outcomes(study)
