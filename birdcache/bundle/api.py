"""Bundles in Python: the detections and scores of `birdcache predict`, without files. W window, K class."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from birdcache.arrays import Floats32, Floats64
from birdcache.errors import CommandError
from birdcache.predict.outputs import Scored, Wanted
from birdcache.predict.predictor import Predictor, score_all_the_same

if TYPE_CHECKING:  # only for who asks for it
    import pandas as pd


@dataclass(frozen=True)
class Detection:
    """A window of a recording in which a class reaches its threshold."""

    start_s: float
    end_s: float
    label: str
    score: float
    file: str


class Detections(tuple[Detection, ...]):
    """Detections in order of time, then of score."""

    __slots__ = ()

    def to_pandas(self) -> pd.DataFrame:
        """A table with a row for each detection; needs pandas."""
        try:
            import pandas as pd
        except ImportError:
            raise CommandError("to_pandas() needs pandas, which is not installed: pip install pandas") from None
        return pd.DataFrame(map(asdict, self), columns=[each.name for each in fields(Detection)])


@dataclass(frozen=True)
class Prediction:
    """Everything that a bundle makes of a recording.

    Attributes
    ----------
    scores : (W, K), 0 to 1, of windows that follow each other.
    start_s, end_s : (W,) seconds; the last window ends with the recording.
    labels : the classes, K.
    notes : what is odd about the recording and harmless, such as channels in opposite phase.
    """

    detections: Detections
    scores: Floats32
    start_s: Floats64
    end_s: Floats64
    labels: tuple[str, ...]
    notes: tuple[str, ...] = ()


class LoadedBundle:
    """A bundle in memory. For one thread."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the order of the scores."""
        return tuple(self._predictor.facts.labels)

    @property
    def window_s(self) -> float:
        """Length of a window in seconds."""
        return self._predictor.facts.window_s

    @property
    def thresholds(self) -> dict[str, float]:
        """The score from which on each class counts as detected."""
        return dict(zip(self.labels, self._predictor.called_above().tolist(), strict=True))

    def predict(self, path: str | PathLike[str], threshold: float | None = None) -> Prediction:
        """Score a recording.

        A BirdcacheError if the file cannot be read or decoded (then with the attributes file, detail and hint), or the
        threshold is out of bounds.

        Parameters
        ----------
        path : an Ogg, WAV, FLAC, MP3, AIFF or CAF file of any length.
        threshold : 0 to 1, the lowest score of a detection; None = each class's own.
        """
        if threshold is not None and not 0 <= threshold <= 1:
            raise CommandError(f"threshold = {threshold:g}: must be a number from 0 to 1")
        path, predictor = Path(path), self._predictor
        scores, _ = score_all_the_same(predictor, path, path.parent, lambda _: None)
        final_WK = predictor.final(scores.members, [scores.members.shape[1]])
        found = Wanted.of(predictor, threshold).detections(Scored(path, path, scores.duration_s, final_WK))
        start_s: Floats64 = np.arange(len(final_WK), dtype=np.float64) * self.window_s
        return Prediction(
            Detections(Detection(each.begin_s, each.end_s, each.label, each.score or 0.0, each.path) for each in found),
            final_WK,
            start_s,
            np.minimum(start_s + self.window_s, scores.duration_s, dtype=np.float64),
            self.labels,
            tuple(note.detail for note in scores.notes),
        )
