"""Kaggle's hidden soundscapes: each gets its rows, whatever happens to it, and the time is kept."""

from __future__ import annotations

import csv
import multiprocessing
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

import birdcache
from birdcache.audio.rejected import RejectedAudio
from birdcache.kaggle import run as kaggle
from tests.fixtures.bundle import Exported

LABELS = ["midton", "lowton", "higton"]  # of the sample submission; the bundle has them in another order


@pytest.fixture
def data(exported: Exported, tmp_path: Path) -> Path:
    """A competition with a file of 20 s, one of 0 bytes, and one under its second name."""
    folder = tmp_path / "birds"
    (folder / "test_soundscapes").mkdir(parents=True)
    shutil.copy(exported.root / "chorus/sample_submission.csv", folder)
    (folder / "test_soundscapes/bad.ogg").touch()
    for name in ("dawn.ogg", "dusk.ogg"):
        shutil.copy(dawn(exported), folder / "test_soundscapes" / name)
    (folder / "test_soundscapes/readme.txt").write_text("no sound")
    return folder


def dawn(exported: Exported) -> Path:
    return exported.root / "chorus/test_soundscapes/dawn.ogg"


def read(path: Path) -> tuple[list[str], dict[str, list[str]]]:
    with path.open() as file:
        header, *rows = csv.reader(file)
    return header, {row[0]: row[1:] for row in rows}


def stuck_score(path: Path) -> tuple[Path, kaggle.Outcome]:
    """Score a file, but never the one that is called dusk."""
    if path.stem == "dusk":
        (path.parents[1] / f"pid-{os.getpid()}").touch()
        time.sleep(600)
    return kaggle._score(path)


def test_scores_are_the_bundles_and_a_file_that_cannot_be_read_has_the_mean_of_all_others(
    exported: Exported, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kaggle.run(exported.bundle, data, 5.0, 2, tmp_path)
    header, rows = read(tmp_path / "submission.csv")
    assert header == ["row_id", *LABELS]
    assert list(rows) == [f"{name}_{second}" for name in ("bad", "dawn", "dusk") for second in (5, 10, 15, 20)]
    result = birdcache.load(exported.bundle).predict(dawn(exported))
    expected_WK = result.scores[:, [result.labels.index(label) for label in LABELS]]
    for name in ("dawn", "dusk"):
        found_WK = np.array([rows[f"{name}_{second}"] for second in (5, 10, 15, 20)], float)
        np.testing.assert_allclose(found_WK, expected_WK, atol=1e-6)
    for second in (5, 10, 15, 20):
        np.testing.assert_allclose(np.array(rows[f"bad_{second}"], float), expected_WK.mean(axis=0), atol=1e-6)
    told = capsys.readouterr().out
    assert f"neutral rows for {data}/test_soundscapes/bad.ogg: is empty" in told
    assert "2 of 3 files are scored; 0 were not reached in time" in told


@pytest.mark.slow
def test_at_the_end_of_the_time_files_that_are_not_done_have_neutral_rows_and_no_process_is_left(
    exported: Exported, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kaggle, "_score", stuck_score)
    shutil.copy(dawn(exported), data / "test_soundscapes/night.ogg")  # behind the one that is stuck
    of_other_tests, begin_s = multiprocessing.active_children(), time.monotonic()
    kaggle.run(exported.bundle, data, 0.5, 1, tmp_path)
    assert 30 <= time.monotonic() - begin_s < 60
    told = capsys.readouterr().out
    assert "1 of 4 files are scored; 2 were not reached in time" in told
    _, rows = read(tmp_path / "submission.csv")
    mean_K = np.array([rows[f"dawn_{second}"] for second in (5, 10, 15, 20)], float).mean(axis=0)
    for name in ("dusk", "night"):
        for second in (5, 10, 15, 20):
            np.testing.assert_allclose(np.array(rows[f"{name}_{second}"], float), mean_K, atol=2e-6)
    (pid,) = data.glob("pid-*")
    assert set(multiprocessing.active_children()) <= set(of_other_tests)
    assert not Path("/proc", pid.name.removeprefix("pid-")).exists()


@pytest.mark.parametrize(
    ("header", "first"),
    [("row_id,birds", ["dawn_5", "nocall"]), ("row_id,target", ["dawn_higton_5", "False"])],
)
def test_without_any_score_every_file_still_has_the_rows_of_its_own_length_in_the_samples_form(
    exported: Exported, data: Path, tmp_path: Path, header: str, first: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "sample_submission.csv").write_text(f"{header}\n")
    kaggle.run(exported.bundle, data, 0.0, 1, tmp_path)
    assert "0 of 3 files are scored; 3 were not reached in time" in capsys.readouterr().out
    found, rows = read(tmp_path / "submission.csv")
    each = 1 if header.endswith("birds") else 3
    assert ",".join(found) == header
    assert first[0] in rows
    assert {cell for row in rows.values() for cell in row} == {first[1]}
    assert sum(name.startswith("dawn_") for name in rows) == 4 * each, "20 s"
    assert sum(name.startswith("bad_") for name in rows) == 12 * each, "60 s, as nobody knows better"


def test_before_the_soundscapes_are_there_the_time_is_estimated_on_others_and_the_sample_is_copied(
    exported: Exported, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "test_soundscapes").rename(data / "train_soundscapes")
    kaggle.run(exported.bundle, data, 5.0, 1, tmp_path)
    assert (tmp_path / "submission.csv").read_bytes() == (data / "sample_submission.csv").read_bytes()
    told = capsys.readouterr().out
    assert "min for 700 files, of " in told
    assert f"{data}/test_soundscapes: holds no recording yet" in told


def test_the_estimate_leaves_out_what_starting_costs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two processes need 8 s for their first files and 2 s for two files each from then on: 700 take 700 s."""
    clock_s = iter([8.0, 8.0, 10.0, 10.0, 12.0, 12.0])
    now_s = [0.0]

    class Pool:
        def __enter__(self) -> Pool:
            return self

        def __exit__(self, *_: object) -> None: ...

        def imap_unordered(self, _: object, files: list[Path]) -> Pool:
            self.files = iter(files)
            return self

        def next(self, timeout: float) -> tuple[Path, RejectedAudio]:
            assert timeout == 5100.0 - now_s[0]
            now_s[0] = next(clock_s)
            return next(self.files), RejectedAudio("empty", "is empty")

    class Context:
        def Pool(self, *_: object) -> Pool:  # noqa: N802
            return Pool()

    monkeypatch.setattr(multiprocessing, "get_context", lambda _: Context())
    monkeypatch.setattr(time, "monotonic", lambda: now_s[0])
    found = kaggle.score_within(tmp_path, [Path(f"{n}.ogg") for n in range(6)], 2, 5100.0, 700)
    assert len(found) == 6
    assert "estimate: 11.7 min for 700 files, of 84.9 min" in capsys.readouterr().out
