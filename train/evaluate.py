"""Stage `evaluate`: out-of-fold metrics of every member and of the ensemble, and the truth of the soundscapes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

import params as parameters
from cache.store import Store
from errors import run_stage
from params import EvaluateParams, Params
from train.errors import TrainError
from train.evaluate_figures import draw_classes, draw_confusions, draw_soundscapes
from train.examples import Examples, read_examples, read_labels
from train.metrics import Bools, Floats, Ints, class_average_precision, class_roc_auc, recording_metrics, window_metrics
from train.paths import LABELS, MODELS, REPORTS, SCORES, TRUTH, store_path

ENSEMBLE = "ensemble"


@dataclass(frozen=True)
class OutOfFold:
    """Recordings that every member has predicted without having been trained on them."""

    examples: Examples
    scores: dict[str, Floats]  # member or ensemble -> (N, K)
    recordings: Ints  # (K,) of each class in the data set, validated or not


@dataclass(frozen=True)
class Windows:
    """The windows of all soundscapes."""

    row_ids: list[str]
    truth: Bools  # (N, K) who sings
    told: Bools  # (N,) whether the truth says anything about the window
    scores: dict[str, Floats]  # member or ensemble -> (N, K)


def main() -> None:
    """Write reports/metrics.json, tables of classes and confusions, and their pictures."""
    params = parameters.load()
    labels = read_labels()
    predicted = read_out_of_fold(params, labels)
    metrics: dict[str, Any] = {"out_of_fold": score_out_of_fold(predicted, params.evaluate)}
    classes = class_table(predicted)
    confusions = confusion_table(predicted, labels, params.evaluate.top_confusions)
    windows = read_windows(labels)
    if windows.told.any():
        metrics["soundscapes"] = score_windows(windows)
    (REPORTS / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    classes.to_csv(REPORTS / "per_class.csv", index=False, float_format="%.4f")
    confusions.to_csv(REPORTS / "confusions.csv", index=False)
    draw_classes(classes, REPORTS / "per_class.png")
    draw_confusions(confusions, REPORTS / "confusions.png")
    draw_soundscapes(windows.row_ids, windows.truth, windows.scores[ENSEMBLE], labels, REPORTS / "soundscapes.png")
    print_summary(metrics)


def read_out_of_fold(params: Params, labels: list[str]) -> OutOfFold:
    """Gather models/<member>/<fold>/predictions.npz of all members and trained folds.

    Raises
    ------
    TrainError
        If predictions are missing, or no recording was predicted by every member.
    """
    per_member = {name: _member_predictions(name, params.folds.train) for name in params.members}
    common = sorted(set.intersection(*(set(scores) for scores in per_member.values())))
    if not common:
        raise TrainError("models/: no recording was predicted by every member; run `dvc repro`")
    scores = {name: np.stack([each[recording] for recording in common]) for name, each in per_member.items()}
    scores[ENSEMBLE] = np.stack(list(scores.values())).mean(axis=0)
    view = next(iter(params.members.values())).view
    examples, _ = read_examples(Store(store_path(view)), labels)
    place = {name: number for number, name in enumerate(examples.names)}
    predicted = examples.subset(np.array([place[recording] for recording in common]))
    return OutOfFold(predicted, scores, np.bincount(examples.primary, minlength=len(labels)))


def _member_predictions(name: str, folds: list[int]) -> dict[str, Floats]:
    scores: dict[str, Floats] = {}
    for fold in folds:
        path = MODELS / name / str(fold) / "predictions.npz"
        if not path.is_file():
            raise TrainError(f"{path}: is missing; run `dvc repro train@{name}-{fold}`")
        with np.load(path, allow_pickle=False) as content:
            scores |= dict(zip(content["recording"].tolist(), content["scores"], strict=True))
    return scores


def score_out_of_fold(predicted: OutOfFold, evaluate: EvaluateParams) -> dict[str, dict[str, float]]:
    """Metrics per recording of every member and the ensemble; `rare_ap` is the mean AP of the rare classes, if any."""
    examples = predicted.examples
    rare_K = predicted.recordings < evaluate.rare_below
    result = {}
    for name, scores_NK in predicted.scores.items():
        result[name] = recording_metrics(examples.primary, examples.secondary, scores_NK)
        rare_ap = _class_ap(examples, scores_NK)[rare_K]
        if np.isfinite(rare_ap).any():
            result[name]["rare_ap"] = float(np.nanmean(rare_ap))
    return result


def _truth(examples: Examples) -> Bools:
    truth_NK = np.zeros((len(examples), examples.classes), bool)
    truth_NK[np.arange(len(examples)), examples.primary] = True
    return truth_NK


def _class_ap(examples: Examples, scores_NK: Floats) -> Any:
    return class_average_precision(_truth(examples), scores_NK, ~examples.secondary)


def class_table(predicted: OutOfFold) -> pd.DataFrame:
    """The ensemble's average precision and ROC-AUC of each class that can be scored, best first."""
    table = pd.read_csv(LABELS, dtype={"label": str, "common_name": str}, keep_default_na=False)
    examples, scores_NK = predicted.examples, predicted.scores[ENSEMBLE]
    table = table[["label", "common_name", "recordings"]].assign(
        average_precision=_class_ap(examples, scores_NK),
        roc_auc=class_roc_auc(_truth(examples), scores_NK, ~examples.secondary),
    )
    return table.dropna(subset=["average_precision"]).sort_values("average_precision", ascending=False)


def confusion_table(predicted: OutOfFold, labels: list[str], most: int) -> pd.DataFrame:
    """The ensemble's most frequent mistakes: label, predicted label, recordings."""
    guess_N = predicted.scores[ENSEMBLE].argmax(axis=1)
    wrong = guess_N != predicted.examples.primary
    names = np.array(labels, dtype=object)
    pairs = pd.DataFrame({"label": names[predicted.examples.primary[wrong]], "predicted": names[guess_N[wrong]]})
    counted = pairs.value_counts().rename("recordings").reset_index()
    counted = counted.sort_values(["recordings", "label", "predicted"], ascending=[False, True, True]).head(most)
    return counted.assign(confusion=counted["label"].astype(str) + " -> " + counted["predicted"].astype(str))


def read_windows(labels: list[str]) -> Windows:
    """Scores of all windows of the soundscapes beside their truth, as far as there is one."""
    truth = pd.read_csv(TRUTH, dtype=str, keep_default_na=False).set_index("row_id")["labels"]
    with np.load(SCORES, allow_pickle=False) as content:
        row_ids, members, scores = content["row_id"].tolist(), content["members"].tolist(), content["scores"]
    number = {label: index for index, label in enumerate(labels)}
    truth_NK = np.zeros((len(row_ids), len(labels)), bool)
    for row, row_id in enumerate(row_ids):
        truth_NK[row, [number[label] for label in truth.get(row_id, "").split() if label in number]] = True
    told = np.array([row_id in truth.index for row_id in row_ids], bool)
    by_name = dict(zip(members, scores, strict=True)) | {ENSEMBLE: scores.mean(axis=0)}
    return Windows(row_ids, truth_NK, told, by_name)


def score_windows(windows: Windows) -> dict[str, dict[str, float]]:
    """Metrics over the windows that have a truth, of every member and the ensemble."""
    truth_NK = windows.truth[windows.told]
    return {name: window_metrics(truth_NK, scores_NK[windows.told]) for name, scores_NK in windows.scores.items()}


def print_summary(metrics: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
    """A short table: one line per member and for the ensemble."""
    print(f"{'':<14}{'accuracy':>10}{'macro AUC':>11}{'cmAP':>8}{'macro F1':>10}   soundscapes: {'AUC':>7}{'cmAP':>8}")
    for name, values in metrics["out_of_fold"].items():
        windows = metrics.get("soundscapes", {}).get(name)
        tail = f"{windows['macro_roc_auc']:>20.4f}{windows['cmap']:>8.3f}" if windows else f"{'no truth':>20}"
        print(
            f"{name:<14}{values['accuracy']:>10.3f}{values['macro_roc_auc']:>11.4f}{values['cmap']:>8.3f}"
            f"{values['macro_f1']:>10.3f}   {tail}"
        )


if __name__ == "__main__":
    run_stage(main)
