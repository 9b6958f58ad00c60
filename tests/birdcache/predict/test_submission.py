"""Submissions in the form of each year's BirdCLEF."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from birdcache.audio.paths import Bounds
from birdcache.errors import PipelineError
from birdcache.predict.submission import SubmissionForm, read_form

ABOVE = np.array([0.3, 0.7], np.float32)
SCORES = np.array([[0.1, 0.9], [0.4, 0.6]], np.float32)
LABELS = ["1234", "wren"]
NOTHING = np.empty((0, 2), np.float32)


def written(form: SubmissionForm, *row_ids: str) -> list[str]:
    """The lines of a submission of SCORES."""
    scores_WK = SCORES if row_ids else NOTHING
    return [",".join(row) for row in (form.columns, *form.rows(row_ids, scores_WK, LABELS, ABOVE))]


def test_columns_come_in_the_order_that_the_submission_wants() -> None:
    lines = ["row_id,wren,1234", "dawn_5,0.900000,0.100000", "dawn_10,0.600000,0.400000"]
    assert written(SubmissionForm(["wren", "1234"]), "dawn_5", "dawn_10") == lines


def test_a_label_that_nothing_taught_scores_zero_and_is_named() -> None:
    form = SubmissionForm(["1234", "owl", "wren"])
    assert written(form, "dawn_5", "dawn_10")[1:] == [
        "dawn_5,0.100000,0.000000,0.900000",
        "dawn_10,0.400000,0.000000,0.600000",
    ]
    assert form.missing(LABELS) == "1 submission label scores 0, being unknown: 'owl'"
    assert form.missing([*LABELS, "owl"]) == ""


def test_many_such_labels_are_named_in_short() -> None:
    told = SubmissionForm([f"bird{number}" for number in range(9)]).missing(LABELS)
    assert told.startswith("9 submission labels")
    assert told.endswith("'bird4' and 4 more")


def test_a_label_that_the_submission_does_not_want_is_left_out() -> None:
    assert written(SubmissionForm(["wren"]), "dawn_5", "dawn_10")[:2] == ["row_id,wren", "dawn_5,0.900000"]


@pytest.mark.parametrize(
    ("column", "header"), [("", "row_id,1234,wren"), ("birds", "row_id,birds"), ("target", "row_id,target")]
)
def test_without_soundscapes_a_submission_is_a_header(column: str, header: str) -> None:
    assert written(SubmissionForm(LABELS, column)) == [header]


def test_the_form_of_2021_joins_labels_that_reach_their_thresholds_and_leaves_out_dates() -> None:
    form, labels = SubmissionForm(["wren", "jay", "1234", "nocall"], "birds"), ["1234", "wren", "nocall"]
    scores_WK = np.array([[0.1, 0.9, 0.0], [0.3, 0.7, 1.0], [0.2, 0.6, 1.0]], np.float32)
    row_ids = ["7019_COR_20190904_5", "dawn_10", "7019_COR_20190904_15"]
    rows = list(form.rows(row_ids, scores_WK, labels, np.array([0.3, 0.7, 0.5], np.float32)))
    assert rows == [["7019_COR_5", "wren"], ["dawn_10", "wren 1234"], ["7019_COR_15", "nocall"]]


def test_the_form_of_2022_has_a_row_for_each_window_and_label() -> None:
    form = SubmissionForm(["wren", "owl", "1234"], "target")
    assert written(form, "soundscape_42_5", "soundscape_42_10") == [
        "row_id,target",
        "soundscape_42_wren_5,True",
        "soundscape_42_owl_5,False",
        "soundscape_42_1234_5,False",
        "soundscape_42_wren_10,False",
        "soundscape_42_owl_10,False",
        "soundscape_42_1234_10,True",
    ]


def test_soundscapes_that_differ_only_in_what_row_ids_leave_out_are_both_named() -> None:
    names = ("a/7019_COR_20190904.ogg", "a/7019_SSW_20190904.ogg", "b/7019_COR_20190905.ogg")
    files = [(Path(name).stem, Path(name)) for name in names]
    both = r"a/7019_COR_20190904\.ogg, b/7019_COR_20190905\.ogg"
    rule = rf"^{both}: both would have rows 7019_COR_<second> in a submission of 2021; rename$"
    with pytest.raises(PipelineError, match=rule):
        SubmissionForm(LABELS, "birds").check_apart(files, "rename")
    SubmissionForm(LABELS).check_apart(files, "rename")
    with pytest.raises(PipelineError, match=r"^a/x, b/x: both would have rows x_<second> in a submission; rename$"):
        SubmissionForm(LABELS).check_apart([("x", Path("a/x")), ("x", Path("b/x"))], "rename")


def test_a_sample_tells_the_form(tmp_path: Path) -> None:
    sample, bounds = tmp_path / "sample_submission.csv", Bounds(tmp_path, "inside")
    found: dict[str, SubmissionForm] = {}
    for header in ("row_id,wren,jay", "row_id,birds", "row_id,target"):
        sample.write_text(f"{header}\n")
        found[header] = read_form(sample, bounds)
    forms = [SubmissionForm(("wren", "jay")), SubmissionForm((), "birds"), SubmissionForm((), "target")]
    assert list(found.values()) == forms
    (tmp_path / "scored_birds.json").write_text('["akiapo", "aniani"]')
    assert read_form(sample, bounds) == SubmissionForm(("akiapo", "aniani"), "target")
