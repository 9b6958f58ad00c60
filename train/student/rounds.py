"""The rounds of the noisy student: where each lies, who is its teacher, and whether that teacher has gained enough."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from birdcache.errors import TrainError
from birdcache.params.load import Params
from birdcache.params.student import START, StudentRound
from birdcache.params.views import each_of
from cache.store import Store
from train.data.examples import read_labels
from train.model.classifier import choose_device
from train.paths import STUDENT, store_path
from train.predict import Opened, Soundscape, read_soundscapes
from train.score.metrics import Bools
from train.student.models import Judge, Metrics, RoundModels

TEACHER = "teacher.json"


@dataclass(frozen=True)
class TeacherReport:
    """How good a round's teacher is, and how much better than its own teacher; None for the first one."""

    teacher: str
    metrics: Metrics
    gain: float | None

    def write(self, folder: Path) -> None:
        """Write `teacher.json`."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / TEACHER).write_text(json.dumps(asdict(self), indent=2) + "\n")


def read_teacher_report(name: str) -> TeacherReport:
    """Read a round's `teacher.json`.

    Raises
    ------
    TrainError
        If it is missing.
    """
    path = STUDENT / name / TEACHER
    try:
        return TeacherReport(**json.loads(path.read_bytes()))
    except FileNotFoundError:
        raise TrainError(f"{path}: is missing; run `dvc repro student/dvc.yaml`") from None


def round_of(name: str, rounds: Mapping[str, StudentRound]) -> StudentRound:
    """A round by its name.

    Raises
    ------
    TrainError
        If there is none of this name.
    """
    if name not in rounds:
        raise TrainError(f"{name!r}: student.rounds names no such round; choose one of: {', '.join(rounds)}")
    return rounds[name]


def models_of(name: str, params: Params) -> RoundModels:
    """The models of a round, or those before the first one."""
    return RoundModels(STUDENT / name, tuple(params.student.members), tuple(params.folds.train))


def open_judge(params: Params, models: RoundModels) -> Judge:
    """Open the soundscapes that all views of the models hold; the others are named.

    Raises
    ------
    TrainError
        If there are none at all.
    """
    opened = Opened(params.machine, choose_device(params.machine.device))
    soundscapes = held(read_soundscapes(), models)
    if not soundscapes:
        raise TrainError("data/soundscapes.csv: holds no soundscape to learn from; name their folder: data.soundscapes")
    return Judge(read_labels(), soundscapes, opened, params.predict.window_s, params.student.batch_size)


def held(soundscapes: list[Soundscape], models: RoundModels) -> list[Soundscape]:
    """The soundscapes that could be decoded for all views of the models."""
    audio = [soundscape.sha256 for soundscape in soundscapes]
    views = {
        name: view
        for sidecar in models.sidecars
        for name, view in zip(sidecar.member.member.views, each_of(sidecar.member.view), strict=True)
    }
    rows = [Store(store_path(name, soundscapes=True), view).rows_of(audio) for name, view in sorted(views.items())]
    kept: Bools = np.all(np.array(rows, np.int64).reshape(len(rows), len(audio)) >= 0, axis=0)
    for soundscape in (each for each, keep in zip(soundscapes, kept, strict=True) if not keep):
        print(f"warning: {soundscape.name} could not be decoded and is left out; see reports/spectrograms/")
    return [soundscape for soundscape, keep in zip(soundscapes, kept, strict=True) if keep]


def judged(each: StudentRound, metrics: Metrics, gain_in: str) -> TeacherReport:
    """What a round's teacher is worth, beside its own teacher."""
    if each.teacher == START:
        return TeacherReport(each.teacher, metrics, None)
    before = read_teacher_report(each.teacher).metrics
    return TeacherReport(each.teacher, metrics, auc(metrics, gain_in) - auc(before, gain_in))


def auc(metrics: Metrics, gain_in: str) -> float:
    """Macro ROC-AUC that gains are measured in; NaN where it cannot be measured."""
    return metrics.get(gain_in, {}).get("macro_roc_auc", float("nan"))


def check_measurable(metrics: Metrics, gain_in: str) -> None:
    """Refuse to measure gains where there is no truth.

    Raises
    ------
    TrainError
        If they cannot be measured.
    """
    if not np.isfinite(auc(metrics, gain_in)):
        other = "out_of_fold" if gain_in == "soundscapes" else "soundscapes"
        raise TrainError(
            f"params.yaml: student.gain_in = {gain_in!r}: there is no truth with positives and negatives of a class "
            f"to measure a gain by; set it to {other}, or student.least_gain: null"
        )


def reason_to_stop(report: TeacherReport, least_gain: float | None, gain_in: str) -> str:
    """Why a round trains nothing; empty if it trains."""
    if report.gain is None or least_gain is None or report.gain > least_gain:
        return ""
    return (
        f"{report.teacher} gained {report.gain:+.4f} macro ROC-AUC ({gain_in}) over its teacher, not more than "
        f"student.least_gain = {least_gain:g}: this round trains nothing and passes {report.teacher} on"
    )
