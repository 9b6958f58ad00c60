"""Who teaches whom in a round: own folds, other members; and what recordings' labels are mixed with."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from birdcache.errors import TrainError
from cache import tables
from tests.fixtures import tiny
from tests.fixtures.stages import run_stage
from tests.train.student.conftest import ROUND, Rounds, tiny_params
from tests.train.student.test_stages import scores_of
from train.score.predictions import read_predictions
from train.student.pseudo_labels import read_pseudo_labels


def test_with_own_folds_a_student_learns_nothing_of_what_judges_it(rounds: Rounds) -> None:
    """Clips are labelled by the model of its fold, recordings by the models that hold them out."""
    labels = read_pseudo_labels(rounds.root / "data/student/second")
    folders = [rounds.root / f"data/student/first/base/{fold}" for fold in (0, 1)]
    for fold, folder in enumerate(folders):
        own = labels.of(f"base-{fold}")
        scores = scores_of(folder, own)
        np.testing.assert_allclose(own.scores, np.where(scores < 0.05, 0, scores**2), atol=1e-5)
        recordings, predicted = read_predictions(folder, "")
        place = [labels.recording.index(name) for name in recordings]
        np.testing.assert_allclose(own.softened[place], np.where(predicted < 0.05, 0, predicted**2), atol=1e-6)
    table = tables.FOLDS.read()
    assert set(labels.recording) == set(table["recording"][table["fold"] >= 0])


def test_two_members_teach_whom_the_round_says_and_the_untaught_one_is_passed_on(project: Path) -> None:
    """The second member has the models of the first, with the folds exchanged."""
    for fold in (0, 1):
        shutil.copytree(f"data/student/start/base/{fold}", f"data/student/start/mate/{1 - fold}")
    raw = tiny_params()
    raw["members"]["mate"] = raw["members"]["base"]
    only = {"first": ROUND | {"taught_by": {"base": ["mate"], "mate": []}}}
    raw["student"] |= {"members": ["base", "mate"], "rounds": only}
    tiny.write_params(project / "params.yaml", raw)
    run_stage("train.student.pseudo", "first")
    labels = read_pseudo_labels(project / "data/student/first")
    assert set(labels.students) == {"base-0", "base-1"}
    own = labels.of("base-0")
    scores = scores_of(Path("models/base/1"), own)
    np.testing.assert_allclose(own.scores, np.where(scores < 0.05, 0, scores), atol=1e-5)
    run_stage("train.student.fit", "first-mate-0")
    copied, source = (Path(f"data/student/{name}/mate/0/last.safetensors").read_bytes() for name in ("first", "start"))
    assert copied == source
    told = Path("reports/student/first-mate-0/passed_on.txt").read_text()
    assert told == "student.rounds.first.taught_by: nobody teaches mate, which is passed on as it is\n"


def test_labels_of_recordings_are_not_mixed_where_no_fold_holds_any_out(rounds: Rounds, project: Path) -> None:
    labels = read_pseudo_labels(project / "data/student/second")
    replace(labels, recording=tuple(f"other {name}" for name in labels.recording)).write(
        project / "data/student/second"
    )
    with pytest.raises(TrainError, match=r"folds\.train: holds out none of the recordings to train on; .* alpha: 0"):
        run_stage("train.student.fit", "second-base-0")
