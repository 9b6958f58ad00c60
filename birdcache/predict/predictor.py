"""The interface of predictors: trained models of a project, or a bundle. P member, W window, K class, E feature."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from birdcache.arrays import Floats32
from birdcache.audio.notes import Note
from birdcache.audio.rejected import RejectedAudio, costing_one_file
from birdcache.errors import BirdcacheError
from birdcache.predict.submission import SubmissionForm
from birdcache.storage import AnyPath

Advance = Callable[[float], None]  # called with the further share of a file that is done


@dataclass(frozen=True)
class FileScores:
    """Members' scores of the windows of one file."""

    duration_s: float
    members: Floats32  # (P, W, K); a bundle has blended them already, P = 1
    notes: tuple[Note, ...] = ()  # what is odd about the file, and harmless


@dataclass(frozen=True)
class Facts:
    """Facts of the scores that are known before any file is read."""

    # of everything that decides the scores of a file: the same digest and the same file give the same scores
    digest: str
    summary: Sequence[str]  # lines for the user: models, members, device
    labels: Sequence[str]
    submission: SubmissionForm  # of the data that the models were trained on
    window_s: float
    low_hz: float  # low_hz and high_hz: the band that the models hear
    high_hz: float
    names: Mapping[str, str] = field(default_factory=dict)  # common names of the labels that have one
    jointly: bool = False  # whether the windows of all files are blended at once


class Predictor(Protocol):
    """Trained models or a bundle."""

    @property
    def facts(self) -> Facts:
        """Facts that are known before any file is read."""

    def score(self, path: AnyPath, scratch: Path, advance: Advance, silence: bool = False) -> FileScores:
        """Score a file's windows; RejectedAudio if it cannot be read.

        Parameters
        ----------
        scratch : a folder on a disk, for what is too large for memory.
        silence : whether a silent recording is accepted.
        """

    def final(self, members_PWK: Floats32, windows: Sequence[int]) -> Floats32:
        """Final scores, (W, K), of the windows of several files, `windows` of each."""

    def called_above(self) -> Floats32:
        """From which final score on each class counts as detected: (K,)."""


def score_all_the_same(predictor: Predictor, path: AnyPath, scratch: Path, advance: Advance) -> tuple[FileScores, bool]:
    """Scores of a file's windows, and whether it is silent: silence is scored too, as in a submission.

    A RejectedAudio if the file cannot be read, the model gives no scores for it, or anything else happens over it that
    nobody foresaw; the hint suits a file that belongs to no data set. An OSError if the disk fails, which is not the
    file's fault.
    """
    try:
        with costing_one_file(str(path)):
            try:
                return predictor.score(path, scratch, advance), False
            except RejectedAudio as rejected:
                if rejected.code != "silent":
                    raise
            return predictor.score(path, scratch, lambda _: None, silence=True), True
    except RejectedAudio as rejected:
        raise rejected.alone() from rejected
    except BirdcacheError as error:  # of the model
        detail, _, hint = str(error).rpartition("; ")
        raise RejectedAudio("no-scores", detail or hint, hint if detail else "", str(path)) from error
