"""The noisy student from its start to its report, on a tiny project with one soundscape that nobody labelled."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from birdcache.arrays import Floats32
from birdcache.errors import BirdcacheError, TrainError
from birdcache.params import load as params
from birdcache.predict.postprocess import Cutting
from cache import tables
from tests.fixtures.stages import run_stage
from tests.fixtures.windows import write_windows
from tests.test_house import stage_definition
from tests.train.student.conftest import ROUND, ROUNDS, Rounds, change
from train.model.classifier import choose_device
from train.model.weights import read_model, read_sidecar
from train.score.inference import Scorer, clips_at
from train.score.metrics import window_metrics
from train.score.soundscapes import ScoringTask, SoundscapeStores
from train.student.pseudo_labels import PseudoLabels, read_pseudo_labels
from train.student.rounds import TeacherReport, models_of, open_evaluator, reason_to_stop


def test_labels_are_of_the_soundscape_without_truth_at_the_hop(rounds: Rounds) -> None:
    labels = read_pseudo_labels(rounds.root / "data/student/first")
    assert set(labels.soundscape) == {"dusk"}
    assert labels.labels == ("higton", "lowton", "midton")
    assert set((labels.middle_s * 2 - 1).tolist()) <= set(range(23)), "0.5 s, 1 s ... 11.5 s"
    assert (labels.confidence == labels.scores.max(axis=2)).all()
    assert labels.students == {"base-0": 0, "base-1": 0}
    assert set(labels.scores[labels.scores < 0.05].tolist()) <= {0.0}


def test_labels_are_the_mean_of_the_teachers_folds(rounds: Rounds) -> None:
    labels = read_pseudo_labels(rounds.root / "data/student/first")
    mean = np.mean([scores_of(Path(f"models/base/{fold}"), labels) for fold in (0, 1)], axis=0)
    np.testing.assert_allclose(labels.scores[0], np.where(mean < 0.05, 0, mean), atol=1e-5)


def scores_of(folder: Path, labels: PseudoLabels) -> Floats32:
    """What a model says of the labelled clips, all of one soundscape."""
    sidecar, device = read_sidecar(folder), choose_device("cpu")
    opened = SoundscapeStores(params.load().machine, device)
    view = params.load().spectrograms["mel"]
    stores = opened.of(["mel"], view)
    (row,) = stores.first.rows_of(list(labels.sha256[:1])).tolist()
    model = read_model(folder, sidecar, "last", device)
    clips = clips_at(labels.middle_s, row, int(stores.first.frames[row]), view, view.frames(1.0))
    return Scorer(model, stores.frames, view, sidecar.member.recipe, device).scores(clips, 8)


def test_each_round_learns_from_the_one_before(rounds: Rounds) -> None:
    first, second = (json.loads((rounds.root / f"data/student/{name}/teacher.json").read_text()) for name in ROUNDS)
    assert (first["teacher"], first["gain"]) == ("start", None)
    assert second["teacher"] == "first"
    gains = [each["metrics"]["soundscapes"]["macro_roc_auc"] for each in (first, second)]
    assert second["gain"] == pytest.approx(gains[1] - gains[0])


def test_a_student_differs_from_its_teacher_and_has_its_rounds_recipe(rounds: Rounds) -> None:
    sidecars = {}
    for name in ("start", *ROUNDS):
        sidecars[name] = json.loads((rounds.root / f"data/student/{name}/base/0/model.json").read_text())
    assert len({each["sha256"]["last"] for each in sidecars.values()}) == 3
    assert [each["member"]["recipe"]["epochs"] for each in sidecars.values()] == [3, 2, 3]


def test_the_report_has_a_row_for_the_start_and_for_each_round(rounds: Rounds) -> None:
    table = pd.read_csv(rounds.root / "reports/student.csv")
    assert table["round"].tolist() == ["start", "first", "second"]
    told = [json.loads((rounds.root / f"data/student/{name}/teacher.json").read_text()) for name in ROUNDS]
    for number, each in enumerate(told):
        for where in ("soundscapes", "out_of_fold"):
            value = table[f"{where}_macro_roc_auc"][number]
            assert value == pytest.approx(each["metrics"][where]["macro_roc_auc"], abs=1e-4)
    assert table["clips"].tolist()[0] == 0
    assert table["clips"].tolist()[1] == len(read_pseudo_labels(rounds.root / "data/student/first"))
    text = (rounds.root / "reports/student.md").read_text()
    assert re.search(r"\| start \| - \| 0 .*\n\| first \| start \| \d+ \| 0\.\d{3} \| [\d.]+ \([+-]", text)


def test_metrics_of_the_start_are_those_of_its_windows_by_hand(rounds: Rounds) -> None:
    """Four windows of 5 s, one clip of 1 s in the middle of each."""
    evaluator = open_evaluator(params.load(), models_of("start", params.load()))
    dawn = [each for each in evaluator.soundscapes if each.name == "dawn"]
    task = ScoringTask(dawn, evaluator.labels, Cutting(5.0, 5.0), 8)
    scores = models_of("start", params.load()).scores(task, evaluator.opened, "test")
    low, high = (scores[:, evaluator.labels.index(label)] for label in ("lowton", "higton"))
    expected = (roc_auc_score([1, 1, 0, 0], low) + roc_auc_score([0, 0, 1, 1], high)) / 2
    told = json.loads((rounds.root / "data/student/first/teacher.json").read_text())
    assert told["metrics"]["soundscapes"]["macro_roc_auc"] == pytest.approx(expected)


def test_windows_of_a_soundscape_that_a_fold_holds_out_are_scored_by_that_fold_alone(project: Path) -> None:
    """Two of the three windows of `dusk` are labelled, and one of a soundscape that no fold holds out."""
    audio = tables.SOUNDSCAPES.read().set_index("soundscape")["sha256"]
    windows = [("dusk", 0.0, 5.0, "midton"), ("dusk", 5.0, 10.0, "higton"), ("dawn", 0.0, 5.0, "midton")]
    write_windows(windows, {"dusk": 1, "dawn": -1}, [audio["dusk"], audio["dawn"]])
    models = models_of("start", params.load())
    evaluator = open_evaluator(params.load(), models)
    dusk = [each for each in evaluator.soundscapes if each.name == "dusk"]
    task = ScoringTask(dusk, evaluator.labels, Cutting(5.0, 5.0), 8)
    by_fold = [replace(models, folds=(fold,)).scores(task, evaluator.opened, "test") for fold in (0, 1)]
    assert not np.allclose(by_fold[0], by_fold[1])
    middle, high = (by_fold[1][:2, evaluator.labels.index(label)] for label in ("midton", "higton"))
    expected = (float(middle[0] > middle[1]) + float(high[1] > high[0])) / 2
    found = evaluator.metrics(models)
    assert found["windows"]["macro_roc_auc"] == expected
    assert found["windows"]["classes_scored"] == 2
    scored = [scores[:2, [evaluator.labels.index(label) for label in ("midton", "higton")]] for scores in by_fold]
    assert found["windows"]["cmap"] == pytest.approx(window_metrics(np.eye(2, dtype=bool), scored[1])["cmap"])
    assert reason_to_stop(TeacherReport("start", found, None), 0.0, "windows") == ""


@pytest.mark.parametrize(
    "stage", ["pseudo@first", "pseudo@second", "student@first-base-0", "student@second-base-1", "student_report"]
)
def test_each_stage_declares_exactly_the_params_that_it_reads(stage: str, rounds: Rounds) -> None:
    key = stage.partition("@")[2]
    filled = {"${key}": key, "${item.round}": key.partition("-")[0]}
    declared = set()
    for entry in stage_definition(stage)["params"]:
        for template, value in filled.items():
            entry = entry.replace(template, value)
        declared.add(entry)
    read = {each for each in rounds.reads[stage] if not each.startswith("machine.")}
    assert {key for key in read if not any(f"{key}.".startswith(f"{entry}.") for entry in declared)} == set()
    assert {entry for entry in declared if not any(f"{key}.".startswith(f"{entry}.") for key in read)} == set()


def test_a_round_whose_teacher_gained_too_little_passes_it_on_and_says_so(
    rounds: Rounds, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(project, least_gain=1.0, gain_in="out_of_fold")
    run_stage("train.student.pseudo", "second")
    said = capsys.readouterr().out
    assert "first gained" in said
    assert "student.least_gain = 1: this round trains nothing and passes first on" in said
    for fold in (0, 1):
        run_stage("train.student.fit", f"second-base-{fold}")
        source, target = (project / f"data/student/{name}/base/{fold}" for name in ("first", "second"))
        source_bytes, target_bytes = (
            {each.name: each.read_bytes() for each in one.iterdir()} for one in (source, target)
        )
        assert source_bytes == target_bytes
        assert "passes first on" in (project / f"reports/student/second-base-{fold}/passed_on.txt").read_text()
    run_stage("train.student.report")
    assert "second: first gained" in (project / "reports/student.md").read_text()
    table = pd.read_csv(project / "reports/student.csv").set_index("round")
    metrics = table.filter(regex="^(soundscapes|out_of_fold)_").T
    assert (metrics["first"] == metrics["second"]).all()
    assert len(metrics) > 5
    assert table.loc["second", "clips"] == 0


def test_a_teacher_that_changed_under_way_is_not_passed_on(rounds: Rounds, project: Path) -> None:
    change(project, least_gain=1.0)
    run_stage("train.student.pseudo", "second")
    sidecar = project / "data/student/first/base/0/model.json"
    sidecar.write_text(sidecar.read_text() + "\n")
    with pytest.raises(TrainError, match="data/student/first/base/0: changed after stage pseudo"):
        run_stage("train.student.fit", "second-base-0")


def test_a_threshold_above_all_scores_is_refused(project: Path) -> None:
    change(project, rounds={"first": ROUND | {"threshold": 1.0}})
    with pytest.raises(
        TrainError, match=r"student\.rounds\.first\.threshold = 1: the highest score of any clip is 0\."
    ):
        run_stage("train.student.pseudo", "first")


def test_without_an_unlabelled_soundscape_it_says_what_to_do(project: Path) -> None:
    path = project / "data/tables/soundscapes.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line for line in lines if "dusk" not in line) + "\n")
    with pytest.raises(TrainError, match=r"student\.soundscapes = 'unlabelled': every soundscape has labelled windows"):
        run_stage("train.student.pseudo", "first")
    change(project, soundscapes="all")
    run_stage("train.student.pseudo", "first")
    assert set(read_pseudo_labels(project / "data/student/first").soundscape) == {"dawn"}
    path.write_text(lines[0] + "\n")
    with pytest.raises(TrainError, match="holds no soundscape to learn from"):
        run_stage("train.student.pseudo", "first")


def test_without_truth_gains_are_measured_out_of_fold_or_not_at_all(project: Path) -> None:
    (project / "data/tables/soundscape_truth.csv").write_text("row_id,labels\n")
    change(project, least_gain=0.0)
    with pytest.raises(TrainError, match=r"student\.gain_in = 'soundscapes': .* set it to out_of_fold"):
        run_stage("train.student.pseudo", "first")
    for keys in ({"least_gain": 0.0, "gain_in": "out_of_fold"}, {"least_gain": None}):
        change(project, **keys)
        run_stage("train.student.pseudo", "first")
        assert set(read_pseudo_labels(project / "data/student/first").soundscape) == {"dawn", "dusk"}


def test_labels_of_other_classes_are_refused(rounds: Rounds, project: Path) -> None:
    path = project / "data/student/first/labels.npz"
    with np.load(path) as content:
        arrays = dict(content)
    np.savez(path, **(arrays | {"labels": np.array(["higton", "lowton", "wren"])}))
    with pytest.raises(TrainError, match="the classes of the pseudo-labels differ"):
        run_stage("train.student.fit", "first-base-0")


def test_a_round_or_model_that_is_not_there_is_named(project: Path) -> None:
    with pytest.raises(TrainError, match=r"'third': student\.rounds names no such round; choose one of: first, second"):
        run_stage("train.student.pseudo", "third")
    with pytest.raises(TrainError, match="models/base/7: holds no trained model"):
        run_stage("train.student.start", "base-7")
    shutil.rmtree("data/student/first", ignore_errors=True)
    with pytest.raises(TrainError, match=r"data/student/first/labels\.npz: is missing"):
        run_stage("train.student.fit", "first-base-0")
    change(project, rounds={})
    with pytest.raises(BirdcacheError, match=r"student\.rounds holds no round"):
        run_stage("train.student.report")
