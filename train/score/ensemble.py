"""The file data/ensemble.json: the way from scores of members' clips to final scores.

P member, W window, K class.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from birdcache.arrays import Floats32
from birdcache.files import write_text
from birdcache.params.sections import CalibrationKind, FittedOn
from birdcache.predict.calibrator import Calibrator
from birdcache.predict.postprocess import Cutting, PostProcessing, by_soundscape
from train.paths import read_json
from train.score.blend import Blend, Kind, known_by

ENSEMBLE = "ensemble"  # its name beside those of the members


class Ensemble(BaseModel):
    """Members with their weights, learnt on all out-of-fold predictions, and all that is done to their scores.

    `thresholds` are per label, of blended and calibrated scores before the file's maximum.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    version: Literal[1] = 1
    labels: list[str]
    members: dict[str, float]
    only: dict[str, list[str]] = {}  # labels that members of some classes are for
    folds: list[int]
    kind: Kind
    best: int
    window_s: float
    hop_s: float
    shifts_s: list[float]
    calibration: CalibrationKind = "none"
    fitted_on: FittedOn = "recordings"  # calibration and thresholds
    slopes: list[float] = []  # of the calibrator: per label, or none
    offsets: list[float] = []
    smoothing: float | list[float] | list[list[float]]  # of all labels, or the taps of each
    file_max: float
    top_k: int = 1
    thresholds: list[float]
    fold_soup: Literal[False] = Field(default=False, exclude=True)  # older files have this key

    @property
    def blend(self) -> Blend:
        """The blend of the members."""
        return Blend(self.kind, self.best, tuple(self.members.values()), known_by(self.members, self.only, self.labels))

    @property
    def cutting(self) -> Cutting:
        """The clips that are scored."""
        return Cutting(self.window_s, self.hop_s, tuple(self.shifts_s))

    @property
    def post(self) -> PostProcessing:
        """The post-processing of a soundscape's windows."""
        return PostProcessing(self.smoothing, self.file_max, Calibrator(self.slopes, self.offsets), self.top_k)

    def final(self, members_PWK: Floats32, windows: Sequence[int]) -> Floats32:
        """Final scores of the windows of several soundscapes, `windows` of each: (W, K)."""
        blended_WK = self.blend(members_PWK, np.array(list(self.members.values())))
        return by_soundscape(self.post, blended_WK, windows)

    def called_above(self) -> Floats32:
        """The final score from which on each class counts as detected: (K,)."""
        return self.post.thresholds(np.array(self.thresholds, np.float32))


def write_ensemble(path: Path, ensemble: Ensemble) -> None:
    """Write the file."""
    write_text(path, ensemble.model_dump_json(indent=2) + "\n")


def read_ensemble(path: Path) -> Ensemble:
    """Read the file; errors as of `read_json`."""
    return read_json(Ensemble, path, "run `dvc repro submit`", "write it again with `dvc repro -f submit`")
