"""Stage `student_report`: every round of the noisy student beside the models that it began with."""

from collections.abc import Mapping, Sequence

import pandas as pd

from birdcache.errors import TrainError, run_stage
from birdcache.files import write_text
from birdcache.params import load as parameters
from birdcache.params.student import START, StudentRound
from cache.csv_files import write_csv
from train.paths import REPORTS, STUDENT
from train.score.markdown import markdown
from train.student.pseudo_labels import PseudoLabels, read_pseudo_labels
from train.student.rounds import Metrics, models_of, open_evaluator, read_teacher_report

DATA = {"windows": "windows", "soundscapes": "soundscapes", "out_of_fold": "out of fold"}
METRICS = {"macro_roc_auc": "macro ROC-AUC", "cmap": "cmAP"}
SHOWN = {f"{where}_{key}": f"{data}: {name}" for where, data in DATA.items() for key, name in METRICS.items()}

LEGEND = """\
Windows of held-out soundscapes and of the exam: one clip each, without post-processing. Members (and folds,
in the exam) are averaged; in brackets the gain."""


def main() -> None:
    """Write reports/student.md and student.csv; a TrainError if there is no round."""
    params = parameters.load()
    rounds = params.student.rounds
    if not len(rounds):
        raise TrainError("params.yaml: student.rounds holds no round; add one, as `birdcache init --demo` shows")
    evaluator = open_evaluator(params, models_of(START, params))
    known = {rounds[name].teacher: read_teacher_report(name).metrics for name in rounds}
    every = {name: known.get(name) or evaluator.metrics(models_of(name, params)) for name in (START, *rounds)}
    labels = {name: read_pseudo_labels(STUDENT / name) for name in rounds}
    table = round_table(every, rounds, labels)
    write_csv(table, REPORTS / "student.csv", "%.4f")
    stopped = [f"{name}: {each.stopped}" for name, each in labels.items() if each.stopped]
    text = report_text(table, stopped)
    write_text(REPORTS / "student.md", text)
    print(text)


def round_table(
    every: Mapping[str, Metrics], rounds: Mapping[str, StudentRound], labels: Mapping[str, PseudoLabels]
) -> pd.DataFrame:
    """One row per round: its teacher, what was labelled, and the metrics of its models."""
    return pd.DataFrame(
        {
            "round": name,
            "teacher": rounds[name].teacher if name in rounds else "",
            "clips": len(labels[name]) if name in labels else 0,
            "mean_confidence": labels[name].mean_confidence if name in labels else 0.0,
        }
        | {f"{where}_{metric}": value for where, found in metrics.items() for metric, value in found.items()}
        for name, metrics in every.items()
    )


def report_text(table: pd.DataFrame, stopped: Sequence[str]) -> str:
    """The table as Markdown, with the gain over the start in brackets, and what was stopped."""
    shown = pd.DataFrame(_row(row, table.iloc[0]) for _, row in table.iterrows())
    return "\n".join(["# Noisy student", "", markdown(shown), LEGEND, *("", *stopped) * bool(stopped), ""])


def _row(row: pd.Series, first: pd.Series) -> dict[str, str]:
    gains = {
        name: "" if row["round"] == START else f" ({row[name] - first[name]:+.3f})" for name in SHOWN if name in row
    }
    return {
        "round": str(row["round"]),
        "taught by": str(row["teacher"]) or "-",
        "clips labelled": f"{row['clips']:,}",
        "mean confidence": f"{row['mean_confidence']:.3f}",
        **{SHOWN[name]: f"{row[name]:.3f}{gain}" for name, gain in gains.items()},
    }


if __name__ == "__main__":
    run_stage(main)
