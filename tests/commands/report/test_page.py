"""The page of the tiny project, read as text: what it says, how large it gets, and that its bytes repeat."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from birdcache.errors import TrainError
from birdcache.params import load as params
from birdcache.predict.clip_scores import ClipScores, read_clip_scores
from cache import report_tables, tables
from cache.tables import Col
from commands.report import build
from commands.report.build import SCRIPTS, joined, policy
from commands.report.charts import NAMED_AT_MOST, short
from commands.report.clips import least_sure, loudest_frame, worst
from commands.report.data_set import class_table, fold_chart, tail_chart
from commands.report.results import read_report, read_results
from tests.conftest import TinyProject
from tests.fixtures.browser import Browser
from tests.fixtures.tiny import change_params
from train.paths import SCORES

HOSTILE = """<img src=x onerror="document.title='owned'">&'"`$\\{{ 7 * 7 }}</script>"""


@pytest.fixture
def project(tiny_project: TinyProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the tiny project."""
    root = tmp_path / "copy"
    shutil.copytree(tiny_project.root, root)
    monkeypatch.chdir(root)
    return root


def made() -> str:
    """The page of the project in this folder, built anew."""
    build.main()
    return Path("reports/report.html").read_text()


def change(path: str, change_row: Any) -> None:
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table.apply(change_row, axis=1).to_csv(path, index=False)


@pytest.mark.slow
def test_the_same_results_give_the_same_bytes(project: Path) -> None:
    before = (project / "reports/report.html").read_text()
    assert made() == before
    assert str(project) not in before
    assert not re.search(r"20\d\d-\d\d-\d\d", before), "no date"


def test_numbers_are_those_of_the_reports(project: Path) -> None:
    page = unescape((project / "reports/report.html").read_text())
    metrics = json.loads(Path("reports/metrics.json").read_text())["out_of_fold"]
    for values in metrics.values():
        for key in ("accuracy", "macro_roc_auc", "cmap", "macro_f1"):
            assert f'data-sort="{values[key]}"' in page
    for row in pd.read_csv("reports/evaluate/per_class.csv").itertuples():
        assert f'data-sort="{row.average_precision}"' in page
    assert ">18<" in page.replace("dd>", ">"), "recordings"


def test_its_policy_names_exactly_its_script(project: Path) -> None:
    page = (project / "reports/report.html").read_text()
    (content,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="(.*?)">', page)
    assert unescape(content) == policy(joined(SCRIPTS))
    assert "default-src 'none'" in unescape(content)
    assert "unsafe" not in unescape(content).replace("style-src 'unsafe-inline'", "")
    assert page.count("<script") == 1
    addresses = set(re.findall(r"(?:src|href)=\"([a-z]+:)", page))
    assert addresses == {"data:"}


@pytest.mark.parametrize(("budget_mb", "cut"), [(1.0, True), pytest.param(4.0, False, marks=pytest.mark.slow)])
def test_the_page_keeps_its_budget_and_says_what_is_left_out(
    project: Path, monkeypatch: pytest.MonkeyPatch, budget_mb: float, cut: bool
) -> None:
    monkeypatch.setattr(build, "MB", 0.45e6)  # so that 1 MB is little for the tiny project too
    change_params(report={"budget_mb": budget_mb, "clips": 18, "gallery": 3})
    page = made()
    assert len(page.encode()) <= budget_mb * build.MB
    left_out = re.findall(r"Only (\d+) (\w+): more would make this page larger", page)
    assert bool(left_out) == cut
    assert all(int(count) < 18 for count, _ in left_out)
    shown = len(re.findall(r'<article class="clip', page))
    assert shown >= 6 if cut else shown == 21, "18 recordings and one of each class"


@pytest.mark.slow
def test_a_page_that_is_too_large_without_any_sound_is_said_so(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(build, "MB", 1e4)
    assert "<audio" not in made()
    assert "tables and charts are never left out" in capsys.readouterr().out


@pytest.mark.slow
def test_tables_over_time_count_as_well_and_the_size_that_is_told_is_the_real_one(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("commands.report.timelines.CELL_BYTES", 10**7)
    page = made()
    assert "Only 0 soundscapes: more would make this page larger" in page
    (told,) = re.findall(r"It has (\d\.\d) of at most", page)
    assert float(told) == pytest.approx(len(page.encode()) / build.MB, abs=0.051)


@pytest.mark.slow
def test_names_that_tables_escape_are_shown_as_they_are(project: Path) -> None:
    names = {"midton": "=Babbler", "lowton": "-1 Robin"}
    labels = tables.LABELS.read()
    tables.LABELS.write(labels.assign(common_name=labels[Col.LABEL].map(names).fillna("NA")))
    page = made()
    assert ">=Babbler<" in page
    assert ">-1 Robin<" in page
    assert ">NA<" in page
    assert "&#39;=" not in page


@pytest.mark.slow
def test_a_soundscape_may_be_called_like_nothing(project: Path) -> None:
    clips = read_clip_scores(SCORES)
    (name,) = clips.soundscapes.tolist()
    for table, column in ((tables.SOUNDSCAPES, Col.SOUNDSCAPE), (tables.SOUNDSCAPE_TRUTH, Col.ROW_ID)):
        frame = table.read()
        table.write(frame.assign(**{column: frame[column].str.replace(name, "NA")}))
    replace(clips, soundscapes=np.array(["NA"])).write(SCORES)
    assert 'id="soundscape-0"' in made()


@pytest.mark.slow
def test_without_a_class_that_can_be_scored_there_is_still_a_page(project: Path) -> None:
    report_tables.PER_CLASS.write(report_tables.PER_CLASS.read().head(0))
    page = made()
    assert "chart-precision" not in page
    assert "chart-calibration" in page


def test_nobody_is_no_recordist(project: Path) -> None:
    tables.RECORDINGS.write(tables.RECORDINGS.read().assign(author=""))
    table = class_table(read_results(), read_report("folds/summary"))
    assert {row["recordists"].text for row in table.rows} == {"0"}


@pytest.mark.slow
def test_nothing_to_hear_is_asked_for(project: Path) -> None:
    change_params(report={"clips": 0, "gallery": 0, "soundscapes": 0})
    page = made()
    assert "<audio" not in page
    assert page.count("None.") >= 3


@pytest.mark.slow
def test_a_recording_that_is_gone_has_a_picture_and_says_why_it_is_silent(project: Path) -> None:
    shutil.rmtree("chorus/train_audio/lowton")
    page = made()
    assert "No sound: chorus/train_audio/lowton/XC" in page
    assert "cannot be read" in page
    assert page.count("<audio") > 3, "the others are heard"


def test_a_missing_result_names_the_stage(project: Path) -> None:
    shutil.rmtree("models/base/0")
    with pytest.raises(TrainError, match="dvc repro -f train@base-0"):
        made()


def forget_metrics_of_soundscapes() -> None:
    metrics = json.loads(Path("reports/metrics.json").read_text())
    del metrics["soundscapes"]
    Path("reports/metrics.json").write_text(json.dumps(metrics))


@pytest.mark.slow
def test_without_soundscapes_the_page_shows_the_rest(project: Path) -> None:
    clips = read_clip_scores(SCORES)
    nothing = clips.scores[:, :, :0]
    ClipScores.of(clips.members.tolist(), [], nothing, clips.cutting).write(SCORES)
    for path in ("data/tables/soundscapes.csv", "data/tables/soundscape_truth.csv"):
        Path(path).write_text(Path(path).read_text().splitlines()[0] + "\n")
    forget_metrics_of_soundscapes()
    page = made()
    assert 'class="timeline"' not in page
    assert 'class="clip' in page


@pytest.mark.slow
def test_without_a_truth_the_page_says_so(project: Path) -> None:
    truth = Path("data/tables/soundscape_truth.csv")
    truth.write_text(truth.read_text().splitlines()[0] + "\n")
    forget_metrics_of_soundscapes()
    page = made()
    assert "There is no truth for this soundscape." in page
    assert "Soundscapes, per window" not in page
    assert 'class="sings' not in page


def test_hostile_names_are_shown_and_do_nothing(project: Path, browser: Browser) -> None:
    change("data/tables/labels.csv", lambda row: row.replace(row["common_name"], f"{row['label']} {HOSTILE}"))
    refused = {"file": HOSTILE, "code": "damaged", "detail": HOSTILE, "hint": "none"}
    pd.DataFrame([refused]).to_csv("reports/data/refused.csv", index=False)
    old, new = "lowton/XC0.ogg", f"lowton/{HOSTILE}.ogg"
    for path in ("data/tables/recordings.csv", "data/folds.csv"):
        change(path, lambda row: row.replace(old, new))
    for file in Path("models").glob("*/*/predictions.npz"):
        content = dict(np.load(file))
        content["recording"] = np.array([new if name == old else name for name in content["recording"].tolist()])
        np.savez(file, **content)
    change_params(report={"clips": 18})
    text = made()
    assert "<img src=x" not in text
    browser.open(project / "reports/report.html")
    assert browser.errors() == []
    assert browser.requests() == []
    assert browser.driver.title == "birdcache report"
    assert browser.all("img[src='x']") == []
    assert browser.texts("#table-refused td.path") == [HOSTILE]
    assert f"lowton {HOSTILE}" in browser.texts("#table-classes td:first-child")
    assert any(new in each for each in browser.texts("#mistakes .file"))
    assert any(each.startswith("lowton <img src=x onerror") for each in browser.texts("#chart-tail text"))


def test_the_worst_mistakes_are_the_surest_and_secondary_labels_are_none(project: Path) -> None:
    results = read_results()
    examples = results.predicted.examples
    scores_NK = np.full((len(examples), 3), 0.1, np.float32)
    scores_NK[np.arange(len(examples)), examples.primary] = 0.6
    first, second, third = 1, 7, 13
    for number, score in ((first, 0.7), (second, 0.9), (third, 0.65)):
        scores_NK[number, (examples.primary[number] + 1) % 3] = score
    examples.secondary[third, (examples.primary[third] + 1) % 3] = True
    results.predicted.scores["ensemble"] = scores_NK
    assert worst(results).tolist() == [second, first]


def test_the_least_sure_have_two_best_classes_side_by_side() -> None:
    scores = np.array([[0.9, 0.1, 0.0], [0.4, 0.38, 0.0], [0.0, 0.7, 0.4]], np.float32)
    assert least_sure(scores).tolist() == [1, 2, 0]
    assert least_sure(scores[:, :1]).tolist() == []


def test_the_liveliest_piece_is_where_something_rises_above_a_steady_noise() -> None:
    values_TM = np.full((1000, 16), -60, np.float32)
    values_TM[:, 0] = 0  # a hum, loud but steady
    values_TM[600:820, 9:] = -90  # rain that stops for the song
    values_TM[700:720, 8] = -20
    begin = loudest_frame(values_TM, 100)
    assert begin <= 700
    assert begin + 100 >= 720


def test_wrong_keys_are_refused(project: Path) -> None:
    change_params(report={"budget_mb": 0.5, "clips": -1})
    with pytest.raises(params.ParamsError) as caught:
        params.load()
    told = str(caught.value)
    assert "report.budget_mb" in told
    assert "report.clips" in told
    assert "2 problems" in told


@pytest.mark.parametrize("classes", [1, 12, 206])
def test_charts_of_few_and_of_many_classes_hold_words_and_no_formulas(classes: int) -> None:
    names = [f"bird{number}" for number in range(classes)]
    counts = np.maximum(1500 // np.arange(1, classes + 1), 3)
    labels = pd.DataFrame({"label": names, "recordings": counts})
    drawn = tail_chart(labels, {name: f"{name} with a long name" for name in names}, rare_below=10)
    assert "$" not in drawn.svg
    assert "1,500" in drawn.alt
    told = ["1,000", "100"] if classes > NAMED_AT_MOST else [short(f"{names[-1]} with a long name")]
    assert all(f">{word}<" in drawn.svg for word in told)


@pytest.mark.parametrize("never", [0, 7])
def test_recordings_that_are_never_validated_have_a_bar_if_there_are_some(never: int) -> None:
    folds = {"recordings_of_label_by_fold": {"a": {"never": never, "0": 1400, "1": 800}}}
    drawn = fold_chart(folds)
    assert ("never" in drawn.svg) == bool(never)
    assert ">1,400<" in drawn.svg
