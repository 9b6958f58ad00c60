"""What labelled windows of soundscapes give as training data. Run it after `dvc repro`, on data that has some.

A member is trained with each share of windows and each seed, on all folds of folds.train. All figures are of models
that knew nothing of what they score:

windows: of soundscapes at held-out sites, one clip each, by the fold's own model.
exam: windows of the soundscapes that data.soundscape_truth examines, if there are any, by the mean of all folds.
recordings: out of fold.

Columns are macro ROC-AUC and cmAP: mean over the seeds, and standard deviation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.timing import parser_of
from birdcache.arrays import Floats32
from birdcache.params import load as parameters
from birdcache.params.model import Params
from birdcache.params.recipe import merged, resolve_recipe
from birdcache.predict.clip_scores import window_ids
from birdcache.predict.postprocess import Cutting, windows_in
from birdcache.progress import Progress
from train.data.dataset import open_dataset
from train.data.examples import Examples, read_labels
from train.data.member import ResolvedMember, read_member
from train.loop.distributed import ALONE
from train.loop.split import split_dataset
from train.loop.trainer import Trainer
from train.loop.validation import Validation
from train.model.classifier import Classifier, choose_device
from train.model.weights import Sidecar
from train.score.markdown import markdown
from train.score.metrics import recording_metrics, window_metrics
from train.score.soundscapes import ScoringTask, SoundscapeStores, read_soundscapes, score_model
from train.score.truth import labelled_soundscapes, read_truth

METRICS = {"macro_roc_auc": "AUC", "cmap": "cmAP"}
Metrics = dict[str, dict[str, float]]


def main() -> None:
    """Train, print a table, write all runs as JSON if asked."""
    parser = parser_of(__doc__ or "")
    parser.add_argument("--member", default="base")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.0, 0.1, 0.25])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--override", type=json.loads, default={}, help="keys of the recipe to change, as JSON")
    arguments = parser.parse_args()
    params, rows = parameters.load(), []
    for seed in arguments.seeds:
        for share in arguments.shares:
            shares = {"recordings": 1 - share, "soundscapes": share}
            changes = merged(arguments.override, {"seed": seed, "sampling": {"shares": shares}})
            member = read_member(arguments.member)
            member = member.model_copy(update={"recipe": resolve_recipe(member.recipe, changes)})
            rows.append(
                {"share": share, "seed": seed, **flat(measured(dict.fromkeys(params.folds.train, member), params))}
            )
            print(rows[-1], flush=True)
    print(markdown(summary(pd.DataFrame(rows))))
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(rows, indent=2) + "\n")


def flat(metrics: Metrics) -> dict[str, float]:
    """Metrics in one dictionary: `windows AUC` and so on."""
    return {f"{data} {name}": each[key] for data, each in metrics.items() for key, name in METRICS.items()}


def summary(table: pd.DataFrame, by: str = "share") -> pd.DataFrame:
    """Mean and standard deviation over the seeds, a row for each share."""
    groups = table.drop(columns="seed").groupby(by)
    spread = groups.std() if len(table["seed"].unique()) > 1 else groups.mean() * np.nan
    cells = groups.mean().map("{:.3f}".format) + " ± " + spread.map("{:.3f}".format)
    return cells.reset_index()


def measured(members: Mapping[int, ResolvedMember], params: Params) -> Metrics:
    """Train a member for each fold, and score what each did not learn; no metrics of what the data lack."""
    windows, recordings, exams, labels = [], [], [], read_labels()
    has_exam = len(labelled_soundscapes()) > 0
    for fold, member in members.items():
        validated, validation, kept = trained_fold(member, fold, params)
        recordings.append((validated.primary, validated.unjudged, validation.predict(kept)[0]))
        print(f"fold {fold}: accuracy {np.mean(recordings[-1][2].argmax(axis=1) == validated.primary):.3f}", flush=True)
        if validation.windows is not None:
            windows.append((validation.windows.examples.secondary, validation.windows.predict(kept)[0]))
        if has_exam:
            exams.append(exam_scores(kept, member, fold, params))
    found = {}
    if windows:
        found["windows"] = window_metrics(*(np.concatenate([pair[n] for pair in windows]) for n in range(2)))
    if has_exam:
        found["exam"] = exam_metrics(np.mean(exams, axis=0), labels, params)
    return {
        **found,
        "recordings": recording_metrics(*(np.concatenate([each[n] for each in recordings]) for n in range(3))),
    }


def trained_fold(member: ResolvedMember, fold: int, params: Params) -> tuple[Examples, Validation, Classifier]:
    """Train a member on a fold: what was held out, its validation, and the model."""
    device = choose_device(params.machine.device)
    split = split_dataset(open_dataset(member, params.machine, device), fold, device, ALONE)
    model, validation = split.model(), split.validation()
    trainer = Trainer(model, split.batches(model), member.recipe, device, name=f"{member.name}-{fold}")
    for _ in trainer.run(validation):
        pass
    return split.validated, validation, trainer.training_step.kept


def exam_task(labels: Sequence[str], params: Params) -> ScoringTask:
    """The windows of the soundscapes with a truth, one clip each."""
    known, window_s = labelled_soundscapes(), params.predict.window_s
    soundscapes = [each for each in read_soundscapes() if each.name in known]
    return ScoringTask(soundscapes, list(labels), Cutting(window_s, window_s), params.predict.batch_size)


def exam_scores(model: Classifier, member: ResolvedMember, fold: int, params: Params) -> Floats32:
    """A model's scores of the exam's windows: (N, K)."""
    labels = read_labels()
    task, opened = exam_task(labels, params), SoundscapeStores(params.machine, choose_device(params.machine.device))
    sidecar = Sidecar(labels=labels, fold=fold, member=member, folds_sha256="", sha256={}, metrics={})
    with Progress(len(task.soundscapes), "exam", "soundscapes") as progress:
        scores_SNK = score_model(Path(f"{member.name}-{fold}"), sidecar, model, task, opened, progress)
    return np.asarray(scores_SNK[0])


def exam_metrics(scores_NK: Floats32, labels: Sequence[str], params: Params) -> dict[str, float]:
    """Metrics of the exam's windows."""
    task, window_s = exam_task(labels, params), params.predict.window_s
    row_ids = [
        row_id
        for each in task.soundscapes
        for row_id in window_ids(each.name, windows_in(each.duration_s, window_s), window_s)
    ]
    truth = read_truth(row_ids, labels)
    return window_metrics(truth.sings[truth.known], scores_NK[truth.known])


if __name__ == "__main__":
    main()
