"""From a teacher's scores to labels: thresholds, powers, confidences, their file; and when rounds end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from birdcache.errors import TrainError
from birdcache.files import file_sha256
from birdcache.params.student import StudentRound
from birdcache.params.views import MelView
from cache.store import Store
from train.data.labels import sharpened
from train.loop.run import RunFolders
from train.score.inference import clips_at
from train.student.fit import pass_on, pseudo_clips
from train.student.pseudo_labels import PseudoLabels, read_pseudo_labels
from train.student.rounds import RoundModels, TeacherReport, reason_to_stop, teacher_report

SCORES = np.array([[0.5, 0.2, 0.1], [0.0, 0.09, 0.05], [1.0, 0.4, 0.3]], np.float32)
TWO = PseudoLabels(  # groups of teachers, the second of which has nothing to say of dawn
    ("robin", "wren"),
    ("dawn", "dusk"),
    (f"{1:064x}", f"{0:064x}"),
    np.array([2.5, 5.0]),
    np.array([[[0.5, 0.25], [0, 1]], [[0, 0], [0.75, 0]]], np.float32),
    np.array([[0.5, 1.0], [0, 0.75]], np.float32),
    {"base-0": 0, "base-1": 1, "other-0": 0},
    ("XC1", "XC2", "XC3"),
    np.linspace(0, 1, 12, dtype=np.float32).reshape(2, 3, 2),
    {"b/1": "x", "a/0": "y"},
)
LABELS = TWO.of("base-0")


def test_scores_below_the_threshold_are_0_and_the_others_have_their_power() -> None:
    squares = np.array([[0.25, 0.04, 0.0], [0.0, 0.0, 0.0], [1.0, 0.16, 0.09]])
    np.testing.assert_allclose(sharpened(SCORES, 0.2, 2.0), squares, rtol=1e-6)
    roots = np.array([[0.5**0.5, 0.0, 0.0], [0.0, 0.0, 0.0], [1.0, 0.4**0.5, 0.0]])
    np.testing.assert_allclose(sharpened(SCORES, 0.4, 0.5), roots, rtol=1e-6)
    np.testing.assert_array_equal(sharpened(SCORES, 0.0, 1.0), SCORES)


def test_a_student_gets_the_clips_and_recordings_that_its_own_teachers_label() -> None:
    assert TWO.mean_confidence == pytest.approx((0.5 + 1 + 0.75) / 3)
    first, second = TWO.of("other-0"), TWO.of("base-1")
    assert (first.soundscape, second.soundscape) == (("dawn", "dusk"), ("dusk",))
    assert (second.sha256, second.middle_s.tolist()) == ((f"{0:064x}",), [5.0])
    assert (second.scores.tolist(), second.confidence.tolist()) == ([[0.75, 0]], [0.75])
    assert first.scores.tolist() == [[0.5, 0.25], [0, 1]]
    np.testing.assert_array_equal(second.softened, TWO.softened[1])


def test_members_and_folds_teach_whom_a_round_says() -> None:
    """Two architectures teach each other, a large one teaches and is passed on, and all teach without such a word."""
    models = RoundModels(Path("start"), ("base", "mate"), (0, 1))

    def taught(**changes: Any) -> dict[str, tuple[Any, ...]]:
        found = models.teachers_of(student_round("start").model_copy(update=changes))
        return {name: (each.members, each.folds) for name, each in found.items()}

    assert taught(taught_by={"base": ["mate"], "mate": ["base"]}) == {
        "base-0": (("mate",), (0,)),
        "base-1": (("mate",), (1,)),
        "mate-0": (("base",), (0,)),
        "mate-1": (("base",), (1,)),
    }
    assert taught(taught_by={"mate": []}, folds="all") == dict.fromkeys(
        ("base-0", "base-1"), (("base", "mate"), (0, 1))
    )


def test_labels_are_read_as_they_were_written_and_their_bytes_repeat(tmp_path: Path) -> None:
    for labels in (TWO, replace(TWO, stopped="no gain", students={}, teacher={})):
        labels.write(tmp_path / "one")
        labels.write(tmp_path / "other")
        assert (tmp_path / "one/labels.npz").read_bytes() == (tmp_path / "other/labels.npz").read_bytes()
        read = read_pseudo_labels(tmp_path / "one")
        for name in ("labels", "soundscape", "sha256", "stopped", "teacher", "students", "recording"):
            assert getattr(read, name) == getattr(labels, name)
        for name in ("middle_s", "scores", "confidence", "softened"):
            assert np.array_equal(getattr(read, name), getattr(labels, name))
            assert getattr(read, name).dtype == getattr(labels, name).dtype


def test_labels_that_are_missing_or_damaged_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        TrainError, match=r"labels\.npz: is missing; run `dvc repro -f optional/dvc\.yaml:pseudo@first`"
    ):
        read_pseudo_labels(tmp_path / "first")
    TWO.write(tmp_path / "first")
    path = tmp_path / "first/labels.npz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(TrainError, match=r"is damaged .* `dvc repro -f optional/dvc\.yaml:pseudo@first`"):
        read_pseudo_labels(tmp_path / "first")


def test_clips_lie_around_their_middles_inside_their_soundscapes(view: MelView) -> None:
    middle, frames = np.array([20.0, 3, 97, 50.5, 10]), np.array([100, 100, 100, 100, 30])
    clips = clips_at(middle * view.hop / view.sample_rate_hz, np.arange(5), frames, view, 40)
    assert clips.start.tolist() == [0, 0, 60, 30, 0]


def test_clips_are_found_in_the_store_by_their_audio(random_store: object, view: MelView) -> None:
    store: Store = random_store((500, 300), view)  # type: ignore[operator]
    clips = pseudo_clips(LABELS, student_round("start"), store, 40)
    assert store.frames[clips.row].tolist() == clips.frames.tolist() == [300, 500]
    per_s = view.sample_rate_hz / view.hop
    assert clips.start.tolist() == [round(2.5 * per_s) - 20, min(round(5 * per_s) - 20, 460)]
    assert (clips.probability, clips.share) == (0.4, 0.6)
    assert clips.offset(7).row.tolist() == [row + 7 for row in clips.row]
    missing = replace(LABELS, sha256=("f" * 64, f"{0:064x}"))
    with pytest.raises(TrainError, match=r"does not hold dawn; run `dvc repro optional/dvc\.yaml:student_report`"):
        pseudo_clips(missing, student_round("start"), store, 40)


def report(gain: float | None) -> TeacherReport:
    return TeacherReport("first", metrics_of(0.8, 0.9), gain)


@pytest.mark.parametrize(
    ("gain", "least", "stops"),
    [
        (None, 0.0, False),
        (0.01, 0.0, False),
        (0.0, 0.0, True),
        (-0.01, 0.0, True),
        (0.01, 0.01, True),
        (0.02, 0.01, False),
        (-0.5, None, False),
    ],
)
def test_a_round_trains_only_if_its_teacher_gained_more_than_the_margin(
    gain: float | None, least: float | None, stops: bool
) -> None:
    reason = reason_to_stop(report(gain), least, "soundscapes")
    assert bool(reason) == stops
    if stops:
        assert f"first gained {gain:+.4f} macro ROC-AUC (soundscapes)" in reason


def student_round(teacher: str) -> StudentRound:
    facts = {"teacher": teacher, "threshold": 0.1, "power": 1.0, "probability": 0.4, "share": 0.6, "override": {}}
    return StudentRound.model_validate(facts)


def metrics_of(sounds: float, recordings: float) -> dict[str, dict[str, float]]:
    return {"soundscapes": {"macro_roc_auc": sounds}, "out_of_fold": {"macro_roc_auc": recordings}}


def test_a_gain_is_that_over_the_teachers_own_teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert teacher_report(student_round("start"), metrics_of(0.8, 0.9), "soundscapes").gain is None
    TeacherReport("start", metrics_of(0.8, 0.9), None).write(Path("data/student/first"))
    after = metrics_of(0.85, 0.88)
    assert teacher_report(student_round("first"), after, "soundscapes").gain == pytest.approx(0.05)
    assert teacher_report(student_round("first"), after, "out_of_fold").gain == pytest.approx(-0.02)
    with pytest.raises(TrainError, match=r"data/student/second/teacher\.json: is missing"):
        teacher_report(student_round("second"), after, "soundscapes")


@pytest.mark.parametrize("metrics", [{}, metrics_of(float("nan"), 0.9)])
def test_a_gain_that_cannot_be_measured_is_refused_with_a_hint(metrics: dict[str, dict[str, float]]) -> None:
    with pytest.raises(TrainError, match=r"student\.gain_in = 'soundscapes': .* out_of_fold, or student\.least_gain"):
        reason_to_stop(TeacherReport("start", metrics, None), 0.0, "soundscapes")
    assert reason_to_stop(TeacherReport("start", metrics, None), None, "soundscapes") == ""


def test_only_the_folders_own_model_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    digests = {}
    for name in ("base/0", "base/1", "other/0"):
        folder = Path("data/student/first") / name
        folder.mkdir(parents=True)
        (folder / "model.json").write_text(name)
        digests[folder.as_posix()] = file_sha256(folder / "model.json")
    pass_on(
        replace(LABELS, stopped="no gain", teacher=digests),
        RunFolders("second-base-1", Path("data/student/second/base/1"), Path("reports/student/second-base-1")),
    )
    assert Path("data/student/second/base/1/model.json").read_text() == "base/1"
    assert Path("reports/student/second-base-1/passed_on.txt").read_text() == "no gain\n"
