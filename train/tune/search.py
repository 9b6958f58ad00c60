"""A search over keys of a member's recipe: each trial is a training on one fold, pruned after an epoch if it is poor.

What is tried at a place in the search follows from the seed, the place and the trials before it. So a search that was
killed continues as if it had not been.
"""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from optuna.exceptions import TrialPruned
from optuna.pruners import MedianPruner
from optuna.samplers import TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState
from scipy.stats.qmc import Halton

from birdcache.errors import TrainError
from birdcache.files import file_sha256, sha256_hex
from birdcache.params.recipe import resolve_recipe
from birdcache.params.sections import MachineParams
from birdcache.params.tune import TuneParams, as_override
from cache import tables
from train.loop.checkpoint import digest
from train.loop.distributed import ALONE
from train.loop.graph import recorder_for
from train.loop.split import TrainingSplit, open_split
from train.loop.trainer import Trainer
from train.score.metrics import recording_metrics, window_metrics
from train.tune.journal import WHY, concluded
from train.tune.spaces import decoded, distribution, encoded, holds, value_at

SPREAD = 8  # trials that cover the space evenly, before the sampler begins to learn from them
NEVER_PRUNED = 4  # trials that run to their end, so that there is a median to compare with
WARM_UP = 1 / 3  # of a trial's epochs; before that nothing is pruned

STATES: dict[TrialState, Literal["finished", "pruned", "failed"]] = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


@dataclass(frozen=True)
class Outcome:
    """The result of a trial."""

    number: int  # its place in the search, from 1
    state: Literal["finished", "pruned", "failed"]
    values: dict[str, Any]  # what was tried, by key of the recipe
    # the metric of the weights that the recipe keeps, or of the last epoch of a pruned trial; None if it failed
    merit: float | None
    epochs: int
    seconds: float
    why: str = ""  # it failed


@dataclass(frozen=True)
class Search:
    """The searched keys, and the recordings to try them on."""

    split: TrainingSplit
    tune: TuneParams
    machine: MachineParams
    refused: Callable[[Mapping[str, Any]], list[str]]  # problems of the member with given values of the recipe

    @property
    def maximises(self) -> bool:
        """True if a higher merit is better."""
        return self.tune.metric != "loss"

    @property
    def pruner(self) -> MedianPruner:
        """Stops a trial whose best epoch so far is below the median of the others at the same epoch."""
        return MedianPruner(NEVER_PRUNED, math.ceil(WARM_UP * self.split.member.recipe.epochs))

    @property
    def digest(self) -> str:
        """Digest of all that decides the trials and their results, but not their number."""
        decides = {
            "member": self.split.member.model_dump(mode="json"),
            "fold": self.split.fold,
            "files": [file_sha256(path) for path in (tables.LABELS.path, tables.FOLDS.path)],
            "windows": [digest(self.split.windows), digest(self.split.judged)],
            "search": self.tune.model_dump(mode="json", exclude={"trials", "fold"}),
        }
        return sha256_hex(json.dumps(decides, sort_keys=True).encode())

    @cached_property
    def standing(self) -> dict[str, Any]:
        """The values of the searched keys as the member has them now; None inside a section that is null."""
        recipe = self.split.member.recipe.model_dump()
        return {key: reduce(lambda node, step: node and node[step], key.split("."), recipe) for key in self.tune.keys}

    @property
    def begins_with_standing(self) -> bool:
        """True if the member as it stands lies within the search: then it is the first trial."""
        return all(holds(space, self.standing[key]) for key, space in self.tune.keys.items())

    def check(self) -> None:
        """See that the metric can be measured; a TrainError if the fold's recordings or windows do not allow it."""
        validated, judged = self.split.validated, self.split.judged
        blank_NK = np.zeros((len(validated), validated.classes), np.float32)
        measured = {"loss": 0.0, **recording_metrics(validated.primary, validated.unjudged, blank_NK)}
        if judged:
            found = window_metrics(judged.secondary, np.zeros(judged.secondary.shape, np.float32))
            measured |= {f"windows.{name}": value for name, value in found.items()}
        if math.isnan(measured.get(self.tune.metric, math.nan)):
            raise TrainError(
                f"tune.metric = {self.tune.metric}: cannot be measured on fold {self.split.fold}, where no class "
                "has both positives and negatives; choose another fold or metric"
            )

    def outcomes(self, study: Study) -> list[Outcome]:
        """All trials that have run."""
        return [self._outcome(number, trial) for number, trial in enumerate(concluded(study), start=1)]

    def run_trial(self, study: Study, after_epoch: Callable[[], None]) -> Outcome:
        """Draw values, train with them, and write down what became of it."""
        number = len(concluded(study)) + 1
        planned = self._planned(number)
        if planned and not study.get_trials(states=(TrialState.WAITING,)):
            study.enqueue_trial({key: encoded(self.tune.keys[key], value) for key, value in planned.items()})
        seed = np.random.SeedSequence((self.tune.seed, number)).generate_state(1)
        study.sampler = TPESampler(n_startup_trials=SPREAD, constant_liar=False, seed=int(seed[0]))
        trial = study.ask({key: distribution(key, space) for key, space in sorted(self.tune.keys.items())})
        begin, merit = time.perf_counter(), None
        try:
            state, merit = TrialState.COMPLETE, self._train(number, trial, after_epoch)
        except TrialPruned:
            state = TrialState.PRUNED
        except (TrainError, torch.OutOfMemoryError) as error:
            trial.set_user_attr(WHY, str(error).splitlines()[0])
            state = TrialState.FAIL
        trial.set_user_attr("seconds", time.perf_counter() - begin)
        study.tell(trial, merit, state)
        return self.outcomes(study)[-1]

    def _planned(self, number: int) -> dict[str, Any]:
        """The first values to try: the member as it stands, then points of a Halton sequence; {} later on.

        Source: scrambled Halton points, Owen 2017. Eight points at random may leave half of the space empty.
        """
        if number == 1 and self.begins_with_standing:
            return self.standing
        if number > SPREAD:
            return {}
        keys = sorted(self.tune.keys)  # so that nothing depends on the order in params.yaml, as the digest does not
        shares = Halton(len(keys), seed=np.random.default_rng(self.tune.seed)).random(SPREAD)[number - 1].tolist()
        return {key: value_at(key, self.tune.keys[key], share) for key, share in zip(keys, shares, strict=True)}

    def _train(self, number: int, trial: Trial, after_epoch: Callable[[], None]) -> float:
        split = self._split_with(self._values(trial.params))
        recipe, model = split.member.recipe, split.model()
        name = f"{split.member.name}-{split.fold}, trial {number}"
        recorder = recorder_for(recipe, self.machine, split.device, ALONE)
        trainer = Trainer(model, split.batches(model), recipe, split.device, name=name, recorder=recorder)
        for epoch in trainer.run(split.validation()):
            after_epoch()
            if not epoch.metrics:
                continue
            trial.report(epoch.metrics[self.tune.metric], epoch.number)
            if epoch.number + 1 < recipe.epochs and trial.should_prune():
                raise TrialPruned
        return trainer.history.metrics()["best" if recipe.weights == "best" else "last"][self.tune.metric]

    def _split_with(self, values: Mapping[str, Any]) -> TrainingSplit:
        """The split with its member's recipe changed; a TrainError if the values do not go together."""
        member = self.split.member
        if problems := self.refused(values):
            raise TrainError(problems[0])
        recipe = resolve_recipe(member.recipe, as_override(values))
        changed = member.model_copy(update={"recipe": recipe})
        if (recipe.trim_db, recipe.clip_s) != (member.recipe.trim_db, member.recipe.clip_s):  # other frames
            return open_split(changed, self.split.fold, self.machine, self.split.device)
        return replace(self.split, member=changed)

    def _values(self, drawn: Mapping[str, Any]) -> dict[str, Any]:
        """The values to try, out of Optuna's draw."""
        return {key: decoded(space, drawn[key], self.standing[key]) for key, space in self.tune.keys.items()}

    def _outcome(self, number: int, trial: FrozenTrial) -> Outcome:
        attributes, epochs = trial.user_attrs, len(trial.intermediate_values)
        seconds, why = attributes.get("seconds", 0.0), attributes.get(WHY, "")
        merit = None if trial.state == TrialState.FAIL else trial.value
        return Outcome(number, STATES[trial.state], self._values(trial.params), merit, epochs, seconds, why)


def best_of(outcomes: Sequence[Outcome], maximises: bool) -> Outcome | None:
    """The best finished trial; the earliest of equal ones."""
    finished = [each for each in outcomes if each.state == "finished"]
    return (max if maximises else min)(finished, key=attrgetter("merit"), default=None)


def journal_path(folder: Path, search: Search) -> Path:
    """The file of a search's journal."""
    return folder / f"{search.split.member.name}-{search.split.fold}" / f"{search.digest[:12]}.journal"
