"""A teacher's scores of clips of soundscapes as labels: file `data/student/<round>/labels.npz`.

N clip, K class.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
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
LISTS = ("labels", "soundscape", "sha256")  # of texts
KINDS = {
    **dict.fromkeys(LISTS, "U1"),
    **dict.fromkeys(("middle_s", "confidence"), "f1"),
    **{"scores": "f2", "stopped": "U0", "teacher": "U2"},
}


@dataclass(frozen=True)
class PseudoLabels:
    """Labelled clips with confidences; or none, the reason, and the models that are passed on."""

    labels: tuple[str, ...]  # (K,)
    soundscape: tuple[str, ...]  # (N,)
    sha256: tuple[str, ...]  # (N,) of their audio
    middle_s: Floats64  # (N,) of the clips in their soundscapes
    scores: Floats32  # (N, K)
    confidence: Floats32  # (N,)
    stopped: str = ""  # why the round trains nothing
    # of a round that trains nothing: folder -> digest of its model
    teacher: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.soundscape)

    def write(self, folder: Path) -> None:
        """Write `labels.npz`, the same bytes for the same labels."""
        texts = {name: np.array(getattr(self, name), str) for name in (*LISTS, "stopped")}
        teacher = np.array(sorted(self.teacher.items()), str).reshape(-1, 2)
        write_npz(folder / NAME, {**vars(self), **texts, "teacher": teacher})


def round_of(name: str, rounds: Mapping[str, StudentRound]) -> StudentRound:
    """A round by its name; a TrainError if there is none of this name."""
    if name not in rounds:
        raise TrainError(f"{name!r}: student.rounds names no such round; choose one of: {', '.join(rounds)}")
    return rounds[name]


def read_pseudo_labels(folder: Path) -> PseudoLabels:
    """Read `labels.npz`; a TrainError if it is missing or damaged, or any label is no number from 0 to 1."""
    content = read_npz(folder / NAME, KINDS, f"run `dvc repro -f optional/dvc.yaml:pseudo@{folder.name}`")
    check_scores(content["scores"], folder / NAME, content["soundscape"].tolist().__getitem__)
    texts: dict[str, Any] = {name: tuple(content[name].tolist()) for name in LISTS}
    texts |= {"stopped": str(content["stopped"]), "teacher": dict(content["teacher"].tolist())}
    return PseudoLabels(**{**content, **texts})


def confidence(labels_NK: Floats32) -> Floats32:
    """Weights by which clips are drawn: the highest label of each, 0 for one without any: (N,)."""
    return np.asarray(labels_NK.max(axis=1, initial=0))
