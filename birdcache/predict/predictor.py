"""What predicts: trained models of a project, or a bundle. P member, W window, K class, E feature."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from birdcache.arrays import Floats32
from birdcache.audio.rejected import RejectedAudio
from birdcache.storage import AnyPath

Advance = Callable[[float], None]  # told which further share of a file is done


@dataclass(frozen=True)
class FileScores:
    """What members say of the windows of one file.

    Attributes
    ----------
    members
        (P, W, K); a bundle has blended them already, P = 1.
    embedding
        (W, E) features of the clip nearest to each window's middle, if they were asked for.
    """

    duration_s: float
    members: Floats32
    embedding: Floats32 | None = None


@dataclass(frozen=True)
class Facts:
    """What is known of the scores before any file is looked at.

    Attributes
    ----------
    digest
        Of everything that decides the scores of a file: the same digest and the same file give the same scores.
    said
        Lines that tell where all this comes from.
    submission_labels
        Columns of a submission.
    low_hz, high_hz
        The band that the models hear.
    names
        Common names of the labels that have one.
    jointly
        Whether the windows of all files are blended at once.
    """

    digest: str
    said: Sequence[str]
    labels: Sequence[str]
    submission_labels: Sequence[str]
    window_s: float
    low_hz: float
    high_hz: float
    names: Mapping[str, str] = field(default_factory=dict)
    jointly: bool = False


class Predictor(Protocol):
    """Trained models or a bundle."""

    @property
    def facts(self) -> Facts:
        """What is known before any file is looked at."""

    def score(self, path: AnyPath, embed: bool, room: Path, advance: Advance, silence: bool = False) -> FileScores:
        """Score a file's windows.

        Parameters
        ----------
        embed : whether features are wanted too.
        room : a folder on a disk, for what is too large for memory.
        silence : whether a silent recording is accepted.

        Raises
        ------
        Refusal
            If the file cannot be read.
        """

    def final(self, members_PWK: Floats32, windows: Sequence[int]) -> Floats32:
        """Final scores, (W, K), of the windows of several files, `windows` of each."""

    def called_above(self) -> Floats32:
        """From which final score on each class counts as detected: (K,)."""


def score_all_the_same(
    predictor: Predictor, path: AnyPath, embed: bool, room: Path, advance: Advance
) -> tuple[FileScores, bool]:
    """Score a file's windows, and tell whether it is silent: silence has its scores too, as in a submission.

    Raises
    ------
    Refusal
        If the file cannot be read.
    """
    try:
        return predictor.score(path, embed, room, advance), False
    except RejectedAudio as rejected:
        if rejected.code != "silent":
            raise
    return predictor.score(path, embed, room, lambda _: None, silence=True), True
