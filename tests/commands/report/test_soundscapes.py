"""Soundscapes on the page: a strip for each that has a truth, and detections by day and hour."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from birdcache.predict.clip_scores import ClipScores, read_clip_scores
from birdcache.predict.postprocess import Cutting
from cache import report_tables, tables
from commands.report import build
from commands.report.charts import path, shades
from commands.report.data_set import fold_table
from commands.report.results import PipelineResults
from commands.report.timelines import activity, by_hour, strips
from tests.conftest import TinyProject
from tests.fixtures.tiny import change_params
from tests.fixtures.windows import write_windows
from tests.train.test_evaluate import LABELS, plain_ensemble
from train import evaluate
from train.paths import SCORES
from train.score.tables import read_windows

NAMES = {label: f"Common {label}" for label in LABELS}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project's root as the current directory."""
    monkeypatch.chdir(tmp_path)
    write_windows([], {})
    tables.SOUNDSCAPE_TRUTH.write(pd.DataFrame({"row_id": [], "labels": []}, dtype=str))
    return tmp_path


def write_places(places: dict[str, str]) -> None:
    """Soundscapes and their site, date and time, separated by spaces and each - if unknown."""
    rows = [[name, *("" if each == "-" else each for each in place.split())] for name, place in places.items()]
    table = pd.DataFrame(rows, columns=["soundscape", "site", "date", "time"])
    tables.SOUNDSCAPES.write(table.assign(sha256=table["soundscape"], path=table["soundscape"], duration_s=5.0))


def results_of(soundscapes: dict[str, list[str]]) -> PipelineResults:
    """Windows of 5 s in which the labels that are named (separated by spaces) score 0.75 and the others 0.25."""
    heard = [set(labels.split()) for windows in soundscapes.values() for labels in windows]
    scores = np.array([[0.75 if label in each else 0.25 for label in LABELS] for each in heard], np.float32)
    named = [(name, 5.0 * len(windows)) for name, windows in soundscapes.items()]
    ClipScores.of(["one"], named, scores.reshape(1, 1, -1, 4), Cutting(5.0, 5.0)).write(SCORES)
    ensemble = plain_ensemble(members={"one": 1.0})
    labels = pd.DataFrame({"label": LABELS, "common_name": NAMES.values()})
    nothing: Any = None
    return PipelineResults(ensemble, {}, labels, pd.DataFrame(), nothing, read_windows(LABELS, ensemble))


def cells(drawn: str) -> list[tuple[int, float, int, float]]:
    """The rectangles of a path: first column, top, end, height."""
    found = re.findall(r"M(\d+) ([\d.]+)H(\d+)v([\d.]+)H\1z", drawn)
    assert "".join(f"M{start} {top}H{end}v{height}H{start}z" for start, top, end, height in found) == drawn
    return [(int(start), float(top), int(end), float(height)) for start, top, end, height in found]


def test_a_path_has_a_rectangle_over_each_run_of_cells() -> None:
    is_on = np.array([[1, 1, 0, 1], [0, 0, 0, 0], [0, 1, 1, 1]], bool)
    assert cells(path(is_on)) == [(0, 0, 2, 1), (3, 0, 4, 1), (1, 2, 4, 1)]
    assert cells(path(is_on, 0.75, 0.25)) == [(0, 0.75, 2, 0.25), (3, 0.75, 4, 0.25), (1, 2.75, 4, 0.25)]
    assert path(np.zeros((0, 4), bool)) == path(np.zeros((2, 0), bool)) == ""


def test_a_heat_map_has_ten_shades_and_none_for_nothing() -> None:
    drawn = dict(shades(np.array([[0.0, 0.01, 0.1, 0.95], [np.nan, 1.0, 1.2, 0.5]])))
    assert {level: cells(each) for level, each in drawn.items()} == {
        0.1: [(1, 0, 3, 1)],
        0.5: [(3, 1, 4, 1)],
        1.0: [(3, 0, 4, 1), (1, 1, 3, 1)],
    }


@pytest.fixture
def detected(folder: Path) -> pd.DataFrame:
    """Windows before and after midnight at one site, at noon at another, and of nobody knows when."""
    write_places(
        {"lost": "A - -", "late": "A 2025-05-31 23:59:50", "noon": "B 2025-05-31 12:00:00", "day": "B 2025-06-02 -"}
    )
    found = {"day": ["jay"], "late": ["owl", "", "owl jay", "owl"], "lost": ["wren"], "noon": ["jay", "jay"]}
    return activity(results_of(found))


def test_windows_are_counted_by_the_hour_and_day_in_which_they_begin(detected: pd.DataFrame) -> None:
    assert list(detected.columns) == ["label", "site", "date", "hour", "windows", "detections"]
    assert [tuple(row) for row in detected.to_numpy().tolist()] == [
        ("", "A", "2025-05-31", 23, 2, 1),
        ("", "A", "2025-06-01", 0, 2, 2),
        ("", "B", "2025-05-31", 12, 2, 2),
        ("jay", "A", "2025-06-01", 0, 2, 1),
        ("jay", "B", "2025-05-31", 12, 2, 2),
        ("owl", "A", "2025-05-31", 23, 2, 1),
        ("owl", "A", "2025-06-01", 0, 2, 2),
    ]


def test_panels_show_the_share_of_windows_from_the_most_detected_class_on(detected: pd.DataFrame) -> None:
    shown = by_hour(detected, NAMES)
    assert shown["named"] == [(0, "2025-05-31"), (1, "2025-06-01")]
    assert shown["largest"] == 1
    assert cells(shown["recorded"]) == [(12, 0, 13, 1), (23, 0, 24, 1), (0, 1, 1, 1)]
    panels = {name: {level: cells(each) for level, each in drawn} for name, drawn in shown["panels"]}
    assert panels == {
        "Common jay": {0.5: [(0, 1, 1, 1)], 1: [(12, 0, 13, 1)]},
        "Common owl": {0.5: [(23, 0, 24, 1)], 1: [(0, 1, 1, 1)]},
    }


def test_sites_count_together_by_their_windows_and_the_darkest_shade_is_the_largest_share(folder: Path) -> None:
    write_places({"a": "A 2025-05-01 06:00:00", "b": "B 2025-05-01 06:30:00"})
    shown = by_hour(activity(results_of({"a": ["jay", "", ""], "b": [""]})), NAMES)
    assert shown["largest"] == 0.25
    assert [(name, [(level, cells(each)) for level, each in drawn]) for name, drawn in shown["panels"]] == [
        ("Common jay", [(1, [(6, 0, 7, 1)])])
    ]


def test_a_few_days_without_recordings_are_rows_and_months_of_them_are_left_out(folder: Path) -> None:
    for last, days in (("2025-05-03", 3), ("2025-09-01", 2)):
        write_places({"a": "- 2025-05-01 06:00:00", "b": f"- {last} 06:00:00"})
        shown = by_hour(activity(results_of({"a": ["jay"], "b": ["jay"]})), NAMES)
        assert shown["days"] == days
        assert cells(shown["recorded"]) == [(6, 0, 7, 1), (6, days - 1, 7, 1)]
        assert shown["named"][-1] == (days - 1, last)


@pytest.mark.parametrize("found", [{}, {"a": [""]}, {"b": ["jay"]}])
def test_without_a_time_or_a_detection_there_is_nothing_to_show(folder: Path, found: dict[str, list[str]]) -> None:
    write_places({"a": "- 2025-05-01 06:00:00", "b": "- - -"})
    assert by_hour(activity(results_of(found)), NAMES) == {}


def test_every_soundscape_with_a_truth_has_a_strip_held_out_ones_first_by_site_and_time(folder: Path) -> None:
    write_places({"a": "S2 - -", "b": "S1 2025-05-02 05:00:00", "c": "S1 2025-05-01 06:00:00", "x": "- - -"})
    write_windows([(name, 0.0, 5.0, "jay") for name in "abcd"], {"a": 0, "b": 0, "c": 0, "d": -1})
    tables.SOUNDSCAPE_TRUTH.write(pd.DataFrame({"row_id": ["x_5", "w_5"], "labels": ["owl", ""]}))
    found = list(strips(results_of({name: ["jay"] for name in "abcdwxy"})))
    assert [(each["place"]["soundscape"], each["fold"]) for each in found] == [
        ("c", 0),
        ("b", 0),
        ("a", 0),
        ("x", None),
        ("w", None),
    ]
    assert (found[0]["place"]["site"], found[0]["place"]["date"], found[0]["place"]["time"]) == (
        "S1",
        "2025-05-01",
        "06:00:00",
    )


def test_a_strip_shows_scores_truth_and_detections_and_counts_only_where_the_truth_tells(folder: Path) -> None:
    write_places({"a": "S - -"})
    write_windows([("a", 0.0, 5.0, "jay owl"), ("a", 5.0, 10.0, "jay"), ("a", 10.0, 15.0, "")], {"a": 0})
    (strip,) = strips(results_of({"a": ["jay", "", "jay wren", "jay wren"]}))
    assert strip["rows"] == [("Common jay", [1, 2, 1]), ("Common owl", [0, 1, 0]), ("Common wren", [0, 0, 1])]
    assert strip["told"] == [1, 3, 2]
    assert cells(strip["called"]) == [(0, 0.1, 1, 0.2), (2, 0.1, 4, 0.2), (2, 2.1, 4, 0.2)]
    assert cells(strip["heard"]) == [(0, 0.65, 2, 0.25), (0, 1.65, 1, 0.25)]
    assert cells(strip["unknown"]) == [(3, 0, 4, 1)]
    levels = {level: cells(each) for level, each in strip["shades"]}
    assert levels == {
        0.3: [(1, 0, 2, 1), (0, 1, 4, 1), (0, 2, 2, 1)],
        0.8: [(0, 0, 1, 1), (2, 0, 4, 1), (2, 2, 4, 1)],
    }
    assert strip["ticks"][-1].text == "20"


@pytest.fixture
def project(tiny_project: TinyProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the tiny project, with labelled soundscapes of three sites beside that of its exam."""
    root = tmp_path / "copy"
    shutil.copytree(tiny_project.root, root)
    monkeypatch.chdir(root)
    clips, exam = read_clip_scores(SCORES), tables.SOUNDSCAPES.read()
    names = [f"s{number}" for number in range(6)]
    scores = np.concatenate([clips.scores, np.tile(clips.scores, (1, 1, len(names), 1))], axis=2)
    soundscapes = [(name, 20.0) for name in [*clips.soundscapes.tolist(), *names]]
    ClipScores.of(clips.members.tolist(), soundscapes, scores, clips.cutting).write(SCORES)
    more = pd.DataFrame({"soundscape": names, "site": list("AABBCC"), "date": "2025-05-01", "time": "05:59:50"})
    sha256 = [f"{number:064x}" for number in range(len(names))]
    more = more.assign(sha256=sha256, path=names, duration_s=20.0)
    tables.SOUNDSCAPES.write(pd.concat([exam, more]).fillna(""))
    labels = ["lowton", "lowton", "higton", ""]
    windows = [(name, 5.0 * place, 5.0 * place + 5, each) for name in names for place, each in enumerate(labels)]
    write_windows(windows, dict(zip(names, [0, 0, 1, 1, 0, 0], strict=True)), sha256)
    change_params(report={"soundscapes": 1, "clips": 0, "gallery": 0})
    return root


@pytest.mark.slow
def test_the_page_has_held_out_windows_with_intervals_strips_and_a_heat_map(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate.main()
    build.main()
    page = Path("reports/report.html").read_text()
    counted = pd.read_csv("reports/activity.csv", keep_default_na=False)
    detected = set(counted["label"]) - {""}
    assert detected
    assert page.count('<figure class="strip">') == len(detected) + 7, "classes by day and hour, and soundscapes"
    assert page.index("Held out of training, by site") < page.index("<h4>Exam</h4>")
    assert re.search(
        r"<b>s2</b> <span class=\"muted\">site B, 2025-05-01 05:59:50, fold 1, \d of 3 found, \d+ false", page
    )
    (table,) = re.findall(r'id="table-windows">.*?</table>', page, re.DOTALL)
    assert "Windows of held-out soundscapes" in table
    assert re.search(r"\d\.\d{3} \(\d\.\d{3}.\d\.\d{3}\)", table), "six soundscapes are enough for an interval"
    assert counted[counted["label"] == ""].groupby("hour")["windows"].sum().to_dict() == {5: 12, 6: 12}
    monkeypatch.setattr(build, "MB", 1e4)
    build.main()
    page = Path("reports/report.html").read_text()
    assert page.count("Only 0 soundscapes: more would make this page larger") == 2, "with sound, and strips"


def test_the_table_of_folds_has_recordings_and_windows_side_by_side(folder: Path) -> None:
    values = dict(zip(report_tables.FOLD_SUMMARY.columns, [0, 9, 0.25, 5, 4, 3, 1, 0, 2, 1, 24, 7], strict=True))
    report_tables.FOLD_SUMMARY.write(pd.DataFrame([values]))
    (row,) = fold_table().rows
    assert {name: cell.text for name, cell in row.items()} == {
        "fold": "0",
        "recordings": "9",
        "hours": "0.25",
        "groups": "5",
        "authors": "4",
        "labels": "3",
        "labels without": "1",
        "labels untrained": "0",
        "soundscapes": "2",
        "sites": "1",
        "windows": "24",
        "window labels": "7",
    }


@pytest.mark.slow
def test_calibration_is_shown_before_and_after_as_evaluated(project: Path) -> None:
    page = (project / "reports/report.html").read_text()
    (table,) = re.findall(r'id="table-calibration">.*?</table>', page, re.DOTALL)
    kinds = report_tables.CALIBRATION.read()
    for row in kinds.itertuples():
        assert f'data-sort="{row.expected_error}"' in table
        assert f">calibration {row.calibration}<" in page
    used = kinds[(kinds["used"] == "yes") & (kinds["data"] == "recordings")]
    bins = report_tables.RELIABILITY.read().merge(used)
    of_used = bins[list(report_tables.RELIABILITY.columns)]
    for data in kinds["data"].unique():
        assert f"Calibration of {data} (expected error " in page
    written = pd.read_csv("reports/calibration.csv")
    assert of_used["recordings"].sum() == 18
    pd.testing.assert_frame_equal(written, of_used[list(written.columns)].reset_index(drop=True))
