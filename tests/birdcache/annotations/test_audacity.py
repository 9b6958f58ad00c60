"""Audacity's label tracks, written and read."""

from __future__ import annotations

from pathlib import Path

import pytest

from birdcache.annotations.audacity_reader import read_audacity
from birdcache.annotations.write import Annotation, write_audacity
from birdcache.audio.paths import Bounds
from birdcache.errors import PipelineError

FOUND = [
    Annotation(0.0, 5.0, "Alder Babbler", 20.0, 16000.0, 0.93),
    Annotation(7195.123457, 7200.0, "wren", score=1.0),
    Annotation(2.0, 2.0, "robin  2", 100.0, 200.5),
]
Row = tuple[int, float, float, str, float | None]


def read(path: Path) -> list[Row]:
    """Line, begin, end, label and score of each label."""
    table = read_audacity(path, Bounds(path.parent, "inside"))
    table.refuse([])
    rows = table.cells[["start_s", "end_s", "label", "score"]].itertuples(name=None)
    return [
        (line, float(begin_s), float(end_s), label, float(score) if score else None)
        for line, begin_s, end_s, label, score in rows
    ]


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    write_audacity(tmp_path / "a.txt", FOUND)
    lines = (1, 3, 4)
    wanted = [(each.begin_s, each.end_s, each.label, each.score) for each in FOUND]
    assert read(tmp_path / "a.txt") == [(line, *each) for line, each in zip(lines, wanted, strict=True)]


def test_a_track_looks_as_audacity_exports_it(tmp_path: Path) -> None:
    write_audacity(tmp_path / "a.txt", FOUND[:2])
    assert (tmp_path / "a.txt").read_text() == (
        "0.000000\t5.000000\tAlder Babbler 0.93\n\\\t20.000000\t16000.000000\n7195.123457\t7200.000000\twren 1.00\n"
    )


def test_labels_of_audacity_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("1.5\t1.5\tclick\r\n\\\t-1.000000\t-1.000000\r\n2\t3\t\r\n\r\n".encode("utf-8-sig"))
    assert read(path) == [(1, 1.5, 1.5, "click", None), (3, 2.0, 3.0, "", None)]


def test_tabs_and_line_ends_in_a_label_do_not_break_the_track(tmp_path: Path) -> None:
    write_audacity(tmp_path / "a.txt", [Annotation(0.0, 1.0, "a\tb\nc\u2028d", score=0.256)])
    assert read(tmp_path / "a.txt") == [(1, 0.0, 1.0, "a b c d", 0.26)]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a\tb\tc\n", r"row 1: must be two numbers and a label"),
        ("1\t2\tx\n3\n", r"row 2: must be two numbers and a label"),
        ("1\tinf\tx\n", r"row 1: must be two numbers"),
        ("1\t2\tx\n\\\tlow\thigh\n", r"row 2: must be two numbers behind its \\, the band of a label"),
        ("1\t2\tx\0\n", r"row 1: holds NUL characters; save it as text in UTF-8"),
    ],
)
def test_what_is_no_label_track_is_refused_by_line(content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(content)
    with pytest.raises(PipelineError, match=said):
        read(tmp_path / "a.txt")


def test_a_track_in_utf_16_is_refused_with_its_hint(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("1\t2\tx\n".encode("utf-16"))
    with pytest.raises(PipelineError, match="is text in UTF-16; save it as text in UTF-8"):
        read(tmp_path / "a.txt")


def test_a_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"none\.txt: cannot be read \(No such file"):
        read(tmp_path / "none.txt")
