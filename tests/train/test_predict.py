"""Rows and columns of the submission, and the models that may write it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import TinyProject
from train import predict, residence
from train.checkpoint import Sidecar
from train.errors import TrainError
from train.members import ResolvedMember
from train.predict import Soundscape, check_labels, read_soundscapes, submission_table

SCORES = np.array([[0.1, 0.9], [0.4, 0.6]], np.float32)


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()


def want_columns(*labels: str) -> None:
    Path("data/submission_labels.csv").write_text("label\n" + "".join(f"{label}\n" for label in labels))


@pytest.mark.parametrize(
    ("duration_s", "window_s", "expected"),
    [
        (15.0, 5.0, ["dawn_5", "dawn_10", "dawn_15"]),
        (11.0, 5.0, ["dawn_5", "dawn_10", "dawn_15"]),
        (5.0, 2.5, ["dawn_2.5", "dawn_5"]),
        (1.0, 5.0, ["dawn_5"]),
    ],
)
def test_rows_are_named_by_the_second_at_which_their_window_ends(
    duration_s: float, window_s: float, expected: list[str]
) -> None:
    assert Soundscape("dawn", "0" * 64, duration_s).row_ids(window_s) == expected


def test_names_and_digests_of_soundscapes_stay_text() -> None:
    Path("data/soundscapes.csv").write_text(f"sha256,path,duration_s,soundscape\n{'1' * 64},a/0042.ogg,60,0042\n")
    assert read_soundscapes() == [Soundscape("0042", "1" * 64, 60.0)]


def test_columns_come_in_the_order_that_the_submission_wants() -> None:
    want_columns("wren", "1234")
    table = submission_table(["dawn_5", "dawn_10"], SCORES, ["1234", "wren"])
    assert list(table.columns) == ["row_id", "wren", "1234"]
    assert table["row_id"].tolist() == ["dawn_5", "dawn_10"]
    assert np.array_equal(table[["1234", "wren"]].to_numpy(np.float32), SCORES)


def test_a_label_that_no_recording_taught_scores_zero_and_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    want_columns("1234", "owl", "wren")
    table = submission_table(["dawn_5", "dawn_10"], SCORES, ["1234", "wren"])
    assert table["owl"].tolist() == [0, 0]
    assert "1 labels of the submission have no recording and score 0: owl" in capsys.readouterr().out


def test_many_such_labels_are_named_in_short(capsys: pytest.CaptureFixture[str]) -> None:
    want_columns("1234", "wren", *(f"bird{number}" for number in range(9)))
    submission_table(["dawn_5", "dawn_10"], SCORES, ["1234", "wren"])
    assert "9 labels" in (said := capsys.readouterr().out)
    assert said.rstrip().endswith("bird4, ...")


def test_a_label_that_the_submission_does_not_want_is_left_out() -> None:
    want_columns("wren")
    assert list(submission_table(["dawn_5", "dawn_10"], SCORES, ["1234", "wren"]).columns) == ["row_id", "wren"]


def test_without_soundscapes_the_submission_is_a_header() -> None:
    want_columns("1234", "wren")
    table = submission_table([], np.empty((0, 2), np.float32), ["1234", "wren"])
    assert table.to_csv(index=False) == "row_id,1234,wren\n"


def test_a_model_of_other_labels_is_refused(resolved: ResolvedMember) -> None:
    sidecar = Sidecar(labels=["1234", "wren"], fold=0, member=resolved, folds_sha256="", sha256={}, metrics={})
    check_labels(Path("models/tiny/0"), sidecar, ["1234", "wren"])
    with pytest.raises(TrainError, match=r"models/tiny/0: was trained on other labels .* run `dvc repro`"):
        check_labels(Path("models/tiny/0"), sidecar, ["wren", "1234"])


def test_a_view_is_opened_once_for_all_members_and_folds(
    tiny_project: TinyProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "copy"
    shutil.copytree(tiny_project.root, root, ignore=shutil.ignore_patterns("chorus", "submission.csv"))
    monkeypatch.chdir(root)
    opened: list[str] = []
    open_frames = residence.open_frames

    def counted(store: Any, *others: Any) -> Any:
        opened.append(store.path.name)
        return open_frames(store, *others)

    monkeypatch.setattr(predict, "open_frames", counted)
    predict.main()
    assert sorted(opened) == ["mel-soundscapes.zarr", "pcen-soundscapes.zarr"], "of two members with two folds each"
    written, before = (folder / "reports/submission.csv" for folder in (root, tiny_project.root))
    assert written.read_text() == before.read_text()
