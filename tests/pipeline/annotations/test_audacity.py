"""Audacity's label tracks, written and read."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.annotations.annotation import Annotation
from pipeline.annotations.audacity import read_audacity, write_audacity
from pipeline.errors import PipelineError

FOUND = [
    Annotation(0.0, 5.0, "Alder Babbler", 20.0, 16000.0, 0.93),
    Annotation(7195.123457, 7200.0, "wren", score=1.0),
    Annotation(2.0, 2.0, "robin 2", 100.0, 200.5),
]


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    write_audacity(tmp_path / "a.txt", FOUND)
    assert read_audacity(tmp_path / "a.txt") == FOUND


def test_a_track_looks_as_audacity_exports_it(tmp_path: Path) -> None:
    write_audacity(tmp_path / "a.txt", FOUND[:2])
    assert (tmp_path / "a.txt").read_text() == (
        "0.000000\t5.000000\tAlder Babbler 0.93\n\\\t20.000000\t16000.000000\n7195.123457\t7200.000000\twren 1.00\n"
    )


def test_labels_of_audacity_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("1.5\t1.5\tclick\r\n\\\t-1.000000\t-1.000000\r\n2\t3\t\r\n\r\n".encode("utf-8-sig"))
    assert read_audacity(path) == [Annotation(1.5, 1.5, "click"), Annotation(2.0, 3.0, "")]


def test_tabs_and_line_ends_in_a_label_do_not_break_the_track(tmp_path: Path) -> None:
    write_audacity(tmp_path / "a.txt", [Annotation(0.0, 1.0, "a\tb\nc\u2028d", score=0.256)])
    (found,) = read_audacity(tmp_path / "a.txt")
    assert (found.label, found.score) == ("a b c d", 0.26)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a\tb\tc\n", "line 1: must be two numbers and a label"),
        ("1\t2\tx\n3\n", "line 2: must be two numbers and a label"),
        ("1\tinf\tx\n", "line 1: must be two numbers"),
        ("2\t1\tx\n", "line 1: must begin at 0 s or later and not end before"),
        ("-1\t1\tx\n", "line 1: must begin at 0 s or later"),
        ("1\t2\tx\n\\\tlow\thigh\n", "line 2: must be two numbers"),
    ],
)
def test_what_is_no_label_track_is_refused_by_line(content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(content)
    with pytest.raises(PipelineError, match=said):
        read_audacity(tmp_path / "a.txt")


def test_a_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="export it from Audacity"):
        read_audacity(tmp_path / "none.txt")
