"""`birdcache predict` on files and folders: formats, going on where it was ended, refused files."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import soundfile

from birdcache import cli
from birdcache.annotations.audacity_reader import read_audacity
from birdcache.annotations.column_reader import read_raven
from birdcache.annotations.match import matched
from birdcache.annotations.read import read_annotations
from birdcache.audio.paths import Bounds
from birdcache.bundle.scores import BundlePredictor
from birdcache.errors import CommandError
from birdcache.predict import command as predict
from birdcache.predict.clip_scores import window_ids
from birdcache.predict.command import Results
from birdcache.predict.files import Found, check_name, list_files, result_names
from birdcache.predict.outputs import Scored, Wanted, write_csv
from birdcache.predict.predictor import Facts, FileScores
from birdcache.predict.submission import SubmissionForm
from tests.fixtures.bundle import Exported
from tests.fixtures.mpeg import with_total, written
from tests.fixtures.tiny import RATE_HZ, SPECIES, song

MODELS = ["models", "bundles/birds.bundle"]


@pytest.fixture
def project(exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The exported project, as the current directory; `found` below tmp_path is for results."""
    monkeypatch.chdir(exported.root)
    return tmp_path / "found"


def run(
    out: Path, *arguments: str, model: str = MODELS[1], paths: tuple[str, ...] = ("chorus/test_soundscapes",)
) -> None:
    cli.main(["predict", *paths, "--model", model, "--out", str(out), *arguments])


def text_of(path: Path) -> list[list[str]]:
    return [line.split(",") for line in path.read_text().splitlines()]


@pytest.mark.parametrize(("model", "tolerance"), [("models", 2e-6), (MODELS[1], 1e-3)])
def test_the_submission_is_that_of_the_stages(project: Path, model: str, tolerance: float) -> None:
    """Of trained models to the last digit, if as many threads add up as did then; of a bundle within its tolerance."""
    run(project, "--format", "kaggle", model=model)
    found, wanted = text_of(project / "submission.csv"), text_of(Path("reports/submission.csv"))
    assert found[0] == wanted[0] == ["row_id", "midton", "lowton", "higton"]
    assert [row[0] for row in found] == [row[0] for row in wanted]
    one, other = (np.array([row[1:] for row in each[1:]], float) for each in (found, wanted))
    np.testing.assert_allclose(one, other, rtol=0, atol=tolerance)


@pytest.mark.parametrize("model", MODELS)
def test_a_sample_gives_the_form_of_the_submission(
    project: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """2021: labels of the models' data that reach the threshold; 2022: those of scored_birds.json, with the rest."""
    sample = project.parent / "sample_submission.csv"
    sample.write_text("row_id,birds\n2782_SSW_5,a\n")
    run(project, "--format", "kaggle", "--sample", str(sample), "--threshold", "0", model=model)
    ends = [5, 10, 15, 20]
    everything = [[f"dawn_{end}", "midton lowton higton"] for end in ends]
    assert text_of(project / "submission.csv") == [["row_id", "birds"], *everything]
    sample.write_text("row_id,target\nx_a_5,False\n")
    (project.parent / "scored_birds.json").write_text('["lowton", "owl"]')
    run(project, "--format", "kaggle", "--sample", str(sample), "--threshold", "0", model=model)
    rows = [row for end in ends for row in ([f"dawn_lowton_{end}", "True"], [f"dawn_owl_{end}", "False"])]
    assert text_of(project / "submission.csv") == [["row_id", "target"], *rows]
    assert "warning: 1 submission label scores 0, being unknown: 'owl'" in capsys.readouterr().out


@pytest.mark.parametrize("model", MODELS)
def test_all_formats_tell_the_same(project: Path, model: str) -> None:
    run(project, "--format", "csv,raven,audacity", "--threshold", "0.33", model=model)
    rows = pd.read_csv(project / "detections.csv")
    raven = read_raven(project / "raven/dawn.selections.txt", Bounds(project, "inside")).cells
    audacity = read_audacity(project / "audacity/dawn.labels.txt", Bounds(project, "inside")).cells
    assert 4 <= len(rows) < 12
    assert len(raven) == len(audacity) == len(rows)
    wanted = rows[["start_s", "end_s", "label"]]
    times = {"start_s": float, "end_s": float}
    pd.testing.assert_frame_equal(raven[list(wanted)].astype(times).reset_index(drop=True), wanted.astype(times))
    assert {names.texts[0] for names in raven["file"]} == set(rows["file"]) == {"chorus/test_soundscapes/dawn.ogg"}
    numbers = audacity.astype({**times, "score": float})
    for row, other in zip(rows.itertuples(index=False), numbers.itertuples(index=False), strict=True):
        assert (other.start_s, other.end_s, other.label) == (row.start_s, row.end_s, row.label)
        assert other.score == pytest.approx(row.score, abs=0.006)


@pytest.mark.parametrize("kind", ["raven", "audacity"])
def test_results_of_files_that_share_a_name_become_annotations_of_each(project: Path, kind: str) -> None:
    root = project.parent / "data"
    for number, site in enumerate(("siteA", "siteB")):
        (root / site).mkdir(parents=True)
        soundfile.write(root / site / "r.wav", a_recording(3 + 5 * number, number), RATE_HZ)
    run(project, "--format", f"csv,{kind}", "--threshold", "0", paths=(str(root),))
    shutil.copytree(project / kind, project.parent / "annotations/checked")
    annotations = read_annotations(project.parent / "annotations", str)
    listed = pd.DataFrame({"recording": [], "path": []}, dtype=str)
    again = matched(annotations, Bounds(root, "inside"), listed)
    counts = pd.read_csv(project / "detections.csv")["file"].value_counts().to_dict()
    assert set(again["recording"]) == {"siteA/r.wav", "siteB/r.wav"}
    assert again["path"].value_counts().to_dict() == counts


def a_recording(seconds: float, seed: int = 1) -> npt.NDArray[np.float32]:
    return song(SPECIES["midton"], seconds, np.random.default_rng(seed))


@pytest.mark.parametrize(("name", "rate_hz"), [("a.wav", 16000), ("a.flac", 44100), ("a.mp3", 22050), ("a.ogg", 48000)])
def test_any_format_and_rate_is_read_by_bundle_and_models_alike(project: Path, name: str, rate_hz: int) -> None:
    project.parent.joinpath("audio").mkdir()
    path = project.parent / "audio" / name
    soundfile.write(path, np.repeat(a_recording(6.3)[:, None], 2, axis=1), rate_hz)
    tables = []
    for number, model in enumerate(MODELS):
        run(project / str(number), "--threshold", "0", model=model, paths=(str(path),))
        tables.append(pd.read_csv(project / str(number) / "detections.csv").set_index(["end_s", "label"])["score"])
    np.testing.assert_allclose(tables[0], tables[1].reindex(tables[0].index), atol=1e-3)


@pytest.mark.parametrize("model", MODELS)
def test_channels_in_opposite_phase_are_scored_like_one_of_them_and_told(
    project: Path, capsys: pytest.CaptureFixture[str], model: str
) -> None:
    song_S = a_recording(6.3)
    one, two = project.parent / "one.wav", project.parent / "two.wav"
    soundfile.write(one, song_S, RATE_HZ, subtype="FLOAT")
    soundfile.write(two, np.stack([song_S, -song_S], axis=1), RATE_HZ, subtype="FLOAT")
    run(project, "--format", "kaggle", model=model, paths=(str(one), str(two)))
    warning = f"warning: notes: opposite-phase 1, first {two}: its channels cancel each other: channel 1 of 2 is taken"
    assert warning in capsys.readouterr().out
    _, *rows = text_of(project / "submission.csv")
    scores = [[row[1:] for row in rows if row[0].startswith(name)] for name in ("one", "two")]
    assert scores[0] == scores[1] != []


def counted(patch: pytest.MonkeyPatch) -> list[Path]:
    """Files that the bundle scores from now on."""
    scored: list[Path] = []
    before = BundlePredictor.score

    def score(self: BundlePredictor, path: Path, *rest: Any) -> FileScores:
        scored.append(path)
        return before(self, path, *rest)

    patch.setattr(BundlePredictor, "score", score)
    return scored


def test_a_run_goes_on_where_it_was_ended(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project.parent / "audio"
    for number in range(3):
        folder.mkdir(exist_ok=True)
        soundfile.write(folder / f"{number}.wav", a_recording(3, number), RATE_HZ)
    whole = project / "whole"
    run(whole, paths=(str(folder),))
    scored = counted(monkeypatch)
    before = BundlePredictor.score

    def ends(self: BundlePredictor, path: Path, *rest: Any) -> FileScores:
        if path.name == "2.wav":
            raise KeyboardInterrupt
        return before(self, path, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(BundlePredictor, "score", ends)
        with pytest.raises(SystemExit, match="130"):
            run(project / "ended", paths=(str(folder),))
    assert [path.name for path in scored] == ["0.wav", "1.wav"]
    run(project / "ended", paths=(str(folder),))
    assert [path.name for path in scored] == ["0.wav", "1.wav", "2.wav"]
    assert "2 of 3 files were scored by the same model before" in capsys.readouterr().out
    assert (project / "ended/detections.csv").read_text() == (whole / "detections.csv").read_text()


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = project.parent / "audio"
    folder.mkdir()
    for number in range(40):
        soundfile.write(folder / f"{number:02}.wav", a_recording(3, number), RATE_HZ)
    script = "import sys; from birdcache import cli; cli.main(sys.argv[1:])"
    command = ["predict", str(folder), "--model", MODELS[1], "--out", str(project / "killed")]
    environment = os.environ | {"PYTHONPATH": str(Path(cli.__file__).parents[1])}
    with subprocess.Popen([sys.executable, "-c", script, *command], env=environment) as process:
        while process.poll() is None and len(list((project / "killed/scores").glob("*.npz"))) < 3:
            time.sleep(0.002)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert not (project / "killed/detections.csv").exists()
    run(project / "killed", paths=(str(folder),))
    known = re.search(r"(\d+) of 40 files were scored by the same model before", capsys.readouterr().out)
    assert known is not None
    assert 3 <= int(known[1]) < 40
    run(project / "whole", paths=(str(folder),))
    assert (project / "killed/detections.csv").read_bytes() == (project / "whole/detections.csv").read_bytes()


def test_a_file_or_model_that_changed_is_scored_again(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = project.parent / "a.wav"
    soundfile.write(path, a_recording(3), RATE_HZ)
    scored = counted(monkeypatch)
    for _ in range(2):
        run(project, paths=(str(path),))
    assert len(scored) == 1
    run(project, "--format", "raven", "--threshold", "0", paths=(str(path),))
    assert len(scored) == 1, "another format or threshold needs no network"
    soundfile.write(path, a_recording(3, 2), RATE_HZ)
    run(project, paths=(str(path),))
    assert len(scored) == 2
    run(project, "--window", "2", paths=(str(path),))
    assert len(scored) == 3


def test_damaged_scores_are_made_again(tmp_path: Path) -> None:
    results = Results(tmp_path, "model")
    scores = FileScores(3.0, np.ones((1, 2, 3), np.float32))
    results.write("a", scores)
    found = results.read("a")
    assert found is not None
    assert found.members.tolist() == scores.members.tolist()
    assert results.read("b") is None
    assert Results(tmp_path, "other").read("a") is None
    path = results.path("a")
    content = bytearray(path.read_bytes())
    for place in range(0, len(content), 37):
        content[place] ^= 0xFF
        path.write_bytes(content)
        again = results.read("a")
        assert again is None or again.members.tolist() == scores.members.tolist()
        content[place] ^= 0xFF
    path.write_bytes(content[:-20])
    assert results.read("a") is None


def test_refused_files_are_listed_by_their_codes_and_the_others_are_scored(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project.parent / "audio"
    folder.mkdir()
    soundfile.write(folder / "good.wav", a_recording(3), RATE_HZ)
    whole = Path("chorus/test_soundscapes/dawn.ogg").read_bytes()
    (folder / "cut.ogg").write_bytes(whole[: len(whole) // 2])
    soundfile.write(folder / "silent.wav", np.zeros(RATE_HZ), RATE_HZ)
    (folder / "text.mp3").write_text("no sound")
    with pytest.raises(SystemExit, match="1"):
        run(project, "--format", "csv,raven", "--threshold", "0", paths=(str(folder),))
    refused = pd.read_csv(project / "refused.csv").set_index("file")["code"]
    wanted = {"cut.ogg": "truncated", "text.mp3": "not-audio"}
    assert refused.to_dict() == {str(folder / name): code for name, code in wanted.items()}
    assert "2 of 4 files could not be scored" in capsys.readouterr().err
    scored = {"good", "silent"}
    assert set(pd.read_csv(project / "detections.csv")["file"]) == {str(folder / f"{name}.wav") for name in scored}
    assert {path.name for path in (project / "raven").iterdir()} == {f"{name}.selections.txt" for name in scored}


def test_flac_from_a_pipe_is_scored_and_a_bug_over_one_file_costs_that_file(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = project.parent / "audio"
    folder.mkdir()
    (folder / "a.flac").write_bytes(with_total(written(a_recording(3)[:, None], RATE_HZ, "FLAC"), 0))
    (folder / "b.wav").write_bytes(written(a_recording(4)[:, None], RATE_HZ, "WAV"))
    score = BundlePredictor.score

    def failing(self: BundlePredictor, path: Path, *arguments: Any, **options: Any) -> FileScores:
        if path.suffix == ".wav":
            raise OverflowError("timestamp out of range")
        return score(self, path, *arguments, **options)

    monkeypatch.setattr(BundlePredictor, "score", failing)
    with pytest.raises(SystemExit, match="1"):
        run(project, "--threshold", "0", paths=(str(folder),))
    assert set(pd.read_csv(project / "detections.csv")["file"]) == {str(folder / "a.flac")}
    (row,) = pd.read_csv(project / "refused.csv").to_dict("records")
    assert (row["file"], row["code"]) == (str(folder / "b.wav"), "unexpected")
    told = capsys.readouterr().err
    assert f"{folder / 'b.wav'}: makes birdcache fail (OverflowError: timestamp out of range; test_files.py, " in told
    assert "report this line" in told


@pytest.mark.parametrize("name", ["gr\udcfcn.wav", "a\nb.wav", "x" * 240 + ".wav"])
def test_a_name_that_no_table_can_hold_spoils_no_other_file(
    project: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    folder = project.parent / "audio"
    folder.mkdir()
    soundfile.write(folder / "good.wav", a_recording(3), RATE_HZ)
    shutil.copyfile(folder / "good.wav", folder / name)
    with pytest.raises(SystemExit, match="1"):
        run(project, "--format", "csv,raven,audacity,kaggle", "--threshold", "0", paths=(str(folder),))
    assert set(pd.read_csv(project / "detections.csv")["file"]) == {str(folder / "good.wav")}
    assert (project / "raven/good.selections.txt").is_file()
    (row,) = pd.read_csv(project / "refused.csv").to_dict("records")
    assert (row["code"], row["hint"]) == ("unreadable", "rename it")
    assert "1 of 2 files could not be scored" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["鳥\u3000声.wav", "d\u00a0é 'a'.wav", "🐦.wav"])
def test_names_in_any_script_are_fine(name: str) -> None:
    check_name(Path("x") / name, Path(name))


def test_a_file_that_is_refused_now_keeps_no_table_of_before(project: Path) -> None:
    folder = project.parent / "audio"
    folder.mkdir()
    for name in ("a.wav", "b.wav"):
        soundfile.write(folder / name, a_recording(3, ord(name[0])), RATE_HZ)
    arguments = ("--format", "raven,audacity", "--threshold", "0")
    run(project, *arguments, paths=(str(folder),))
    (folder / "a.wav").write_bytes(b"cut")
    with pytest.raises(SystemExit, match="1"):
        run(project, "--format", "raven", "--threshold", "0", paths=(str(folder),))
    assert [path.name for path in sorted(project.glob("*/*.txt"))] == ["b.labels.txt", "b.selections.txt"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--format", "csv,xml"), "--format csv,xml: no format 'xml'; choose one of csv,raven,audacity,kaggle"),
        (("--ensemble", "data/ensemble.json"), "is a bundle, whose ensemble is fixed; leave it out"),
        (
            ("--model", "bundles"),
            "--model bundles: is neither a bundle nor a folder of trained models; did",
        ),
        (("--model", "bundles/birds.bundle/model.onnx"), "trained models; did you mean bundles/birds.bundle?"),
    ],
)
def test_what_cannot_be_done_is_said_before_any_work(
    project: Path, arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="1"):
        run(project, *arguments)
    assert said in capsys.readouterr().err
    assert not project.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--window", "0"), "argument --window: 0: must be a number from 0.1 to 3600"),
        (("--window", "-1"), "argument --window: -1: must be a number from 0.1 to 3600"),
        (("--window", "nan"), "argument --window: nan: must be a number from 0.1 to 3600"),
        (("--threshold", "inf"), "argument --threshold: inf: must be a number from 0 to 1"),
        (("--threshold", "high"), "argument --threshold: high: must be a number from 0 to 1"),
    ],
)
def test_numbers_have_bounds(
    project: Path, arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(project, *arguments)
    assert said in capsys.readouterr().err


def test_times_of_long_files_are_exact(tmp_path: Path) -> None:
    facts = Facts("", [], ["a"], SubmissionForm(["a"]), 2.5, 20.0, 8000.0)
    scored = Scored(Path("x.wav"), Path("x"), 100_007.5, np.ones((40_003, 1), np.float32))
    write_csv(tmp_path, lambda: [scored], Wanted(facts, np.zeros(1, np.float32), facts.submission))
    rows = [row.split(",") for row in (tmp_path / "detections.csv").read_text().splitlines()]
    assert [row[1:3] for row in rows[1:3]] == [["0", "2.5"], ["2.5", "5"]]
    assert [row[1:3] for row in rows[-2:]] == [["100002.5", "100005"], ["100005", "100007.5"]]
    assert window_ids("x", 40_003, 2.5)[-2:] == ["x_100005", "x_100007.5"]


def test_a_file_in_the_place_of_the_folder_of_results_is_refused(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project.write_text("mine")
    with pytest.raises(SystemExit, match="1"):
        run(project)
    assert "is a file; name a folder" in capsys.readouterr().err
    assert project.read_text() == "mine"


def test_files_of_one_name_cannot_share_row_ids(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy("chorus/test_soundscapes/dawn.ogg", project.parent / "dawn.ogg")
    with pytest.raises(SystemExit, match="1"):
        run(project, "--format", "kaggle", paths=("chorus/test_soundscapes", str(project.parent)))
    said = capsys.readouterr().err
    assert f"chorus/test_soundscapes/dawn.ogg, {project.parent}/dawn.ogg: both would have rows dawn_<second>" in said
    assert "rename one, or leave out --format kaggle" in said


def test_folders_are_searched_and_each_file_counts_once(tmp_path: Path) -> None:
    for name in ("a/b/one.OGG", "a/two.wav", "a/notes.txt", "three.bin", "a/c.m4a", "a/._two.wav", "a/.Trash/d.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    named = ["a", "a/two.wav", "three.bin", "a/._two.wav"]
    files, left_out = list_files([tmp_path / name for name in named])
    assert [each.file for each in left_out] == [f"{tmp_path}/a/c.m4a"]
    assert [str(each.below) for each in files] == ["b/one.OGG", "two.wav", "three.bin"]
    assert [str(name) for name in result_names(files)] == ["b/one", "two", "three"]
    with pytest.raises(CommandError, match=r"none: no such file or folder"):
        list_files([tmp_path / "none"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(CommandError, match=r"empty: hold no audio file"):
        list_files([tmp_path / "empty"])
    (tmp_path / "empty/gone.ogg").symlink_to("nowhere.ogg")
    (tmp_path / "empty/e.wma").touch()
    with pytest.raises(CommandError, match=r"(?s)no audio file.*e\.wma: must be converted.*gone\.ogg: is a link to"):
        list_files([tmp_path / "empty"])
    assert len(list_files([tmp_path / "empty/gone.ogg", tmp_path / "a/two.wav"])[0]) == 2, "one stops no others"


def test_results_of_files_that_differ_by_extension_keep_it() -> None:
    found = [Found(Path("x") / name, Path(name)) for name in ("a.ogg", "a.wav", "b.ogg")]
    assert [str(name) for name in result_names(found)] == ["a.ogg", "a.wav", "b"]
    twice = [Found(Path("/x/a.ogg"), Path("a.ogg")), Found(Path("/y/a.ogg"), Path("a.ogg"))]
    assert [str(name) for name in result_names(twice)] == ["x/a", "y/a"]
    twice = [Found(Path(name), Path(name)) for name in ("x.ogg", "x.wav", "x.ogg.flac")]
    assert [str(name) for name in result_names(twice)] == ["x.ogg", "x.wav", "x.ogg.flac"]


def test_scores_of_a_file_wait_on_a_disk_and_not_in_memory(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trained models map a recording's codes from a file without a name, which a killed run leaves nothing of."""
    from commands.export.choose import ensemble_for_export
    from commands.predict.predictor import OneFile
    from tests.commands.export.test_stage import SETTINGS

    loaded = ensemble_for_export(SETTINGS)
    project.mkdir()
    file = OneFile(Path("chorus/test_soundscapes/dawn.ogg"), project, loaded.device)
    codes = file.quantized(loaded.members["base"][0].sidecar.member.view)  # type: ignore[arg-type]
    assert isinstance(codes, np.memmap)
    assert not list(project.iterdir())


def test_predict_needs_a_model(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="1"):
        run(project, model="chorus")
    assert "holds no trained model" in capsys.readouterr().err
    assert predict.chosen_formats("csv, raven,csv") == ["csv", "raven"]


def test_files_that_were_never_tried_are_listed_with_the_refused_ones_and_told_by_kind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("birds/a.m4a", "birds/site 1/b.M4A", "birds/c.ogg", "birds/._c.ogg", "birds/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    files, left_out = list_files([tmp_path / "birds"])
    with pytest.raises(CommandError, match=r"2 of 3 files could not be scored .*refused\.csv"):
        predict.report_refused(tmp_path / "refused.csv", [], left_out, len(files) + len(left_out))
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith(f"2 files are not used, first {tmp_path}/birds/a.m4a: must be converted first; find ")
    listed = pd.read_csv(tmp_path / "refused.csv")
    assert list(listed["file"]) == [f"{tmp_path}/birds/a.m4a", f"{tmp_path}/birds/site 1/b.M4A"]
