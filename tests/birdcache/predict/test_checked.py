"""Scores are numbers from 0 to 1, whoever gives them: otherwise the model and the place are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from birdcache.errors import TrainError
from birdcache.npz import write_npz
from birdcache.predict.checked import FEATURE, check_scores, clip_of, window_of
from birdcache.predict.clip_scores import ClipScores, read_clip_scores
from birdcache.predict.postprocess import Cutting
from train.score.predictions import read_predictions, write_predictions

NAMES = ["a", "b", "c"]


def test_scores_from_0_to_1_pass_with_what_rounding_adds() -> None:
    check_scores(np.array([[0.0, 1.0, 1 + 1e-6]], np.float32), "m", NAMES.__getitem__)
    check_scores(np.empty((0, 3), np.float32), "m", NAMES.__getitem__)
    check_scores(np.array([[-1e6, 1e6]], np.float32), "m", NAMES.__getitem__, bounds=FEATURE)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 7.5, -3.0])
def test_any_other_number_names_model_and_recording(value: float) -> None:
    scores = np.full((2, 3, 4), 0.5, np.float32)
    scores[1, 2, 3] = value
    with pytest.raises(TrainError, match=rf"^models/base/0: gives {value:g} instead of a score from 0 to 1 for c;"):
        check_scores(scores, "models/base/0", NAMES.__getitem__, axis=1)
    scores[0, 1, 0] = value
    with pytest.raises(TrainError, match=r"for b and 1 more; the model is broken"):
        check_scores(scores, "models/base/0", NAMES.__getitem__, axis=1)


def test_a_feature_may_be_any_number_but_must_be_one() -> None:
    with pytest.raises(TrainError, match=r"gives inf instead of a number for a"):
        check_scores(np.array([[np.inf]], np.float32), "m", NAMES.__getitem__, bounds=FEATURE)


def test_windows_and_clips_are_named_by_recording_and_time() -> None:
    window = window_of(["dawn", "dusk"], [3, 2], 5.0)
    assert [window(number) for number in (0, 2, 3)] == ["dawn, 0 to 5 s", "dawn, 10 to 15 s", "dusk, 0 to 5 s"]
    assert clip_of(["dawn"], np.array([2.5]))(0) == "dawn, the clip around 2.5 s"


def test_clip_scores_that_are_no_numbers_are_refused_when_they_are_read(tmp_path: Path) -> None:
    scores = np.zeros((2, 1, 3, 2), np.float32)
    scores[1, 0, 2, 0] = np.nan
    ClipScores.of(["one", "two"], [("dawn", 5.0), ("dusk", 10.0)], scores, Cutting(5.0, 5.0)).write(tmp_path / "s.npz")
    with pytest.raises(TrainError, match=r"s.npz: member two: gives nan .* for dusk, the clip around 7.5 s;"):
        read_clip_scores(tmp_path / "s.npz")


def test_clip_scores_of_arrays_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    clips = ClipScores.of(["one"], [("dawn", 5.0)], np.zeros((1, 1, 1, 2), np.float32), Cutting(5.0, 5.0))
    write_npz(tmp_path / "s.npz", {**vars(clips), "clips": np.array([2])})
    with pytest.raises(TrainError, match=r"s.npz: its arrays do not belong together; run `dvc repro -f predict`"):
        read_clip_scores(tmp_path / "s.npz")


def test_predictions_that_are_no_numbers_are_neither_written_nor_read(tmp_path: Path) -> None:
    scores = np.array([[0.1], [np.nan]], np.float32)
    with pytest.raises(TrainError, match=r"gives nan instead of a score from 0 to 1 for b"):
        write_predictions(tmp_path, ["a", "b"], scores)
    assert not list(tmp_path.iterdir())
    write_npz(tmp_path / "predictions.npz", {"recording": np.array(["a", "b"]), "scores": scores})
    with pytest.raises(TrainError, match=r"gives nan instead of a score from 0 to 1 for b"):
        read_predictions(tmp_path, "again")
    write_npz(tmp_path / "predictions.npz", {"recording": np.array(["a"]), "scores": scores})
    with pytest.raises(TrainError, match=r"predictions.npz: has 2 rows for 1 recordings; again"):
        read_predictions(tmp_path, "again")
