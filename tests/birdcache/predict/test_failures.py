"""`birdcache predict` and bundles in Python where a model, the disk or birdcache itself fails over a file."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import birdcache
from birdcache import cli
from birdcache.audio.rejected import HINTS, RejectedAudio
from birdcache.bundle import graph
from birdcache.bundle.scores import BundlePredictor
from birdcache.predict.predictor import FileScores
from tests.fixtures.hostile_bundle import SAMPLES, endless, rooted, write_bundle

GOOD, BAD = 0.25, -0.25


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Recordings of which one begins below zero; the current directory is theirs."""
    monkeypatch.chdir(tmp_path)
    for name, value in (("a", GOOD), ("b", BAD), ("c", 0.3)):
        wave = np.full(3 * SAMPLES, value) * np.linspace(1, 0.5, 3 * SAMPLES)
        soundfile.write(f"{name}.wav", wave, SAMPLES, "FLOAT")
    return tmp_path


def run(*arguments: str, paths: tuple[str, ...] = ("a.wav", "b.wav", "c.wav")) -> None:
    cli.main(["predict", *paths, "--model", "x.bundle", "--out", "found", "--threshold", "0", *arguments])


def rows(name: str) -> list[list[str]]:
    with Path("found", name).open(encoding="utf-8") as file:
        return list(csv.reader(file))[1:]


def scored_files() -> list[str]:
    return sorted({row[0] for row in rows("detections.csv")})


def test_scores_that_are_no_numbers_cost_their_file_and_name_model_and_window(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_bundle(folder / "x.bundle", rooted())
    with pytest.raises(SystemExit, match="1"):
        run()
    assert scored_files() == ["a.wav", "c.wav"]
    (row,) = rows("refused.csv")
    assert row[:2] == ["b.wav", "no-scores"]
    assert row[2].startswith("x.bundle: gives nan instead of a score from 0 to 1 for b.wav, 1 to 2 s and 1 more")
    assert "b.wav: x.bundle: gives nan" in capsys.readouterr().err
    with pytest.raises(birdcache.BirdcacheError, match=r"b.wav: x.bundle: gives nan .* 1 to 2 s"):
        birdcache.load("x.bundle").predict("b.wav")


@pytest.mark.slow
def test_a_graph_that_does_not_end_over_a_file_costs_that_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "MOST_TIMES", 0)
    write_bundle(folder / "x.bundle", endless(None))
    soundfile.write("b.wav", np.full(SAMPLES, -0.1) * np.linspace(1, 0.5, SAMPLES), SAMPLES, "FLOAT")
    bundle = birdcache.load("x.bundle")
    monkeypatch.setattr(graph, "WAIT_S", 2.0)
    with pytest.raises(
        birdcache.BirdcacheError, match=r"a.wav: x.bundle/model.onnx: it does not score its clips after"
    ):
        bundle.predict("a.wav")
    monkeypatch.setattr(graph, "WAIT_S", 60.0)
    assert bundle.predict("b.wav").scores.shape == (1, 2)


def failing(patch: pytest.MonkeyPatch, name: str, error: BaseException) -> None:
    """The bundle fails over this file."""
    before = BundlePredictor.score

    def score(self: BundlePredictor, path: Path, *rest: Any, **more: Any) -> FileScores:
        if path.name == name:
            raise error
        return before(self, path, *rest, **more)

    patch.setattr(BundlePredictor, "score", score)


def test_an_error_that_nobody_foresaw_costs_its_file_and_says_what_to_report(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bundle(folder / "x.bundle")
    failing(monkeypatch, "b.wav", OverflowError("cannot convert float infinity to integer"))
    with pytest.raises(SystemExit, match="1"):
        run()
    assert scored_files() == ["a.wav", "c.wav"]
    ((file, code, detail, hint),) = rows("refused.csv")
    assert (file, code) == ("b.wav", "unexpected")
    assert "OverflowError: cannot convert float infinity to integer; test_failures.py, line" in detail
    assert hint.startswith("report this line")
    with pytest.raises(birdcache.BirdcacheError, match=r"b.wav: makes birdcache fail \(OverflowError"):
        birdcache.load("x.bundle").predict("b.wav")


@pytest.mark.parametrize(
    ("number", "way_out"), [(28, "free some space"), (13, "have its owner allow it, or use another folder")]
)
def test_a_disk_that_takes_no_more_is_told_and_finished_files_stay(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int, way_out: str
) -> None:
    write_bundle(folder / "x.bundle")
    with monkeypatch.context() as patch:
        failing(patch, "c.wav", OSError(number, "the disk's word", "found/scores/x.npz"))
        with pytest.raises(SystemExit, match="1"):
            run()
    said = capsys.readouterr().err
    assert "error: found/scores/x.npz: cannot be written (the disk's word" in said
    assert f"{way_out}), then run the same command again; the scores of finished files are kept in" in said
    run()
    assert "2 of 3 files were scored by the same model before" in capsys.readouterr().out
    assert scored_files() == ["a.wav", "b.wav", "c.wav"]


def test_results_that_cannot_be_written_leave_the_scores(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_bundle(folder / "x.bundle")
    with monkeypatch.context() as patch:
        patch.setattr("birdcache.files.csv.writer", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "full")))
        with pytest.raises(SystemExit, match="1"):
            run()
    assert "error: found/detections.csv: cannot be written (full; free some space)" in capsys.readouterr().err
    assert sorted(path.name for path in Path("found").iterdir()) == ["scores"], "nothing half-written stays"
    run()
    assert scored_files() == ["a.wav", "b.wav", "c.wav"]


def test_a_folder_of_results_that_vanishes_is_made_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bundle(folder / "x.bundle")
    before = BundlePredictor.score

    def score(self: BundlePredictor, path: Path, *rest: Any) -> FileScores:
        if path.name == "a.wav":
            shutil.rmtree("found")
        return before(self, path, *rest)

    monkeypatch.setattr(BundlePredictor, "score", score)
    run()
    assert scored_files() == ["a.wav", "b.wav", "c.wav"]


@pytest.mark.parametrize("code", HINTS)
def test_hints_about_a_single_file_name_no_table_stage_or_parameter(code: str) -> None:
    hint = RejectedAudio(code, "is bad", file="a.wav").alone().hint
    assert hint
    assert not any(word in hint for word in ("table", "data set", "params.yaml", "data.", "dvc"))


def test_a_hint_of_its_own_stays(tmp_path: Path) -> None:
    assert RejectedAudio("damaged", "is bad", "repair its header", "a.wav").alone().hint == "repair its header"


def test_header_cells_are_no_formulas_either(folder: Path) -> None:
    from birdcache.files import write_rows

    write_rows(folder / "t.csv", ["=1+1", "wren"], [["-5", "-0.25"], ["@x", "-1+2"], ["1e-05", "+3"]])
    assert (folder / "t.csv").read_text() == "'=1+1,wren\n-5,-0.25\n'@x,'-1+2\n1e-05,'+3\n"
