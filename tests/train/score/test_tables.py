"""What each member adds, blends side by side, and what each step gains: computed again the long way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from birdcache.arrays import Floats32
from birdcache.params import load as parameters
from birdcache.predict.clip_scores import ClipScores
from birdcache.predict.postprocess import Cutting, PostProcessing, by_soundscape
from tests.fixtures.tiny import ROOT
from tests.train.test_evaluate import LABELS, PRIMARY, plain_ensemble, predicted
from train.score.blend import Blend, equal, log_loss
from train.score.ensemble import ENSEMBLE, Ensemble
from train.score.markdown import markdown
from train.score.metrics import recording_metrics, window_metrics
from train.score.out_of_fold import OutOfFold
from train.score.tables import Windows, blend_table, member_table, postprocessing_table
from train.score.truth import WindowTruth

MEMBERS = ("one", "two", "three")
PREDICT = parameters.load(ROOT / "params.yaml").predict  # without a list of species


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table of soundscapes, without a date, below the current directory."""
    monkeypatch.chdir(tmp_path)
    Path("data/tables").mkdir(parents=True)
    Path("data/tables/soundscapes.csv").write_text("soundscape,site,date,time\ndawn,,,\ndusk,,,\n")


@pytest.fixture
def ensemble() -> Ensemble:
    rng = dict.fromkeys(MEMBERS, 1 / 3)
    return plain_ensemble(members=rng, folds=[0, 1], hop_s=2.5, shifts_s=[1.0], smoothing=0.2, file_max=0.0)


@pytest.fixture
def out_of_fold(ensemble: Ensemble) -> OutOfFold:
    rng = np.random.default_rng(8)
    truth = np.eye(4, dtype=np.float32)[PRIMARY]
    noise = dict(zip(MEMBERS, (0.2, 0.8, 3.0), strict=True))
    scores = {name: ((truth + noise[name] * rng.random(truth.shape)) / 4).astype(np.float32) for name in MEMBERS}
    plain = replace(predicted(scores["one"]), scores=scores)
    return replace(plain, scores=scores | {ENSEMBLE: plain.held.blended(ensemble.blend)})


def held_of(out_of_fold: OutOfFold) -> OutOfFold:
    return replace(out_of_fold, scores={name: out_of_fold.scores[name] for name in MEMBERS})


@pytest.fixture
def windows(ensemble: Ensemble) -> Windows:
    return windows_of(ensemble, has_truth=True)


def windows_of(ensemble: Ensemble, has_truth: bool) -> Windows:
    """Eight windows of two soundscapes, scored every 2.5 s and moved by a second."""
    rng = np.random.default_rng(9)
    scores = rng.random((3, 2, 14, 4)).astype(np.float32)
    clips = ClipScores.of(list(MEMBERS), [("dawn", 20.0), ("dusk", 20.0)], scores, Cutting(5.0, 2.5, (1.0,)))
    truth = rng.random((8, 4)) > 0.6
    members = clips.member_windows()
    final = {name: by_soundscape(ensemble.post, each, [4, 4]) for name, each in zip(MEMBERS, members, strict=True)}
    final[ENSEMBLE] = ensemble.final(members, [4, 4])
    known = np.full(8, has_truth)
    known[3] = False
    return Windows(clips, {"soundscapes": WindowTruth(truth, known, "")}, final)


def without_truth(windows: Windows) -> Windows:
    truth = windows.truths["soundscapes"]
    return replace(windows, truths={"soundscapes": replace(truth, known=np.zeros(8, bool))})


def auc_of_windows(windows: Windows, scores: Floats32) -> float:
    return window_metrics(windows.truth[windows.has_truth], scores[windows.has_truth])["macro_roc_auc"]


def test_a_member_adds_what_the_others_lack(out_of_fold: OutOfFold, windows: Windows, ensemble: Ensemble) -> None:
    table = member_table(out_of_fold, held_of(out_of_fold).held, windows, ensemble)
    assert table["data"].tolist() == ["out of fold"] * 3 + ["soundscapes"] * 3
    assert table["member"].tolist() == [*MEMBERS] * 2
    examples = out_of_fold.examples
    for row, (first, second) in zip(range(3), [("two", "three"), ("one", "three"), ("one", "two")], strict=True):
        others = ((out_of_fold.scores[first] + out_of_fold.scores[second]) / 2).astype(np.float32)
        without = recording_metrics(examples.primary, examples.secondary, others)
        whole = recording_metrics(examples.primary, examples.secondary, out_of_fold.scores[ENSEMBLE])
        assert table["auc_without"][row] == pytest.approx(without["macro_roc_auc"])
        assert table["cmap_adds"][row] == pytest.approx(whole["cmap"] - without["cmap"])
        numbers = [MEMBERS.index(first), MEMBERS.index(second)]
        blended = windows.clips.member_windows()[numbers].mean(axis=0)
        expected = auc_of_windows(windows, by_soundscape(ensemble.post, blended, [4, 4]))
        assert table["auc_without"][3 + row] == pytest.approx(expected)
        assert table["auc"][3 + row] == pytest.approx(auc_of_windows(windows, windows.scores[MEMBERS[row]]))
        assert table["weight"][row] == pytest.approx(1 / 3)


def test_without_a_member_weights_are_learnt_anew_and_out_of_fold(
    out_of_fold: OutOfFold, windows: Windows, ensemble: Ensemble
) -> None:
    fitted = ensemble.model_copy(update={"kind": "fitted"})
    held = held_of(out_of_fold).held
    table = member_table(out_of_fold, held, windows, fitted)
    expected = held.members([1, 2]).blended(Blend("fitted"))
    examples = out_of_fold.examples
    found = recording_metrics(examples.primary, examples.secondary, expected)
    assert table["cmap_without"][0] == pytest.approx(found["cmap"])


def test_an_only_member_adds_what_nobody_knows(out_of_fold: OutOfFold, ensemble: Ensemble) -> None:
    alone = ensemble.model_copy(update={"members": {"one": 1.0}})
    only = replace(out_of_fold, scores={"one": out_of_fold.scores["one"]})
    windows = windows_of(ensemble, has_truth=False)
    windows = replace(windows, scores=dict.fromkeys(("one", ENSEMBLE), windows.scores["one"]))
    both = replace(only, scores={**only.scores, ENSEMBLE: only.scores["one"]})
    table = member_table(both, only.held, without_truth(windows), alone)
    assert table["data"].tolist() == ["out of fold"]
    assert np.isnan(table["auc_adds"][0])
    assert np.isfinite(table["auc"][0])


def test_blends_stand_side_by_side(out_of_fold: OutOfFold, windows: Windows, ensemble: Ensemble) -> None:
    held = held_of(out_of_fold).held
    table = blend_table(out_of_fold, held, windows, ensemble).set_index("blend")
    assert table["used"].to_dict() == {"mean": "yes", "rank": "no", "fitted": "no", "best": "no"}
    examples, members = out_of_fold.examples, windows.clips.member_windows()
    for kind in ("mean", "rank", "fitted", "best"):
        blend = Blend(kind, ensemble.best)
        scores = held.blended(blend)
        assert table["log_loss"][kind] == pytest.approx(log_loss(scores, held.truth, held.known))
        expected = recording_metrics(examples.primary, examples.secondary, scores)
        assert table["out of fold cmap"][kind] == pytest.approx(expected["cmap"])
        final = by_soundscape(ensemble.post, blend(members, held.weights(blend)), [4, 4])
        assert table["soundscapes auc"][kind] == pytest.approx(auc_of_windows(windows, final))


def test_a_blend_by_hand_stands_beside_the_others_and_loses_a_member_in_proportion(
    out_of_fold: OutOfFold, windows: Windows, ensemble: Ensemble
) -> None:
    weights = dict(zip(MEMBERS, (0.5, 0.3, 0.2), strict=True))
    by_hand = ensemble.model_copy(update={"kind": "hand", "members": weights})
    held = held_of(out_of_fold).held
    table = blend_table(out_of_fold, held, windows, by_hand).set_index("blend")
    assert table["used"].to_dict() == {"mean": "no", "rank": "no", "fitted": "no", "best": "no", "hand": "yes"}
    expected = np.tensordot([0.5, 0.3, 0.2], held.scores, axes=1).astype(np.float32)
    assert table["log_loss"]["hand"] == pytest.approx(log_loss(expected, held.truth, held.known))
    scores = held_of(out_of_fold).with_ensemble(by_hand)
    members = member_table(scores, held, windows, by_hand).set_index(["data", "member"])
    rest = (0.3 * held.scores[1] + 0.2 * held.scores[2]) / 0.5
    examples = out_of_fold.examples
    without = recording_metrics(examples.primary, examples.unjudged, rest)["macro_roc_auc"]
    assert members["auc_without"]["out of fold", MEMBERS[0]] == pytest.approx(without)


def test_taps_and_the_highest_windows_have_names_in_the_table_of_steps(windows: Windows, ensemble: Ensemble) -> None:
    other = ensemble.model_copy(update={"smoothing": [0.2, 0.6, 0.2], "file_max": 0.5, "top_k": 2})
    table = postprocessing_table(windows, other, PREDICT).set_index("step")
    assert table["used"]["smoothing 0.2, 0.6, 0.2"] == table["used"]["mean of the file's 2 highest ** 0.5"] == "yes"
    numbers = postprocessing_table(windows, ensemble, PREDICT).set_index("step")
    assert table["macro_roc_auc"]["smoothing 0.2, 0.6, 0.2"] == numbers["macro_roc_auc"]["smoothing 0.2"]


def test_each_step_is_measured_by_itself_and_all_that_are_used_together(windows: Windows, ensemble: Ensemble) -> None:
    table = postprocessing_table(windows, ensemble, PREDICT).set_index("step")
    mean, clips = Blend("mean"), windows.clips
    plain = mean(clips.scores[:, 0, [0, 2, 4, 6, 7, 9, 11, 13]], equal(3))
    moved = mean(clips.scores[:, :, [0, 2, 4, 6, 7, 9, 11, 13]].mean(axis=1), equal(3))
    overlapping = mean(clips.member_windows(shifts=False), equal(3))
    smooth, loud = (by_soundscape(PostProcessing(*each), plain, [4, 4]) for each in ((0.2, 0.0), (0.0, 1.0)))
    expected = {
        "one clip a window": (plain, "yes"),
        "a clip every 2.5 s": (overlapping, "yes"),
        "clips moved by 1 s": (moved, "yes"),
        "smoothing 0.2": (smooth, "yes"),
        "file maximum ** 1": (loud, "no"),
        "all that is used": (windows.scores[ENSEMBLE], "yes"),
    }
    assert list(table.index) == list(expected)
    base = auc_of_windows(windows, plain)
    for step, (scores, used) in expected.items():
        assert table["used"][step] == used
        assert table["macro_roc_auc"][step] == pytest.approx(auc_of_windows(windows, scores))
        assert table["auc_gain"][step] == pytest.approx(auc_of_windows(windows, scores) - base)


def test_what_is_off_has_no_row_unless_it_costs_nothing_to_try(ensemble: Ensemble) -> None:
    scores = np.random.default_rng(1).random((3, 1, 8, 4)).astype(np.float32)
    plain = ensemble.model_copy(update={"hop_s": 5.0, "shifts_s": [], "smoothing": 0.0})
    windows = windows_of(ensemble, has_truth=True)
    windows = replace(windows, clips=ClipScores.of(MEMBERS, [("a", 20.0), ("b", 20.0)], scores, Cutting(5.0, 5.0)))
    table = postprocessing_table(windows, plain, PREDICT)
    assert table["step"].tolist() == [
        "one clip a window",
        "smoothing 0.1",
        "file maximum ** 1",
        "all that is used",
    ]
    assert table["used"].tolist() == ["yes", "no", "no", "yes"]


def test_without_a_truth_the_table_of_steps_is_empty(ensemble: Ensemble) -> None:
    windows = without_truth(windows_of(ensemble, has_truth=False))
    table = postprocessing_table(windows, ensemble, PREDICT)
    assert table.empty
    assert markdown(table).splitlines()[0].startswith("| data | step | used | macro_roc_auc |")


def test_a_list_of_species_gains_over_all_that_is_used_without_it(windows: Windows, ensemble: Ensemble) -> None:
    Path("species").mkdir()
    Path("species/marsh.txt").write_text("jay\nowl\nrobin\n")
    named = "".join(f"{number},{label},,,,3\n" for number, label in enumerate(LABELS))
    Path("data/tables/labels.csv").write_text(f"index,label,scientific_name,common_name,class_name,recordings\n{named}")
    both = replace(windows, truths={"windows": windows.truths["soundscapes"], **windows.truths})
    listed = PREDICT.model_copy(update={"species": "marsh.txt", "species_weight": 0.5})
    rows = postprocessing_table(both, ensemble, listed).to_dict("records")
    assert [row["data"] for row in rows] == ["windows"] * 7 + ["soundscapes"] * 7
    used = windows.scores[ENSEMBLE]
    expected = window_metrics(
        windows.truth[windows.has_truth], (used * np.array([1, 1, 1, 0.5], np.float32))[windows.has_truth]
    )
    before = window_metrics(windows.truth[windows.has_truth], used[windows.has_truth])
    for row in (rows[6], rows[13]):
        assert (row["step"], row["used"]) == ("species list marsh.txt, weight 0.5", "yes")
        assert row["cmap"] == pytest.approx(expected["cmap"])
        assert row["cmap_gain"] == pytest.approx(expected["cmap"] - before["cmap"])
        assert row["auc_gain"] == pytest.approx(expected["macro_roc_auc"] - before["macro_roc_auc"])
    assert rows[5]["cmap_gain"] != 0, "so that a gain over one clip a window would be another one"


def test_tables_for_people_have_four_digits_and_no_nan() -> None:
    table = pd.DataFrame({"member": ["one"], "auc": [0.98765], "adds": [float("nan")], "count": [3]})
    assert markdown(table) == "| member | auc | adds | count |\n| --- | --- | --- | --- |\n| one | 0.9877 |  | 3 |\n"
