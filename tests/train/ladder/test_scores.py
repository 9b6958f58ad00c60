"""What a run of the ladder is measured by, against values worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from birdcache.arrays import Bools, Floats32
from birdcache.errors import TrainError
from train.data.examples import Examples
from train.ladder.scores import (
    SIDES,
    FoldScores,
    ScoredRecordings,
    blended,
    concatenated,
    measured,
    read_fold,
    write_fold,
)

NO_RARE = np.zeros(3, bool)
NOBODY = np.zeros((0, 3), bool), np.zeros((0, 3), np.float32)


def scored(
    names: str, primary: list[int], guesses: list[int], secondary: Sequence[tuple[int, int]] = ()
) -> ScoredRecordings:
    """Recordings of three classes, each sure of the class that is guessed."""
    secondary_NK = np.zeros((len(primary), 3), bool)
    for row, label in secondary:
        secondary_NK[row, label] = True
    scores_NK = np.eye(3, dtype=np.float32)[guesses]
    return ScoredRecordings(np.array(list(names)), np.array(primary), secondary_NK, scores_NK)


def fold(
    validated: ScoredRecordings,
    trained: ScoredRecordings,
    seconds: Sequence[float] = (1.0,),
    windows: tuple[Bools, Floats32] = NOBODY,
    names: str = "uvw",
) -> FoldScores:
    heard, scores = windows
    judged = ScoredRecordings(
        np.array(list(names[: len(heard)]), np.str_), np.zeros(len(heard), np.int64), heard, scores
    )
    return FoldScores(validated, trained, judged, np.array(seconds))


def test_accuracy_and_gap_count_the_recordings_of_all_folds_together() -> None:
    """Validated: 1 of 1 and 1 of 3 are right, so 2 of 4; trained: 2 of 2 and 1 of 2, so 3 of 4."""
    first = fold(scored("a", [0], [0]), scored("bc", [1, 2], [1, 2]))
    second = fold(scored("def", [0, 1, 2], [0, 0, 0]), scored("gh", [1, 2], [1, 0]))
    values = measured([first, second], NO_RARE)
    assert values["accuracy"] == pytest.approx(0.5)
    assert values["gap"] == pytest.approx(0.75 - 0.5)


def test_ranking_metrics_leave_secondary_labels_out() -> None:
    """Class 0 is scored highest for the recording that has it in the background, which counts neither way."""
    scores_NK = np.array([[0.9, 0.5, 0.1], [0.8, 0.2, 0.2], [0.1, 0.3, 0.7]], np.float32)
    secondary_NK = np.zeros((3, 3), bool)
    secondary_NK[0, 0] = True
    validated = ScoredRecordings(np.array(list("abc")), np.array([1, 0, 2]), secondary_NK, scores_NK)
    values = measured([fold(validated, scored("d", [0], [0]))], np.array([True, False, False]))
    assert values["rare_ap"] == pytest.approx(1.0)
    assert values["macro_roc_auc"] == pytest.approx(1.0)
    counted = ScoredRecordings(validated.names, validated.primary, np.zeros_like(secondary_NK), scores_NK)
    values = measured([fold(counted, scored("d", [0], [0]))], np.array([True, False, False]))
    assert values["rare_ap"] == pytest.approx(0.5), "the positive then comes second of three"
    assert values["macro_roc_auc"] == pytest.approx((0.5 + 1 + 1) / 3)


def test_without_a_rare_class_that_can_be_scored_there_is_no_precision_of_rare_classes() -> None:
    validated = scored("ab", [0, 1], [0, 1])
    assert np.isnan(measured([fold(validated, validated)], NO_RARE)["rare_ap"])
    assert np.isnan(measured([fold(validated, validated)], np.array([False, False, True]))["rare_ap"])
    scored_too = measured([fold(validated, validated)], np.array([True, False, True]))["rare_ap"]
    assert scored_too == 1.0, "a class without a recording is left out of the mean"


def test_seconds_are_the_median_over_the_epochs_of_all_folds() -> None:
    side = scored("ab", [0, 1], [0, 1])
    folds = [fold(side, side, seconds=[9.0, 2.0, 3.0]), fold(side, side, seconds=[1.0, 4.0])]
    assert measured(folds, NO_RARE)["epoch_s"] == 3.0


def test_an_ensemble_is_the_mean_of_the_recordings_that_all_have() -> None:
    """`a` is missing in the second run, which has the others in another order."""
    first = fold(scored("abc", [0, 1, 2], [0, 1, 1]), scored("xy", [0, 1], [0, 1]), seconds=[1.0, 5.0, 3.0])
    second = fold(scored("cb", [2, 1], [2, 1]), scored("yx", [1, 0], [0, 0]), seconds=[2.0])
    both = blended([first, second])
    assert both.validated.names.tolist() == ["b", "c"]
    assert both.validated.primary.tolist() == [1, 2]
    assert both.validated.scores.tolist() == [[0, 1, 0], [0, 0.5, 0.5]]
    assert both.trained.scores.tolist() == [[1, 0, 0], [0.5, 0.5, 0]]
    assert both.epoch_s.tolist() == [5.0], "3 s of the one and 2 s of the other"


def test_windows_of_all_folds_are_measured_together_and_those_of_an_ensemble_are_averaged() -> None:
    side = scored("ab", [0, 1], [0, 1])
    assert np.isnan(measured([fold(side, side)], NO_RARE)["windows_macro_roc_auc"])
    heard = np.array([[True, False, False], [False, False, False]])
    high, low = (np.array(each, np.float32) for each in ([[0.9, 0, 0], [0.2, 0, 0]], [[0.1, 0, 0], [0.2, 0, 0]]))
    first, second = (fold(side, side, windows=(heard, scores)) for scores in (high, low))
    assert measured([first], NO_RARE)["windows_macro_roc_auc"] == 1
    assert measured([second], NO_RARE)["windows_macro_roc_auc"] == 0
    assert measured([first, second], NO_RARE)["windows_macro_roc_auc"] == pytest.approx((2 + 0) / 4)
    both = blended([first, second])
    assert both.windows.scores == pytest.approx((high + low) / 2)
    assert measured([both], NO_RARE)["windows_cmap"] == 1


def test_windows_of_an_ensemble_are_those_that_all_rungs_have_whatever_order_their_views_hold_them_in() -> None:
    """`u` is missing in the second rung, whose view has the others the other way round."""
    side = scored("ab", [0, 1], [0, 1])
    heard = np.array([[False, False, True], [True, False, False], [False, False, False]])
    scores = np.array([[0, 0, 1], [0.8, 0, 0], [0.2, 0, 0]], np.float32)
    first = fold(side, side, windows=(heard, scores))
    second = fold(side, side, windows=(heard[[2, 1]], scores[[2, 1]] * np.float32(0.5)), names="wv")
    both = blended([first, second]).windows
    assert both.names.tolist() == ["v", "w"]
    assert both.secondary.tolist() == [[True, False, False], [False, False, False]]
    assert both.scores == pytest.approx(np.array([[0.6, 0, 0], [0.15, 0, 0]]))
    assert len(blended([first, fold(side, side)]).windows.names) == 0, "a rung without any"
    with pytest.raises(TrainError, match="rungs scored nothing in common"):
        blended([first, fold(side, side, windows=(heard, scores), names="xyz")])


def test_no_answer_is_a_class_that_the_source_of_a_recording_says_nothing_of() -> None:
    """The first source knows classes 0 and 1: of its two recordings one is then right; the other source knows all."""
    scores = np.array([[0.3, 0.2, 0.9], [0.3, 0.2, 0.9], [0.1, 0.2, 0.9]], np.float32)
    unknown = np.array([[False, False, True], [False, False, True], [False, False, False]])
    zeros, plain = np.zeros(3, np.int64), np.zeros((3, 3), bool)
    examples = Examples(
        tuple("xyz"), tuple("abc"), zeros, zeros, zeros, zeros, np.array([0, 1, 1]), plain, np.zeros(3), None, unknown
    )
    found = ScoredRecordings.of(examples, scores)
    assert found.accuracy == pytest.approx(1 / 3)
    assert measured([fold(found, found)], NO_RARE)["accuracy"] == pytest.approx(1 / 3)
    assert ScoredRecordings.of(replace(examples, unknown=None), scores).accuracy == 0
    assert scores[0, 2] == np.float32(0.9), "scores themselves stay as they are"


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "0.npz"
    windows = np.array([[False, True, False]]), np.array([[0.25, 0.5, 0]], np.float32)
    written = fold(scored("ab", [0, 1], [0, 2], [(0, 2)]), scored("c", [2], [2]), [1.0, 2.5], windows)
    write_fold(path, written)
    found = read_fold(path)
    for side in SIDES:
        for name, array in vars(getattr(written, side)).items():
            np.testing.assert_array_equal(getattr(getattr(found, side), name), array)
    np.testing.assert_array_equal(found.epoch_s, [1.0, 2.5])
    assert found.windows.scores.tolist() == [[0.25, 0.5, 0.0]]
    assert found.windows.secondary.tolist() == [[False, True, False]]
    write_fold(path, fold(written.validated, written.trained))
    assert len(read_fold(path).windows.names) == 0


def test_recordings_of_folds_keep_their_rows() -> None:
    both = concatenated([scored("ab", [0, 1], [0, 1], [(1, 0)]), scored("c", [2], [1])])
    assert both.names.tolist() == ["a", "b", "c"]
    assert both.secondary.tolist() == [[False] * 3, [True, False, False], [False] * 3]
    assert both.scores.argmax(axis=1).tolist() == [0, 1, 1]
