"""Each year's BirdCLEF as downloaded: from `init` to the tables of stage `recordings`, and to a submission."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from birdcache import cli
from birdcache.params import load as params
from cache import tables
from pipeline import recordings
from tests.conftest import STAGES
from tests.fixtures import birdclef_years, tiny
from tests.fixtures.stages import run_stage
from tests.test_dvc import copy_of_the_code, dvc, start_git

LABELS = sorted(birdclef_years.TONES_HZ)
SOUNDSCAPES = {
    2021: ("train_soundscapes", 3),
    2022: ("test_soundscapes", 1),
    2023: ("test_soundscapes", 1),
    2024: ("unlabeled_soundscapes", 1),
    2025: ("train_soundscapes", 1),
    2026: ("train_soundscapes", 4),
}
WINDOWS = {2021: ("train_soundscape_labels.csv", 12), 2026: ("train_soundscapes_labels.csv", 12)}
FORMS = {2021: ("birds", LABELS), 2022: ("target", ["47158son01", "acafly"])}


@pytest.fixture
def _checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(tiny.ROOT / "params.yaml", "params.yaml")
    shutil.copytree(tiny.ROOT / "annotations", "annotations")


@pytest.mark.usefixtures("_checkout")
@pytest.mark.parametrize("year", birdclef_years.YEARS)
def test_a_year_is_found_by_init_and_read_by_stage_recordings(year: int, capsys: pytest.CaptureFixture[str]) -> None:
    birdclef_years.write_year(Path("year"), year)
    cli.main(["init", "--birdclef", "year"])
    said, data = capsys.readouterr().out, params.load().data
    folder, count = SOUNDSCAPES[year]
    table, windows = WINDOWS.get(year, (None, 0))
    assert (data.soundscapes, data.soundscape_truth, data.soundscape_labels) == (folder, None, table)
    assert f"{'train.csv' if year >= 2025 else 'train_metadata.csv'}: 18 recordings of 3 classes" in said
    labelled = windows // birdclef_years.WINDOWS
    shares = {recipe.sampling.shares.soundscapes for recipe in params.load().train.values()}
    assert shares == ({0.1} if windows else {0.0}), "2021 and 2026 have labelled windows at two sites"
    assert f"{folder}: {count} soundscape{'s' * (count > 1)}, {labelled} of them in a table of windows" in said
    assert ("test_soundscapes/: holds no audio, so is left out" in said) == (year not in (2022, 2023))
    if year == 2026:
        only = "12 windows of 3 soundscapes, with 1 label that no recording has, such as grekis"
        assert f"train_soundscapes_labels.csv: {only}" in said
    recordings.main()
    assert len(tables.RECORDINGS.read()) == 18
    assert set(tables.RECORDINGS.read()["secondary"]) == {"", "acafly"}
    assert len(tables.SOUNDSCAPES.read()) == count
    labels = tables.LABELS.read()
    assert set(labels["label"]) >= set(LABELS)
    names = labels.loc[labels["label"] == "1139490", ["scientific_name", "common_name"]].to_numpy()
    assert names.tolist() == [["Genus 1139490", "A 1139490"] if year == 2021 else ["G 1139490", "Bird 1139490"]]
    wanted = tables.SUBMISSION_LABELS.read()
    form, scored = FORMS.get(year, ("", sorted([*LABELS, "grekis"]) if year == 2026 else LABELS))
    assert wanted["label"].tolist() == scored
    assert set(wanted["column"]) == {form}


@pytest.mark.usefixtures("_checkout")
def test_two_tables_of_recordings_are_not_guessed_between(capsys: pytest.CaptureFixture[str]) -> None:
    birdclef_years.write_year(Path("year"), 2022)
    shutil.copy("year/train_metadata.csv", "year/train.csv")
    with pytest.raises(SystemExit, match="1"):
        cli.main(["init", "--birdclef", "year"])
    assert (
        "year/train.csv: lies beside train_metadata.csv; name the one to read in data.table" in capsys.readouterr().err
    )


@pytest.mark.slow
@pytest.mark.parametrize("year", birdclef_years.YEARS)
def test_a_year_goes_through_all_stages_to_the_form_of_its_submission(
    year: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The latest year by `dvc repro`; others in this process, which is six times as fast."""
    monkeypatch.chdir(tmp_path)
    copy_of_the_code(tmp_path)
    start_git(tmp_path)
    birdclef_years.write_year(Path("year"), year)
    shutil.copy(tiny.ROOT / "params.yaml", "params.yaml")
    cli.main(["init", "--birdclef", "year"])
    raw, found = tiny.tiny_params("year"), params.load().data.model_dump()
    raw["data"] |= {key: found[key] for key in ("soundscapes", "soundscape_truth", "soundscape_labels")}
    raw["train"]["demo"] |= {"epochs": 2}
    del raw["members"]["pcen"], raw["views"]["pcen"]
    tiny.write_params(Path("params.yaml"), raw)
    if year == max(birdclef_years.YEARS):
        dvc(tmp_path, "repro", "submit", "evaluate")
    else:
        for stage, (module, arguments) in STAGES.items():
            if "pcen" not in stage and stage != "report":
                run_stage(module, *arguments)
    submission = pd.read_csv("reports/submission.csv", dtype=str)
    form, scored = FORMS.get(year, ("", sorted([*LABELS, "grekis"]) if year == 2026 else LABELS))
    assert list(submission.columns) == ["row_id", *([form] if form else scored)]
    ends = [f"{5 * (number + 1)}" for number in range(birdclef_years.WINDOWS)]
    row_ids = {
        2021: [f"{name}_{end}" for name in ("10534_COR", "7019_COR", "7954_SSW") for end in ends],
        2022: [f"soundscape_453028782_{label}_{end}" for end in ends for label in scored],
    }.get(year, [f"{name}_{end}" for name in tables.SOUNDSCAPES.read()["soundscape"] for end in ends])
    assert submission["row_id"].tolist() == row_ids
    metrics = json.loads(Path("reports/metrics.json").read_text())
    assert metrics["out_of_fold"]["ensemble"]["macro_roc_auc"] > 0.3
    assert ("windows" in metrics) == (year in WINDOWS)
    if year in WINDOWS:
        assert metrics["windows"]["ensemble"]["classes_scored"] >= 3
        assert 0 <= metrics["windows"]["ensemble"]["macro_roc_auc"] <= 1
