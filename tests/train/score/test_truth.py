"""The truth of windows that were scored: read by row id, and refused or told where it is of none."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from birdcache.errors import TrainError
from cache import tables
from train.score.truth import labelled_soundscapes, read_truth


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(*rows: str) -> None:
    tables.SOUNDSCAPE_TRUTH.write(pd.DataFrame([row.split(",") for row in rows], columns=["row_id", "labels"]))


def test_windows_have_the_labels_of_their_rows() -> None:
    write("dawn_5,wren rail", "dawn_10,")
    truth = read_truth(["dawn_5", "dawn_10", "dusk_5"], ["robin", "wren"])
    assert truth.sings.tolist() == [[False, True], [False, False], [False, False]]
    assert truth.known.tolist() == [True, True, False]
    assert truth.warning == ""
    assert labelled_soundscapes() == {"dawn"}


def test_rows_of_no_window_are_counted() -> None:
    write("dawn_5,wren", "dawn_99,wren", "dusk_5,wren")
    assert read_truth(["dawn_5"], ["wren"]).warning.startswith(
        "2 of 3 rows of the truth are not measured, first 'dawn_99': the soundscape was refused, or ends earlier"
    )


def test_truth_of_windows_of_another_length_is_refused() -> None:
    write("dawn_3,wren", "dawn_6,wren", "dusk_5,wren")
    with pytest.raises(
        TrainError, match=r"none of its 2 rows .*'dawn_3', while there is 'dawn_5'; set predict\.window_s"
    ):
        read_truth(["noon_5", "dawn_5", "dawn_10"], ["wren"])


def test_truth_of_soundscapes_that_were_all_refused_stops_nothing() -> None:
    write("dawn_5,wren")
    assert read_truth([], ["wren"]).warning.startswith("1 of 1 rows of the truth are not measured")
    assert not read_truth(["noon_5"], ["wren"]).known.any()
