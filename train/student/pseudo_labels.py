"""Teachers' scores of clips of soundscapes, and of recordings, as labels: file `data/student/<round>/labels.npz`.

G group of teachers, N clip, R recording, K class.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np

from birdcache.arrays import Floats32, Floats64
from birdcache.errors import TrainError
from birdcache.npz import read_npz, write_npz
from birdcache.params.student import StudentRound
from birdcache.predict.checked import check_scores

NAME = "labels.npz"
AGAIN = "run `dvc repro optional/dvc.yaml:student_report`"
LISTS = ("labels", "soundscape", "sha256", "recording")  # of texts
KINDS = {
    **dict.fromkeys(LISTS, "U1"),
    **dict.fromkeys(("scores", "softened"), "f3"),
    **{"middle_s": "f1", "confidence": "f2", "stopped": "U0", "teacher": "U2", "students": "U2"},
}


@dataclass(frozen=True)
class PseudoLabels:
    """Labelled clips with confidences; or none, and the reason."""

    labels: tuple[str, ...]  # (K,)
    soundscape: tuple[str, ...]  # (N,)
    sha256: tuple[str, ...]  # (N,) of their audio
    middle_s: Floats64  # (N,) of the clips in their soundscapes
    scores: Floats32  # (G, N, K); without the axis G, here and below, if it is what `of` gives
    confidence: Floats32  # (G, N)
    students: Mapping[str, int]  # <member>-<fold> -> number of its group; those that nobody teaches are missing
    recording: tuple[str, ...]  # (R,) that a fold holds out
    softened: Floats32  # (G, R, K), by models that have not learnt of them
    teacher: Mapping[str, str]  # folder of each model of the teacher -> its digest
    stopped: str = ""  # why the round trains nothing

    def __len__(self) -> int:
        return len(self.soundscape)

    @property
    def mean_confidence(self) -> float:
        """Of the clips that have a label, over all groups; 0 without any."""
        return float(self.confidence[self.confidence > 0].mean()) if len(self) else 0.0

    def of(self, student: str) -> "PseudoLabels":
        """What one student learns: the clips that have a label by its teachers, and recordings."""
        group = self.students[student]
        kept_N = self.confidence[group] > 0
        names, audio = (tuple(compress(each, kept_N)) for each in (self.soundscape, self.sha256))
        arrays = self.middle_s[kept_N], self.scores[group, kept_N], self.confidence[group, kept_N]
        return PseudoLabels(self.labels, names, audio, *arrays, {}, self.recording, self.softened[group], self.teacher)

    def write(self, folder: Path) -> None:
        """Write `labels.npz`, the same bytes for the same labels."""
        texts = {name: np.array(getattr(self, name), str) for name in (*LISTS, "stopped")}
        pairs = {name: sorted(getattr(self, name).items()) for name in ("teacher", "students")}
        tables = {name: np.array(each, str).reshape(-1, 2) for name, each in pairs.items()}
        write_npz(folder / NAME, {**vars(self), **texts, **tables})


def round_of(name: str, rounds: Mapping[str, StudentRound]) -> StudentRound:
    """A round by its name; a TrainError if there is none of this name."""
    if name not in rounds:
        raise TrainError(f"{name!r}: student.rounds names no such round; choose one of: {', '.join(rounds)}")
    return rounds[name]


def read_pseudo_labels(folder: Path) -> PseudoLabels:
    """Read `labels.npz`; a TrainError if it is missing or damaged, or any label is no number from 0 to 1."""
    content = read_npz(folder / NAME, KINDS, f"run `dvc repro -f optional/dvc.yaml:pseudo@{folder.name}`")
    for scores, names in (("scores", "soundscape"), ("softened", "recording")):
        check_scores(content[scores], folder / NAME, content[names].tolist().__getitem__, axis=1)
    texts: dict[str, Any] = {name: tuple(content[name].tolist()) for name in LISTS}
    texts |= {"stopped": str(content["stopped"]), "teacher": dict(content["teacher"].tolist())}
    students = {student: int(group) for student, group in content["students"].tolist()}
    return PseudoLabels(**{**content, **texts, "students": students})
