"""Stage `evaluate`: metrics of every member and the ensemble: out of fold, of recordings and windows; of the exam."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from birdcache.errors import run_stage
from birdcache.files import write_text
from birdcache.params import load as parameters
from birdcache.params.sections import EvaluateParams, FittedOn
from cache import report_tables, tables
from cache.csv_files import write_csv
from cache.tables import Col
from train.data.examples import read_labels
from train.data.member import read_member
from train.paths import ENSEMBLE as ENSEMBLE_FILE
from train.paths import EVALUATION, REPORTS
from train.score.calibration import Judged, calibration_tables, judged_by
from train.score.ensemble import ENSEMBLE, Ensemble, read_ensemble
from train.score.markdown import markdown
from train.score.metrics import class_metrics, recording_metrics
from train.score.out_of_fold import OutOfFold, held_windows, read_out_of_fold
from train.score.parameters import parameter_table
from train.score.tables import EXAM, WINDOWS, Windows, blend_table, member_table, postprocessing_table, read_windows


def main() -> None:
    """Write reports/metrics.json, tables of classes, confusions, members and their parameters."""
    params = parameters.load()
    labels, names = read_labels(), list(params.members)
    ensemble = read_ensemble(ENSEMBLE_FILE)
    predicted = read_out_of_fold(names, params.folds.train, params.members[names[0]].view, labels)
    held = predicted.held
    predicted = predicted.with_ensemble(ensemble)
    windows = read_windows(labels, ensemble)
    report_tables.PER_CLASS.write(class_table(predicted), "%.4f")
    report_tables.CONFUSIONS.write(confusion_table(predicted, ensemble.labels, params.evaluate.top_confusions))
    write_table("members", member_table(predicted, held, windows, ensemble))
    write_table("blends", blend_table(predicted, held, windows, ensemble))
    write_table("postprocessing", postprocessing_table(windows, ensemble, params.predict))
    write_table("window_classes", window_class_table(windows, ensemble.labels))
    write_table("parameters", parameter_table([read_member(name) for name in names]))
    metrics: dict[str, Any] = {"out_of_fold": score_out_of_fold(predicted, params.evaluate)}
    for data in windows.measured:
        metrics[data] = {name: windows.metrics(scores_NK, data) for name, scores_NK in windows.scores.items()}
    judged = judged_by(ensemble.blend, held, held_windows(windows.clips, labels, ensemble.folds))
    for data, errors in write_calibration(judged, ensemble).items():
        metrics[data][ENSEMBLE] |= errors
    write_text(REPORTS / "metrics.json", json.dumps(metrics, indent=2) + "\n")
    print_summary(metrics)
    print((EVALUATION / "members.md").read_text())
    if remark := held.remark(ensemble.blend):
        print(remark)


def write_calibration(judged: Mapping[FittedOn, Judged], ensemble: Ensemble) -> dict[str, dict[str, float]]:
    """Write what calibration does to recordings and windows; the ensemble's expected errors before it and after it."""
    kinds, bins = calibration_tables(judged, ensemble.calibration, ensemble.fitted_on)
    report_tables.RELIABILITY.write(bins, "%.4f")
    write_table("calibration", kinds)
    which = {"expected_error": kinds["used"] == "yes", "uncalibrated_error": kinds["calibration"] == "none"}
    found = {name: kinds[each].set_index("data")["expected_error"] for name, each in which.items()}
    names = {"recordings": "out_of_fold", WINDOWS: WINDOWS}
    return {names[data]: {name: float(error[data]) for name, error in found.items()} for data in judged}


def write_table(name: str, table: pd.DataFrame) -> None:
    """Write a table for programs and for people."""
    write_csv(table, EVALUATION / f"{name}.csv", "%.4f")
    write_text(EVALUATION / f"{name}.md", markdown(table))


def score_out_of_fold(predicted: OutOfFold, evaluate: EvaluateParams) -> dict[str, dict[str, float]]:
    """Metrics per recording of every member and the ensemble; `rare_ap` is the mean AP of the rare classes, if any."""
    examples = predicted.examples
    rare_K = predicted.recordings < evaluate.rare_below
    result = {}
    for name, scores_NK in predicted.scores.items():
        result[name] = recording_metrics(examples.primary, examples.unjudged, scores_NK)
        rare_ap = class_metrics(predicted.truth, scores_NK, ~examples.unjudged)[1][rare_K]
        if np.isfinite(rare_ap).any():
            result[name]["rare_ap"] = float(np.nanmean(rare_ap))
    return result


def class_table(predicted: OutOfFold) -> pd.DataFrame:
    """The ensemble's average precision and ROC-AUC of each class that can be scored, best first."""
    table = tables.LABELS.read(Col.LABEL, Col.COMMON_NAME, Col.RECORDINGS)
    auc_K, precision_K, _ = class_metrics(predicted.truth, predicted.scores[ENSEMBLE], ~predicted.examples.unjudged)
    table = table.assign(average_precision=precision_K, roc_auc=auc_K)
    return table.dropna(subset=[Col.AVERAGE_PRECISION]).sort_values(Col.AVERAGE_PRECISION, ascending=False)


def window_class_table(windows: Windows, labels: list[str]) -> pd.DataFrame:
    """The ensemble's figures of each class on windows with a truth, and in how many of these it is heard."""
    rows: list[tuple[object, ...]] = []
    for data in windows.measured:
        truth = windows.truths[data]
        sings_NK, scores_NK = truth.sings[truth.known], windows.scores[ENSEMBLE][truth.known]
        auc_K, precision_K, _ = class_metrics(sings_NK, scores_NK, np.ones_like(sings_NK))
        rows += zip([data] * len(labels), labels, sings_NK.sum(axis=0), precision_K, auc_K, strict=True)
    return pd.DataFrame(rows, columns=["data", Col.LABEL, "windows", Col.AVERAGE_PRECISION, Col.ROC_AUC])


def confusion_table(predicted: OutOfFold, labels: list[str], most: int) -> pd.DataFrame:
    """The ensemble's most frequent mistakes: label, predicted label, recordings."""
    guess_N = predicted.scores[ENSEMBLE].argmax(axis=1)
    wrong = guess_N != predicted.examples.primary
    names = np.array(labels, dtype=object)
    pairs = pd.DataFrame({Col.LABEL: names[predicted.examples.primary[wrong]], Col.PREDICTED: names[guess_N[wrong]]})
    counted = pairs.value_counts().rename(Col.RECORDINGS).reset_index()
    counted = counted.sort_values([Col.RECORDINGS, Col.LABEL, Col.PREDICTED], ascending=[False, True, True]).head(most)
    return counted.assign(confusion=counted[Col.LABEL].astype(str) + " -> " + counted[Col.PREDICTED].astype(str))


def print_summary(metrics: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
    """A short table: one line per member and for the ensemble."""
    shown = ([WINDOWS] if WINDOWS in metrics else []) + [EXAM]
    heads = "".join(f"   {data + ':':>12} {'AUC':>7}{'cmAP':>8}" for data in shown)
    print(f"{'':<14}{'accuracy':>10}{'macro AUC':>11}{'cmAP':>8}{'macro F1':>10}{heads}")
    for name, values in metrics["out_of_fold"].items():
        tail = "".join(_tail(metrics.get(data, {}).get(name)) for data in shown)
        print(
            f"{name:<14}{values['accuracy']:>10.3f}{values['macro_roc_auc']:>11.4f}{values['cmap']:>8.3f}"
            f"{values['macro_f1']:>10.3f}{tail}"
        )


def _tail(windows: Mapping[str, float] | None) -> str:
    return f"{windows['macro_roc_auc']:>23.4f}{windows['cmap']:>8.3f}" if windows else f"{'no truth':>23}"


if __name__ == "__main__":
    run_stage(main)
