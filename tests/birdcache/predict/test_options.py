"""Options of `birdcache predict` that change what is written, not what is scored; hours; a list on standard input."""

from __future__ import annotations

import importlib.util
import io
import os
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from birdcache import cli
from birdcache.bundle.read import open_bundle
from birdcache.bundle.scores import BundlePredictor
from birdcache.errors import CommandError
from birdcache.predict import command
from birdcache.predict.files import named_paths
from birdcache.predict.outputs import Scored, Wanted, hour_of, write_hours, write_parquet
from birdcache.predict.postprocess import cutting_keys
from birdcache.predict.predictor import Facts
from birdcache.predict.submission import SubmissionForm
from tests.fixtures.bundle import Exported
from train.paths import ENSEMBLE
from train.score.ensemble import read_ensemble, write_ensemble

FACTS = Facts("", [], ["a", "b"], SubmissionForm(["a", "b"]), 5.0, 20.0, 8000.0)
WANTED = Wanted(FACTS, np.array([0.5, 0.5], np.float32), FACTS.submission)


def scored(name: str, duration_s: float, scores: list[list[float]]) -> Scored:
    return Scored(Path(name), Path(name), duration_s, np.array(scores, np.float32))


SONG = scored("song.wav", 18.0, [[0.9, 0.2], [0.8, 0.6], [0.1, 0.7], [0.7, 0.1]])


def found(wanted: Wanted) -> list[tuple[float, float, str, float]]:
    return [(x.begin_s, x.end_s, x.label, round(x.score or 0, 4)) for x in wanted.detections(SONG)]


def test_detections_are_windows_unless_they_are_merged() -> None:
    assert found(WANTED) == [
        (0, 5, "a", 0.9),
        (5, 10, "a", 0.8),
        (5, 10, "b", 0.6),
        (10, 15, "b", 0.7),
        (15, 18, "a", 0.7),
    ]
    assert found(replace(WANTED, merge=True)) == [(0, 10, "a", 0.9), (5, 15, "b", 0.7), (15, 18, "a", 0.7)]


def test_the_shortest_detection_is_measured_after_merging() -> None:
    assert found(replace(WANTED, shortest_s=5)) == found(WANTED)[:4]
    assert found(replace(WANTED, shortest_s=5.01)) == []
    assert found(replace(WANTED, merge=True, shortest_s=5.01)) == [(0, 10, "a", 0.9), (5, 15, "b", 0.7)]


def test_hours_hold_what_was_recorded_also_where_nothing_sings(tmp_path: Path) -> None:
    """Windows count for the hour in which they begin; a name without a time gives no hour."""
    files = [
        scored("S4A_20240630_235950.wav", 18.0, [[0.9, 0.2], [0.8, 0.1], [0.1, 0.1], [0.1, 0.1]]),
        scored("20240630T230000.flac", 5.0, [[0.6, 0.6]]),
        scored("XC1.ogg", 4.0, [[0.1, 0.9]]),
    ]
    for wanted in (WANTED, replace(WANTED, merge=True, shortest_s=60)):
        write_hours(tmp_path, lambda: files, wanted)
        assert (tmp_path / "hours.csv").read_text().splitlines() == [
            "date,hour,recorded_s,label,windows",
            ",,4,b,1",
            "2024-06-30,23,15,a,3",
            "2024-06-30,23,15,b,1",
            "2024-07-01,00,8,,0",
        ]


@pytest.mark.parametrize("name", ["20240631_235950.wav", "120240630_235950.wav", "20240630.wav", "20240630_256000.wav"])
def test_no_hour_is_made_up(name: str) -> None:
    assert hour_of(scored(name, 5, [[0, 0]]), 0) == ("", "")


GUANO = b"GUANO|Version: 1.0\nTimestamp: 2019-09-04T23:59:50+02:00\nMake: X"
AUDIOMOTH = b"Recorded at 23:59:50 04/09/2019 (UTC) by AudioMoth 24F319055FDF2902 at medium gain"


def wav(*chunks: bytes) -> bytes:
    """A second of sound at 8 kHz in a WAV file, behind other chunks."""
    sound = np.random.default_rng(1).integers(-9999, 9999, 8000, np.int16).tobytes()
    form = struct.pack("<HHIIHH", 1, 1, 8000, 16000, 2, 16)
    body = b"WAVE" + b"".join((chunk(b"fmt ", form), *chunks, chunk(b"data", sound)))
    return b"RIFF" + struct.pack("<I", len(body)) + body


def chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


HEADERS = {
    "GUANO": [chunk(b"guan", GUANO)],
    "AudioMoth": [chunk(b"LIST", b"INFO" + chunk(b"ICMT", AUDIOMOTH))],
    "none": [],
}


@pytest.mark.parametrize("header", HEADERS)
def test_a_name_tells_when_a_recording_began_and_else_its_header_does(tmp_path: Path, header: str) -> None:
    for name, hour in (("rec0001.wav", ("2019-09-05", "00")), ("MARSH_20240630_045950.wav", ("2024-06-30", "05"))):
        path = tmp_path / name
        path.write_bytes(wav(*HEADERS[header]))
        known = hour if header != "none" or name.startswith("MARSH") else ("", "")
        assert hour_of(Scored(path, Path(name), 60.0, np.zeros((2, 2), np.float32)), 15.0) == known


@pytest.mark.parametrize("header", HEADERS)
def test_the_species_of_the_week_follow_the_header_where_the_name_tells_no_day(
    exported: Exported, tmp_path: Path, header: str
) -> None:
    """As in stage `submit`, which takes the day of soundscapes.csv."""
    labels = BundlePredictor(open_bundle(exported.bundle)).facts.labels
    (tmp_path / "may.csv").write_text("species,month\n" + "".join(f"{label},5\n" for label in labels))
    for name in ("rec0001", "X_20190504_052000"):
        (tmp_path / f"{name}.wav").write_bytes(wav(*HEADERS[header]))
    call = ["predict", str(tmp_path), "--model", str(exported.bundle), "--out", str(tmp_path / "found")]
    cli.main([*call, "--species", str(tmp_path / "may.csv"), "--threshold", "0.000001"])
    heard = {Path(file).stem for file in pd.read_csv(tmp_path / "found/detections.csv")["file"]}
    assert heard == ({"X_20190504_052000", "rec0001"} if header == "none" else {"X_20190504_052000"})


def test_parquet_needs_its_packages_before_anything_is_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None if name == "pyarrow" else object())
    with pytest.raises(CommandError, match=r'needs pandas and pyarrow: pip install "birdcache\[parquet\]"'):
        command.chosen_formats("csv,parquet")
    monkeypatch.setattr(command, "find_spec", lambda _: object())
    assert command.chosen_formats("csv, parquet,csv") == ["csv", "parquet"]


@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is None, reason="needs the extra parquet")
def test_parquet_holds_the_detections_with_their_types(tmp_path: Path) -> None:
    for files in ([SONG], []):
        write_parquet(tmp_path, lambda files=files: files, WANTED)  # type: ignore[misc]
        table = pd.read_parquet(tmp_path / "detections.parquet")
        assert list(table) == ["file", "start_s", "end_s", "label", "score"]
        assert [kind.kind for kind in table.dtypes[1:3]] == ["f", "f"]
        assert len(table) == 5 * len(files)
    write_parquet(tmp_path, lambda: [SONG], WANTED)
    last = pd.read_parquet(tmp_path / "detections.parquet").iloc[-1]
    assert (last["file"], last["start_s"], last["end_s"], last["label"]) == ("song.wav", 15, 18, "a")
    assert last["score"] == pytest.approx(0.7)


def test_a_dash_stands_for_the_paths_on_standard_input() -> None:
    listed = io.BytesIO(b"b.ogg\n\nd\xff e.ogg\r\n")
    paths = named_paths([Path("a"), Path("-"), Path("z")], listed)
    assert paths == [Path("a"), Path("b.ogg"), Path(os.fsdecode(b"d\xff e.ogg")), Path("z")]
    assert named_paths([Path("a")], listed) == [Path("a")]
    with pytest.raises(CommandError, match="standard input names no file"):
        named_paths([Path("-")], io.BytesIO(b"\n"))


@pytest.mark.parametrize(
    ("window_s", "overlap_s", "hop_s"), [(5.0, None, 2.5), (2.0, None, 2.0), (5.0, 0.0, 5.0), (5.0, 4.0, 1.0)]
)
def test_clips_that_overlap_are_a_hop_apart(window_s: float, overlap_s: float | None, hop_s: float) -> None:
    assert cutting_keys(window_s, 2.5, overlap_s) == {"window_s": window_s, "hop_s": hop_s}


def test_an_overlap_is_shorter_than_a_window() -> None:
    with pytest.raises(CommandError, match=r"--overlap 5: must be at most 4.9, less than a window"):
        cutting_keys(5.0, 2.5, 5.0)


def scores_of(out: Path, *arguments: str) -> npt.NDArray[np.float64]:
    call = ["predict", "chorus/test_soundscapes", "--out", str(out), "--threshold", "0", *arguments]
    cli.main(call)
    return pd.read_csv(out / "detections.csv")["score"].to_numpy()


def test_an_overlap_is_another_hop(exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(exported.root)
    hop = read_ensemble(ENSEMBLE).model_copy(update={"hop_s": 1.0})
    write_ensemble(tmp_path / "hop.json", hop)
    plain = scores_of(tmp_path / "plain", "--model", "models")
    asked = scores_of(tmp_path / "asked", "--model", "models", "--overlap", "4")
    np.testing.assert_array_equal(
        asked, scores_of(tmp_path / "hop", "--model", "models", "--ensemble", str(tmp_path / "hop.json"))
    )
    assert np.abs(asked - plain).max() > 1e-3
    bundle = scores_of(tmp_path / "bundle", "--model", str(exported.bundle), "--overlap", "4")
    np.testing.assert_allclose(bundle, asked, atol=1e-3)


def test_kept_scores_belong_to_their_overlap(exported: Exported) -> None:
    opened = open_bundle(exported.bundle)
    digests = {BundlePredictor(opened, None, overlap_s).facts.digest for overlap_s in (None, 1.0, 2.0)}
    assert len(digests) == 3
