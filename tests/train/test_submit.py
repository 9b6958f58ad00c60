"""What the record of an ensemble does to scores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from birdcache.errors import TrainError
from birdcache.params import load as params
from birdcache.predict.clip_scores import ClipScores
from birdcache.predict.postprocess import Cutting, by_soundscape, smoothed, times_file_maximum
from tests.fixtures.tiny import ROOT
from train.score.blend import HeldOut
from train.score.calibration import Judged
from train.score.ensemble import Ensemble, read_ensemble, write_ensemble
from train.score.species import with_species
from train.submit import fitted, of_each, print_result


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data/tables").mkdir(parents=True)


def ensemble(**changes: object) -> Ensemble:
    """Two members, three windows of five seconds, a little of everything."""
    plain = Ensemble(
        labels=["jay", "owl"],
        members={"one": 0.25, "two": 0.75},
        folds=[0, 1],
        kind="fitted",
        best=2,
        window_s=5.0,
        hop_s=2.5,
        shifts_s=[1.0],
        smoothing=0.1,
        file_max=1.0,
        thresholds=[0.25, 0.5],
    )
    return plain.model_copy(update=changes)


MEMBERS = np.random.default_rng(1).random((2, 5, 2)).astype(np.float32)


def test_final_scores_are_blended_then_smoothed_then_multiplied_soundscape_by_soundscape() -> None:
    blended = 0.25 * MEMBERS[0] + 0.75 * MEMBERS[1]
    parts = [times_file_maximum(smoothed(part, 0.1), 1.0) for part in (blended[:3], blended[3:])]
    assert ensemble().final(MEMBERS, [3, 2]) == pytest.approx(np.concatenate(parts), abs=1e-6)


def test_ranks_are_taken_over_all_windows_before_anything_else() -> None:
    ranked = np.mean([np.argsort(np.argsort(each, axis=0), axis=0) / 4 for each in MEMBERS], axis=0)
    other = ensemble(kind="rank", members={"one": 0.5, "two": 0.5})
    assert other.final(MEMBERS, [3, 2]) == pytest.approx(by_soundscape(other.post, ranked, [3, 2]), abs=1e-6)


def test_a_member_of_some_classes_leaves_its_weight_for_others_to_the_rest() -> None:
    found = ensemble(only={"two": ["owl"]}, smoothing=0.0, file_max=0.0).final(MEMBERS, [3, 2])
    assert found[:, 0] == pytest.approx(MEMBERS[0, :, 0])
    assert found[:, 1] == pytest.approx(0.25 * MEMBERS[0, :, 1] + 0.75 * MEMBERS[1, :, 1])


def test_smoothing_by_classes_of_the_taxonomy_is_that_of_their_labels() -> None:
    assert (of_each(0.1), of_each([0.2, 0.6, 0.2])) == (0.1, [0.2, 0.6, 0.2])
    head = "index,label,scientific_name,common_name,class_name,recordings\n"
    Path("data/tables/labels.csv").write_text(f"{head}0,cricket,,,Insecta,3\n1,jay,,,Aves,2\n2,owl,,,,1\n")
    found = of_each({"Insecta": [0.1, 0.2, 0.4, 0.2, 0.1], "others": 0.1})
    assert found == [[0.1, 0.2, 0.4, 0.2, 0.1], [0.0, 0.1, 0.8, 0.1, 0.0], [0.0, 0.1, 0.8, 0.1, 0.0]]
    with pytest.raises(TrainError, match=r"predict\.smoothing: Amphibia is .* choose of: Aves, Insecta"):
        of_each({"Amphibia": 0.3, "others": 0.1})


def test_detections_are_called_above_thresholds_on_the_scale_of_final_scores() -> None:
    assert ensemble().called_above() == pytest.approx([0.25**2, 0.5**2])
    assert ensemble(file_max=0.0).called_above() == pytest.approx([0.25, 0.5])


def test_what_is_written_is_read() -> None:
    write_ensemble(Path("data/ensemble.json"), ensemble())
    assert read_ensemble(Path("data/ensemble.json")) == ensemble()


def test_a_record_of_before_is_read_unless_it_averages_the_weights_of_folds() -> None:
    path, record = Path("data/ensemble.json"), ensemble().model_dump()
    path.write_text(json.dumps({**record, "fold_soup": False}))
    assert read_ensemble(path) == ensemble()
    path.write_text(json.dumps({**record, "fold_soup": True}))
    with pytest.raises(TrainError, match=r"should be False; write it again with `dvc repro -f submit`"):
        read_ensemble(path)


def test_a_missing_or_damaged_record_is_refused() -> None:
    with pytest.raises(TrainError, match=r"data/ensemble\.json: is missing; run `dvc repro submit`"):
        read_ensemble(Path("data/ensemble.json"))
    Path("data/ensemble.json").write_text("{}")
    with pytest.raises(TrainError, match=r"data/ensemble\.json: .* `dvc repro -f submit`"):
        read_ensemble(Path("data/ensemble.json"))


def test_calibration_and_thresholds_are_fitted_on_the_data_that_is_chosen_and_the_record_says_on_which() -> None:
    whole, labels = params.load(ROOT / "params.yaml"), ["jay", "owl"]
    whole = whole.model_copy(
        update={"ensemble": whole.ensemble.model_copy(update={"calibration": "none", "threshold_prior": 0.0})}
    )
    scores = np.array([[0.9, 0.1], [0.5, 0.2], [0.2, 0.8], [0.1, 0.4]], np.float32)
    truth = np.array([[True, False], [True, False], [False, True], [False, True]])
    held = HeldOut(scores[None], truth, np.ones_like(truth), np.array([0, 1, 0, 1]))
    clips = ClipScores.of(["base", "pcen"], [], np.empty((2, 1, 0, 2), np.float32), Cutting(5.0, 5.0))
    ensemble, thresholds = fitted(whole, labels, np.array([0.5, 0.5]), "windows", Judged(scores, held), clips)
    assert ensemble.fitted_on == "windows"
    assert ensemble.thresholds == pytest.approx([0.35, 0.3])
    columns = ["label", "positives", "threshold", "own_threshold", "f1", "precision", "recall", "found_on"]
    assert list(thresholds) == columns
    assert thresholds["label"].tolist() == labels
    assert thresholds["positives"].tolist() == [2, 2]
    assert thresholds["threshold"].tolist() == pytest.approx([0.35, 0.3])
    assert ensemble.members == {"base": 0.5, "pcen": 0.5}
    assert (ensemble.slopes, ensemble.offsets) == ([], [])


def test_weights_are_said_and_when_they_could_not_be_learnt(capsys: pytest.CaptureFixture[str]) -> None:
    truth = np.ones((4, 2), bool)
    held = HeldOut(MEMBERS[:, :4], truth, truth, np.zeros(4, np.int64))
    none = float("nan")  # nothing is called an owl
    thresholds = pd.DataFrame({"f1": [1.0, none], "precision": [0.9, none], "recall": [0.6, 0.2]})
    print_result(ensemble(), held, thresholds, {"precision": 0.9})
    said = capsys.readouterr().out
    assert "only fold 0 is trained; members are averaged" in said
    assert "blend fitted: one 0.25, two 0.75; calibration and thresholds are fitted on recordings" in said
    told = "for {'precision': 0.9}: f1 1.00, precision 0.90, recall 0.40 (means of classes)"
    assert f"reports/thresholds.csv, {told}" in said


def test_a_list_of_species_counts_by_the_day_of_each_soundscape() -> None:
    Path("species").mkdir()
    Path("species/marsh.csv").write_text("species,month\njay,5\nStrix aluco,6\nkea,\n")
    Path("data/tables/labels.csv").write_text(
        "index,label,scientific_name,common_name,class_name,recordings\n0,jay,,,,3\n1,owl,Strix aluco,Tawny Owl,,4\n"
    )
    Path("data/tables/soundscapes.csv").write_text(
        "sha256,path,duration_s,read_as,soundscape,site,date,time\na,a.ogg,10,,a,,2025-05-03,\nb,b.ogg,5,,b_20250603,,,\n"
    )
    clips = ClipScores.of(
        ["x"], [("a", 10.0), ("b_20250603", 5.0)], np.ones((1, 1, 3, 2), np.float32), Cutting(5.0, 5.0)
    )
    predict = params.load(ROOT / "params.yaml").predict
    scores = np.full((3, 2), 0.8, np.float32)
    assert with_species(predict, scores, clips) is scores
    found = with_species(predict.model_copy(update={"species": "marsh.csv", "species_weight": 0.75}), scores, clips)
    assert found == pytest.approx(np.array([[0.8, 0.2], [0.8, 0.2], [0.2, 0.8]]))
