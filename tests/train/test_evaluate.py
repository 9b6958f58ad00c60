"""What stage `evaluate` computes from the predictions of every member, table by table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import sklearn.metrics

from birdcache.errors import TrainError
from birdcache.params.model import Params
from birdcache.params.sections import EvaluateParams
from birdcache.predict.calibrator import logits_of
from birdcache.predict.clip_scores import ClipScores
from birdcache.predict.postprocess import Cutting, by_soundscape
from cache import report_tables
from tests.fixtures.windows import write_windows as label_windows
from train.data.examples import Examples
from train.evaluate import (
    class_table,
    confusion_table,
    print_summary,
    score_out_of_fold,
    window_class_table,
    write_calibration,
)
from train.paths import SCORES
from train.score.blend import HeldOut
from train.score.calibration import Judged
from train.score.ensemble import ENSEMBLE, Ensemble
from train.score.out_of_fold import OutOfFold, held_windows, read_out_of_fold
from train.score.tables import Windows, read_windows

LABELS = ["jay", "owl", "robin", "wren"]
PRIMARY = np.array([0, 0, 0, 2, 2, 2, 2, 3, 3, 3])
Floats = npt.NDArray[np.float32]


def predicted(scores: Floats, recordings: list[int] | None = None) -> OutOfFold:
    """Ten recordings of three of the four classes; nothing was recorded of an owl unless `recordings` says so."""
    empty = np.zeros(len(PRIMARY), np.int64)
    names = tuple(f"XC{number}.ogg" for number in range(len(PRIMARY)))
    secondary, rating = np.zeros((len(PRIMARY), 4), bool), np.zeros(len(PRIMARY))
    examples = Examples(tuple(LABELS), names, empty, empty, empty, empty, PRIMARY, secondary, rating)
    fold = np.arange(len(PRIMARY)) % 2
    return OutOfFold(examples, {"tiny": scores, ENSEMBLE: scores}, np.array(recordings or [3, 0, 4, 3]), fold)


@pytest.fixture
def scores() -> Floats:
    return np.random.default_rng(2).random((len(PRIMARY), 4)).astype(np.float32)


def guesses(labels: list[int]) -> Floats:
    return np.eye(4, dtype=np.float32)[labels]


def test_confusions_are_counted_from_the_most_frequent_on() -> None:
    table = confusion_table(predicted(guesses([0, 2, 2, 2, 0, 3, 3, 3, 3, 0])), LABELS, most=3)
    assert table.to_dict("list") == {
        "label": ["jay", "robin", "robin"],
        "predicted": ["robin", "wren", "jay"],
        "recordings": [2, 2, 1],
        "confusion": ["jay -> robin", "robin -> wren", "robin -> jay"],
    }


def test_without_a_mistake_there_is_no_confusion() -> None:
    table = confusion_table(predicted(guesses(PRIMARY.tolist())), LABELS, most=3)
    assert table.empty
    assert list(table.columns) == ["label", "predicted", "recordings", "confusion"]


def test_classes_are_listed_with_their_scores_from_the_best_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scores: Floats
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data/tables").mkdir(parents=True)
    rows = [f"{number},{label},Common {label},5\n" for number, label in enumerate(LABELS)]
    Path("data/tables/labels.csv").write_text("index,label,common_name,recordings\n" + "".join(rows))
    table = class_table(predicted(scores))
    assert sorted(table["label"]) == ["jay", "robin", "wren"]
    assert table["average_precision"].is_monotonic_decreasing
    for row in table.itertuples():
        truth, guess = LABELS.index(str(row.label)) == PRIMARY, scores[:, LABELS.index(str(row.label))]
        assert row.average_precision == pytest.approx(sklearn.metrics.average_precision_score(truth, guess))
        assert row.roc_auc == pytest.approx(sklearn.metrics.roc_auc_score(truth, guess))


def evaluate(rare_below: int) -> EvaluateParams:
    return EvaluateParams(top_confusions=5, rare_below=rare_below)


def test_every_member_and_the_ensemble_are_scored(scores: Floats) -> None:
    metrics = score_out_of_fold(predicted(scores), evaluate(1))
    assert set(metrics) == {"tiny", ENSEMBLE}
    assert metrics["tiny"]["accuracy"] == float((scores.argmax(axis=1) == PRIMARY).mean())


def test_the_tail_is_scored_by_the_mean_precision_of_the_rare_classes(scores: Floats) -> None:
    metrics = score_out_of_fold(predicted(scores), evaluate(4))
    expected = [sklearn.metrics.average_precision_score(label == PRIMARY, scores[:, label]) for label in (0, 3)]
    assert metrics["tiny"]["rare_ap"] == pytest.approx(np.mean(expected))


def test_a_class_is_rare_by_its_recordings_in_the_data_set_not_by_those_that_were_validated(scores: Floats) -> None:
    metrics = score_out_of_fold(predicted(scores, recordings=[50, 2, 40, 3]), evaluate(4))
    expected = sklearn.metrics.average_precision_score(PRIMARY == 3, scores[:, 3])
    assert metrics["tiny"]["rare_ap"] == pytest.approx(expected)


def test_without_a_rare_class_that_can_be_scored_there_is_no_score_of_the_tail(scores: Floats) -> None:
    assert "rare_ap" not in score_out_of_fold(predicted(scores), evaluate(1))["tiny"]
    assert "rare_ap" not in score_out_of_fold(predicted(scores, [50, 2, 40, 30]), evaluate(4))["tiny"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's root as the current directory, with an empty data/."""
    monkeypatch.chdir(tmp_path)
    Path("data/tables").mkdir(parents=True)
    label_windows([], {})
    return tmp_path


def plain_ensemble(**changes: object) -> Ensemble:
    """Two members alike, and nothing done to their mean."""
    plain = Ensemble(
        labels=LABELS,
        members={"one": 0.5, "two": 0.5},
        folds=[0],
        kind="mean",
        best=1,
        window_s=5.0,
        hop_s=5.0,
        shifts_s=[],
        smoothing=0.0,
        file_max=0.0,
        thresholds=[0.5] * 4,
    )
    return plain.model_copy(update=changes)


def write_windows(truth: str, soundscapes: list[tuple[str, float]], scores: Floats) -> None:
    """Scores (2 members, windows, 4) of soundscapes, and their truth."""
    Path("data/tables/soundscape_truth.csv").write_text("row_id,labels\n" + truth)
    ClipScores.of(["one", "two"], soundscapes, scores[:, None], Cutting(5.0, 5.0)).write(SCORES)


def test_windows_are_matched_by_name_and_unknown_labels_are_ignored(project: Path) -> None:
    scores = np.random.default_rng(1).random((2, 3, 4)).astype(np.float32)
    write_windows("dawn_10,robin phoenix\nelsewhere_5,jay\ndawn_5,\n", [("dawn", 10.0), ("dusk", 5.0)], scores)
    windows = read_windows(LABELS, plain_ensemble())
    assert windows.clips.row_ids == ["dawn_5", "dawn_10", "dusk_5"]
    assert windows.has_truth.tolist() == [True, True, False]
    assert windows.truth.tolist() == [[False] * 4, [False, False, True, False], [False] * 4]
    assert np.array_equal(windows.scores["two"], scores[1])
    assert windows.scores[ENSEMBLE] == pytest.approx(scores.mean(axis=0))


def test_members_are_post_processed_like_the_ensemble(project: Path) -> None:
    scores = np.random.default_rng(1).random((2, 3, 4)).astype(np.float32)
    write_windows("", [("dawn", 10.0), ("dusk", 5.0)], scores)
    ensemble = plain_ensemble(smoothing=0.2, file_max=0.5, members={"one": 0.1, "two": 0.9})
    windows = read_windows(LABELS, ensemble)
    assert windows.scores["one"] == pytest.approx(by_soundscape(ensemble.post, scores[0], [2, 1]))
    blended = 0.1 * scores[0] + 0.9 * scores[1]
    assert windows.scores[ENSEMBLE] == pytest.approx(by_soundscape(ensemble.post, blended, [2, 1]), abs=1e-6)


def test_only_windows_with_a_truth_are_scored(project: Path) -> None:
    scores = np.zeros((2, 3, 4), np.float32)
    scores[:, :, 2] = [0.95, 0.1, 0.9]  # of a robin: the first window would spoil the ranking
    write_windows("dawn_10,robin\ndawn_5,\n", [("dusk", 5.0), ("dawn", 10.0)], scores)
    windows = read_windows(LABELS, plain_ensemble())
    assert set(windows.scores) == {"one", "two", ENSEMBLE}
    assert windows.metrics(windows.scores["one"], "soundscapes") == {"macro_roc_auc": 1, "classes_scored": 1, "cmap": 1}


def test_each_class_has_its_figures_on_windows_with_a_truth(project: Path) -> None:
    scores = np.zeros((2, 4, 4), np.float32)
    scores[:, :, 2] = [0.9, 0.8, 0.7, 0.95]  # of a robin, which sings in the first and the third; the last has no truth
    write_windows("dawn_5,robin\ndawn_10,\ndawn_15,robin\n", [("dawn", 15.0), ("dusk", 5.0)], scores)
    table = window_class_table(read_windows(LABELS, plain_ensemble()), LABELS).set_index("label")
    assert set(table["data"]) == {"soundscapes"}
    assert table["windows"].to_dict() == dict.fromkeys(LABELS, 0) | {"robin": 2}
    assert table["average_precision"]["robin"] == pytest.approx((1 + 2 / 3) / 2)
    assert table["roc_auc"]["robin"] == pytest.approx(0.5)
    assert table["average_precision"].isna().sum() == len(LABELS) - 1


def test_without_truth_nothing_is_told_about_a_window(project: Path) -> None:
    write_windows("", [("dawn", 5.0)], np.zeros((2, 1, 4), np.float32))
    windows = read_windows(LABELS, plain_ensemble())
    assert not windows.has_truth.any()
    assert window_class_table(windows, LABELS).empty


def test_labelled_windows_of_soundscapes_that_a_trained_fold_holds_out_are_measured_beside_the_exam(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = np.random.default_rng(3).random((2, 6, 4)).astype(np.float32)
    labelled = [("held", 0.0, 5.0, "jay"), ("held", 5.0, 10.0, ""), ("held", 7.0, 10.0, "owl")]
    labelled += [("learnt", 0.0, 5.0, "jay"), ("other", 0.0, 5.0, "owl")]
    label_windows(labelled, {"held": 0, "learnt": -1, "other": 1})
    soundscapes = [("exam", 10.0), ("held", 10.0), ("learnt", 5.0), ("other", 5.0)]
    write_windows("exam_5,robin\nexam_10,\n", soundscapes, scores)
    windows = read_windows(LABELS, plain_ensemble())
    assert "1 of 3 rows of the truth are not measured, first 'held_another length'" in capsys.readouterr().out
    assert windows.measured == ["windows", "soundscapes"]
    assert windows.truths["windows"].known.tolist() == [False, False, True, True, False, False]
    assert (
        windows.truths["windows"].sings.tolist()
        == [[False] * 4] * 2 + [[True, False, False, False]] + [[False] * 4] * 3
    )
    assert windows.has_truth.tolist() == [True, True, True, True, False, False]
    assert windows.truth.sum() == 2
    auc = {name: float(each[2, 0] > each[3, 0]) for name, each in windows.scores.items()}
    assert auc_of("windows", windows) == auc
    auc = {name: float(each[0, 2] > each[1, 2]) for name, each in windows.scores.items()}
    assert auc_of("soundscapes", windows) == auc


def auc_of(data: str, windows: Windows) -> dict[str, float]:
    return {name: windows.metrics(each, data)["macro_roc_auc"] for name, each in windows.scores.items()}


def test_members_scores_of_labelled_windows_stand_beside_the_fold_that_holds_their_soundscape_out(
    project: Path,
) -> None:
    scores = np.random.default_rng(3).random((2, 6, 4)).astype(np.float32)
    labelled = [("held", 0.0, 5.0, "jay"), ("held", 5.0, 10.0, ""), ("learnt", 0.0, 5.0, "jay")]
    label_windows([*labelled, ("other", 0.0, 5.0, "owl wren")], {"held": 0, "learnt": -1, "other": 1})
    clips = ClipScores.of(
        ["one", "two"],
        [("exam", 10.0), ("held", 10.0), ("learnt", 5.0), ("other", 5.0)],
        scores[:, None],
        Cutting(5, 5),
    )
    found = held_windows(clips, LABELS, [0, 1])
    assert found.fold.tolist() == [0, 0, 1]
    assert found.scores == pytest.approx(scores[:, [2, 3, 5]])
    assert found.truth.astype(int).tolist() == [[1, 0, 0, 0], [0, 0, 0, 0], [0, 1, 0, 1]]
    assert found.known.all()
    assert held_windows(clips, LABELS, [1]).fold.tolist() == [1]
    none = ClipScores.of(["one", "two"], [], np.empty((2, 1, 0, 4), np.float32), Cutting(5, 5))
    assert held_windows(none, LABELS, [0, 1]).scores.shape == (2, 0, 4)


def test_expected_errors_of_recordings_and_windows_are_told_before_calibration_and_after_it(project: Path) -> None:
    """Of recordings, 0.5 is said and all are right; of windows 0.8, and half are right."""
    known, fold = np.ones((8, 2), bool), np.arange(8) % 2
    right, half = (np.tile([[True, False], [each, False]], (4, 1)) for each in (True, False))
    said = [np.tile(np.array([[first, 0.1]], np.float32), (8, 1)) for first in (0.5, 0.8)]
    recordings, windows = (
        Judged(scores, HeldOut(scores[None], truth, known, fold))
        for scores, truth in zip(said, (right, half), strict=True)
    )
    plain = plain_ensemble(calibration="shared", fitted_on="windows")
    errors = write_calibration({"recordings": recordings, "windows": windows}, plain)
    assert {data: error["uncalibrated_error"] for data, error in errors.items()} == {
        "out_of_fold": pytest.approx(0.5),
        "windows": pytest.approx(0.3),
    }
    table = report_tables.CALIBRATION.read()
    used = table[(table["calibration"] == "shared") & (table["fitted_on"] == "windows")]
    assert used["used"].tolist() == ["yes", "yes"]
    assert [error["expected_error"] for error in errors.values()] == pytest.approx(used["expected_error"], abs=1e-4)
    alone = write_calibration({"recordings": recordings}, plain_ensemble())
    assert alone == {"out_of_fold": {"expected_error": pytest.approx(0.5), "uncalibrated_error": pytest.approx(0.5)}}


def test_recordings_are_calibrated_by_what_windows_have_taught_if_these_are_fitted_on(scores: Floats) -> None:
    own = predicted(scores)
    by_windows = plain_ensemble(members={"tiny": 1.0}, fitted_on="windows", calibration="shared")
    by_windows = by_windows.model_copy(update={"slopes": [2.0] * 4, "offsets": [1.0] * 4})
    alone = OutOfFold(own.examples, {"tiny": scores}, own.recordings, own.fold)
    found = alone.with_ensemble(by_windows).scores[ENSEMBLE]
    assert logits_of(found) == pytest.approx(2 * logits_of(scores) + 1, abs=1e-3)


def test_no_answer_of_the_ensemble_or_a_member_is_a_class_that_a_source_says_nothing_of(scores: Floats) -> None:
    """Where nobody can tell an owl, it is no answer, although all would give it; no calibrator lifts a 0 to the top."""
    own = predicted(scores)
    unknown = np.zeros((len(PRIMARY), 4), bool)
    unknown[:5, 1] = True
    owls = np.where(np.arange(4) == 1, 0.9, 0.9 * guesses(PRIMARY.tolist())[:, :] + 0.05).astype(np.float32) * 0.99
    examples = replace(own.examples, unknown=unknown)
    alone = OutOfFold(examples, {"tiny": examples.answers(owls)}, own.recordings, own.fold)
    flat = plain_ensemble(members={"tiny": 1.0}, fitted_on="windows", calibration="class")
    flat = flat.model_copy(update={"slopes": [1.0, 0.01, 1.0, 1.0], "offsets": [0.0, 5.0, 0.0, 0.0]})
    found = alone.with_ensemble(flat)
    metrics = score_out_of_fold(found, evaluate(1))
    assert metrics["tiny"]["accuracy"] == 1.0
    assert metrics[ENSEMBLE]["accuracy"] == 0.5, "of the others, the owl is the best class of all"
    assert confusion_table(found, LABELS, most=3).to_dict("list")["confusion"] == ["wren -> owl", "robin -> owl"]


def test_missing_predictions_are_refused_with_the_stage_that_makes_them(project: Path, params: Params) -> None:
    with pytest.raises(TrainError, match=r"predictions\.npz: is missing; run `dvc repro -f train@\w+-0`"):
        read_out_of_fold(list(params.members), [0], "mel", LABELS)


def test_the_summary_has_a_line_for_every_member_and_says_when_there_is_no_truth(
    scores: Floats, capsys: pytest.CaptureFixture[str]
) -> None:
    out_of_fold = score_out_of_fold(predicted(scores), evaluate(4))
    print_summary({"out_of_fold": out_of_fold, "soundscapes": {"tiny": {"macro_roc_auc": 0.875, "cmap": 0.25}}})
    header, tiny, ensemble = capsys.readouterr().out.splitlines()
    assert "accuracy" in header
    assert tiny.startswith("tiny")
    assert "0.8750" in tiny
    assert ensemble.startswith(ENSEMBLE)
    assert "no truth" in ensemble
    assert "windows:" not in header
    windows = {"tiny": {"macro_roc_auc": 0.75, "cmap": 0.5}}
    print_summary({"out_of_fold": out_of_fold, "windows": windows})
    header, tiny, _ = capsys.readouterr().out.splitlines()
    assert header.index("windows:") < header.index("soundscapes:")
    assert tiny.split()[-4:] == ["0.7500", "0.500", "no", "truth"]
