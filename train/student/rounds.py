"""The rounds of the noisy student: their models and metrics, their teachers, and whether a teacher gained enough.

N clip or window, K class.
"""

import json
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np

from birdcache.arrays import Floats32
from birdcache.errors import TrainError
from birdcache.files import file_sha256, write_text
from birdcache.params.model import Params
from birdcache.params.student import START, StudentRound
from birdcache.predict.clip_scores import window_ids
from birdcache.predict.postprocess import Cutting, windows_in
from birdcache.progress import Progress
from cache import tables
from train.data.examples import read_labels
from train.model.classifier import choose_device
from train.model.weight_source import SIDECAR
from train.model.weights import Sidecar, read_sidecar
from train.paths import STUDENT
from train.score.metrics import recording_metrics, window_metrics
from train.score.out_of_fold import OutOfFold, read_out_of_fold
from train.score.soundscapes import ScoringTask, SoundscapeAudio, SoundscapeStores, held_by_all_views, score_folder
from train.score.truth import WindowTruth, held_out, labelled_soundscapes, read_held_out, read_truth
from train.student.pseudo_labels import AGAIN

Metrics = dict[str, dict[str, float]]
TEACHER = "teacher.json"


@dataclass(frozen=True)
class RoundModels:
    """The models of some members and folds, below one folder."""

    folder: Path
    members: tuple[str, ...]
    folds: tuple[int, ...]

    @property
    def folders(self) -> list[Path]:
        """The folder of each model."""
        return [self.folder / member / str(fold) for member in self.members for fold in self.folds]

    @property
    def sidecars(self) -> list[Sidecar]:
        """The sidecar of each model."""
        return [read_sidecar(folder) for folder in self.folders]

    @property
    def digests(self) -> dict[str, str]:
        """Folder of each model -> digest of its sidecar, which names those of its weights."""
        return {folder.as_posix(): file_sha256(folder / SIDECAR) for folder in self.folders}

    def each_score(self, task: ScoringTask, opened: SoundscapeStores, what: str) -> dict[Path, Floats32]:
        """Folder of each model -> its scores of the clips of all soundscapes: (N, K)."""
        with Progress(len(self.folders) * len(task.soundscapes), what, "soundscapes") as progress:
            return {folder: score_folder(folder, task, opened, progress)[0] for folder in self.folders}

    def scores(self, task: ScoringTask, opened: SoundscapeStores, what: str) -> Floats32:
        """Mean scores of the clips of all soundscapes: (N, K)."""
        return np.asarray(np.mean([*self.each_score(task, opened, what).values()], axis=0), np.float32)

    def teachers_of(self, each: StudentRound) -> dict[str, "RoundModels"]:
        """The models that teach each student, `<member>-<fold>`, in a round; nobody teaches those that are missing."""
        taught = {name: tuple(by) for name in self.members if (by := each.taught_by.get(name, self.members))}
        folds = {fold: (fold,) if each.folds == "own" else self.folds for fold in self.folds}
        pairs = product(taught, folds)
        return {f"{name}-{fold}": replace(self, members=taught[name], folds=folds[fold]) for name, fold in pairs}

    def out_of_fold(self, labels: list[str]) -> OutOfFold:
        """What each member says of recordings that the models have not been trained on."""
        return read_out_of_fold(self.members, self.folds, self.sidecars[0].member.member.view, labels, self.folder)


@dataclass(frozen=True)
class Evaluator:
    """Measures models out of fold, on recordings and windows, and on the soundscapes that have a truth."""

    labels: list[str]
    soundscapes: Sequence[SoundscapeAudio]
    opened: SoundscapeStores
    window_s: float
    batch_size: int

    def metrics(self, models: RoundModels) -> Metrics:
        """Metrics `out_of_fold`, and, as far as there is a truth, of windows one after another, as they are.

        Those of `soundscapes` by all folds, and `windows` of soundscapes that a fold holds out by that fold.
        """
        folds, fold_of = models.folds, held_out(models.folds)
        by_fold = [((fold,), {name for name, of in fold_of.items() if of == fold}) for fold in folds]
        read = partial(read_held_out, window_s=self.window_s, folds=folds)
        predicted = models.out_of_fold(self.labels)
        mean_NK = np.mean(list(predicted.scores.values()), axis=0)
        found = {"out_of_fold": recording_metrics(predicted.examples.primary, predicted.examples.unjudged, mean_NK)}
        found |= self._of_windows("windows", models, by_fold, read)
        return found | self._of_windows("soundscapes", models, [(folds, labelled_soundscapes())], read_truth)

    def _of_windows(
        self,
        data: str,
        models: RoundModels,
        shares: Iterable[tuple[tuple[int, ...], Container[str]]],
        truth_of: Callable[[list[str], list[str]], WindowTruth],
    ) -> Metrics:
        """Metrics of the soundscapes named in each share, by the folds of the share; none without a soundscape."""
        row_ids, scores = list[str](), []
        for folds, names in shares:
            if chosen := [each for each in self.soundscapes if each.name in names]:
                task = ScoringTask(chosen, self.labels, Cutting(self.window_s, self.window_s), self.batch_size)
                scores.append(replace(models, folds=folds).scores(task, self.opened, f"scoring {models.folder}"))
                windows = [(each.name, windows_in(each.duration_s, self.window_s)) for each in chosen]
                row_ids += [row_id for each in windows for row_id in window_ids(*each, self.window_s)]
        if not row_ids:
            return {}
        truth = truth_of(row_ids, self.labels)
        return {data: window_metrics(truth.sings[truth.known], np.concatenate(scores)[truth.known])}


@dataclass(frozen=True)
class TeacherReport:
    """Metrics of a round's teacher, and its gain over its own teacher; None for the first one."""

    teacher: str
    metrics: Metrics
    gain: float | None

    def write(self, folder: Path) -> None:
        """Write `teacher.json`."""
        write_text(folder / TEACHER, json.dumps(asdict(self), indent=2) + "\n")


def read_teacher_report(name: str) -> TeacherReport:
    """Read a round's `teacher.json`; a TrainError if it is missing."""
    path = STUDENT / name / TEACHER
    try:
        return TeacherReport(**json.loads(path.read_bytes()))
    except FileNotFoundError:
        raise TrainError(f"{path}: is missing; {AGAIN}") from None


def models_of(name: str, params: Params) -> RoundModels:
    """The models of a round, or those before the first one."""
    return RoundModels(STUDENT / name, tuple(params.student.members), tuple(params.folds.train))


def open_evaluator(params: Params, models: RoundModels) -> Evaluator:
    """Open the soundscapes that all views of the models hold; the others are named.

    A TrainError if there are none at all.
    """
    opened = SoundscapeStores(params.machine, choose_device(params.machine.device))
    soundscapes = held_by_all_views(models.sidecars)
    if not soundscapes:
        listed = tables.SOUNDSCAPES.path
        raise TrainError(f"{listed}: holds no soundscape to learn from; set data.soundscapes to a folder of them")
    return Evaluator(read_labels(), soundscapes, opened, params.predict.window_s, params.student.batch_size)


def teacher_report(each: StudentRound, metrics: Metrics, gain_in: str) -> TeacherReport:
    """Compare a round's teacher with its own teacher."""
    if each.teacher == START:
        return TeacherReport(each.teacher, metrics, None)
    before = read_teacher_report(each.teacher).metrics
    return TeacherReport(each.teacher, metrics, auc(metrics, gain_in) - auc(before, gain_in))


def auc(metrics: Metrics, gain_in: str) -> float:
    """Macro ROC-AUC that gains are measured in; NaN where it cannot be measured."""
    return metrics.get(gain_in, {}).get("macro_roc_auc", float("nan"))


def reason_to_stop(report: TeacherReport, least_gain: float | None, gain_in: str) -> str:
    """The reason for which a round trains nothing; empty if it trains.

    A TrainError if there has to be a gain, and the truth does not allow to measure it.
    """
    if least_gain is None:
        return ""
    if not np.isfinite(auc(report.metrics, gain_in)):
        other = "soundscapes" if gain_in == "out_of_fold" else "out_of_fold"
        raise TrainError(
            f"params.yaml: student.gain_in = {gain_in!r}: no class has both positives and negatives in the truth "
            f"to measure a gain; set it to {other}, or student.least_gain: null"
        )
    if report.gain is None or report.gain > least_gain:
        return ""
    return (
        f"{report.teacher} gained {report.gain:+.4f} macro ROC-AUC ({gain_in}) over its teacher, not more than "
        f"student.least_gain = {least_gain:g}: this round trains nothing and passes {report.teacher} on"
    )
