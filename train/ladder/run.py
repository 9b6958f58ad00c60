"""Stage `ladder_rung@<rung>-<seed>`, `ladder_ablation@<ablation>-<seed>`: one training on each fold of the ladder."""

from dataclasses import replace
from functools import partial

import numpy as np
import torch

from birdcache.errors import run_stage
from birdcache.params import load as parameters
from birdcache.params.sections import MachineParams
from birdcache.stage import clear, stage_key
from train.data.dataset import open_dataset
from train.data.member import ResolvedMember
from train.ladder.members import read_run
from train.ladder.scores import FoldScores, ScoredRecordings, fold_path, write_fold
from train.loop.distributed import processes, run_together
from train.loop.run import RunFolders, logged, train
from train.loop.split import open_split
from train.model.classifier import choose_device
from train.model.weights import read_model, read_sidecar
from train.paths import LADDER_MODELS, LADDER_REPORTS, LADDER_RUNS, split_run
from train.score.predictions import read_predictions

NONE = np.empty(0, np.int64)


def main() -> None:
    """Train the `<run>-<seed>` that runs; `train.loop.run.Run` writes what it leaves."""
    run, seed = split_run(stage_key("strong-2"), "strong-2")
    params = parameters.load()
    machine, device = params.machine, choose_device(params.machine.device)
    member = read_run(run, seed)
    models, reports = LADDER_MODELS / run / str(seed), LADDER_REPORTS / f"{run}-{seed}"
    clear(LADDER_RUNS / f"{run}-{seed}", reports, models)
    # trainings in this process, and the scores after each, then share what is opened here
    opened = open_dataset(member, machine, device) if processes(machine, device) == 1 else None
    for fold in params.ladder.folds:
        place = RunFolders(f"{run}-{seed}, fold {fold}", models / str(fold), reports / str(fold))
        run_together(partial(train, member, fold, place, machine, device), machine, device)
        write_fold(fold_path(run, seed, fold), score_fold(member, fold, place, machine, device))
    del opened


def score_fold(
    member: ResolvedMember, fold: int, place: RunFolders, machine: MachineParams, device: torch.device
) -> FoldScores:
    """Gather what a finished training is measured by; its recordings are scored without any augmentation.

    The same weights score both sides of the split, those that the recipe keeps.
    """
    split = open_split(member, fold, machine, device)
    model = read_model(place.folder, read_sidecar(place.folder), member.recipe.weights, device)
    validation = split.validation()
    trained_NK, _ = replace(validation, examples=split.trained).predict(model)
    windows = validation.windows
    _, validated_NK = read_predictions(place.folder, "run its stage again with `dvc repro -f`")
    validated = ScoredRecordings.of(split.validated, validated_NK)
    return FoldScores(
        validated=validated,
        trained=ScoredRecordings.of(split.trained, trained_NK),
        epoch_s=logged(place.report, "epoch_s"),
        windows=ScoredRecordings.of(windows.examples, windows.predict(model)[0]) if windows else validated.subset(NONE),
    )


if __name__ == "__main__":
    run_stage(main)
