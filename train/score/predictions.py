"""Out-of-fold predictions of one training: file `predictions.npz` beside its weights. N recording, K class."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from birdcache.arrays import Floats32
from birdcache.errors import TrainError
from birdcache.npz import read_npz, write_npz
from birdcache.predict.checked import check_scores

NAME = "predictions.npz"


def write_predictions(folder: Path, names: Sequence[str], scores_NK: Floats32) -> None:
    """Write the scores of recordings; a TrainError if any is no score."""
    check_scores(scores_NK, folder, names.__getitem__)
    write_npz(folder / NAME, {"recording": np.array(names, str), "scores": scores_NK})


def read_predictions(folder: Path, again: str) -> tuple[list[str], Floats32]:
    """Read the recordings and their scores, (N, K).

    A TrainError if the file is missing, damaged or another one, or any score is none.

    Parameters
    ----------
    again : how the file is made anew, for the error.
    """
    content = read_npz(folder / NAME, {"recording": "U1", "scores": "f2"}, again)
    names: list[str] = content["recording"].tolist()
    if len(names) != len(content["scores"]):
        raise TrainError(f"{folder / NAME}: has {len(content['scores'])} rows for {len(names)} recordings; {again}")
    check_scores(content["scores"], folder, names.__getitem__)
    return names, content["scores"]
