"""Raven's selection tables, written and read."""

from __future__ import annotations

from pathlib import Path

import pytest

from birdcache.annotations.column_reader import read_raven
from birdcache.annotations.write import Annotation, write_raven
from birdcache.audio.paths import Bounds
from birdcache.errors import PipelineError

FOUND = [
    Annotation(0.0, 5.0, "Alder Babbler", 20.0, 16000.0, 0.9312, "dawn.ogg", "new/dawn.ogg"),
    Annotation(7195.123457, 7200.0, "née 'x' \"y\"", 0.0, 8000.5, 0.5, "dawn.ogg"),
    Annotation(2.0, 2.0, "", 100.0, 200.0, None, "dawn.ogg"),
]
# as Raven Pro 1.6 saves a table with an annotation column of the user's
FROM_RAVEN = (
    "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tDelta Time (s)\tSpecies\n"
    "1\tWaveform 1\t1\t0.5\t1.75\t0.0\t16000.0\t1.25\tWREN\n"
    "1\tSpectrogram 1\t1\t0.5\t1.75\t1000.0\t6000.0\t1.25\tWREN\n"
    "2\tSpectrogram 1\t1\t3.0\t4.0\t2000.0\t3000.0\t1.0\t\n"
)


def read(path: Path) -> list[tuple[str, float, float, str]]:
    """File, begin, end and label of each selection."""
    cells = read_raven(path, Bounds(path.parent, "inside")).cells
    rows = cells[["file", "start_s", "end_s", "label"]].itertuples(index=False, name=None)
    return [(names.texts[-1], float(begin_s), float(end_s), label) for names, begin_s, end_s, label in rows]


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    write_raven(tmp_path / "a.txt", FOUND)
    assert read(tmp_path / "a.txt") == [(each.file, each.begin_s, each.end_s, each.label) for each in FOUND]


def test_a_table_has_the_columns_that_raven_asks_for(tmp_path: Path) -> None:
    write_raven(tmp_path / "a.txt", FOUND[:1])
    header, row = (tmp_path / "a.txt").read_text().splitlines()
    assert header.split("\t")[:7] == [
        "Selection",
        "View",
        "Channel",
        "Begin Time (s)",
        "End Time (s)",
        "Low Freq (Hz)",
        "High Freq (Hz)",
    ]
    assert row.split("\t")[:7] == ["1", "Spectrogram 1", "1", "0.000000", "5.000000", "20.0", "16000.0"]
    named = dict(zip(header.split("\t"), row.split("\t"), strict=True))
    assert (named["Begin File"], named["Begin Path"]) == ("dawn.ogg", "new/dawn.ogg")


def test_a_table_without_detections_is_a_header(tmp_path: Path) -> None:
    write_raven(tmp_path / "a.txt", [])
    assert len((tmp_path / "a.txt").read_text().splitlines()) == 1
    assert read(tmp_path / "a.txt") == []


def test_a_table_of_raven_has_one_annotation_for_both_views_of_a_selection(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(FROM_RAVEN.replace("\n", "\r\n").encode("utf-8-sig"))
    assert read(path) == [("a", 0.5, 1.75, "WREN"), ("a", 3.0, 4.0, "")]


def test_times_of_a_table_of_several_files_are_those_within_each(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(
        "Selection\tBegin Time (s)\tEnd Time (s)\tBegin File\tFile Offset (s)\tAnnotation\n"
        "1\t65\t68.5\tb.wav\t5\tWREN\n"
    )
    assert read(path) == [("b.wav", 5.0, 8.5, "WREN")]


SEVERAL = "Selection\tView\tBegin Time (s)\tEnd Time (s)\tBegin File\tFile Offset (s)\tLabel\n"


def test_selections_that_differ_are_several_whatever_their_numbers(tmp_path: Path) -> None:
    rows = ["1\tS\t1\t2\ta.ogg\t1\twren", "1\tW\t1\t2\ta.ogg\t1\twren", "1\tS\t1\t2\tb.ogg\t1\twren"]
    rows += ["1\tS\t1\t2\ta.ogg\t1\trobin", "1\tS\t1\t3\ta.ogg\t1\twren"]
    (tmp_path / "a.txt").write_text(SEVERAL + "\n".join(rows))
    assert read(tmp_path / "a.txt") == [
        ("a.ogg", 1, 2, "wren"),
        ("b.ogg", 1, 2, "wren"),
        ("a.ogg", 1, 2, "robin"),
        ("a.ogg", 1, 3, "wren"),
    ]


@pytest.mark.parametrize("known", ["1\tS\t1\t2\ta.ogg\t1\twren", "1\tS\t61\t62\tb.ogg\t1\twren"])
def test_row_without_an_offset_is_refused_where_begins_may_count_from_another_file(tmp_path: Path, known: str) -> None:
    (tmp_path / "a.txt").write_text(f"{SEVERAL}{known}\n2\tS\t65\t66\tb.ogg\t\twren\n")
    table = read_raven(tmp_path / "a.txt", Bounds(tmp_path, "inside"))
    with pytest.raises(PipelineError, match=r"row 3: File Offset \(s\) is no number.*write where in its file"):
        table.refuse([])


def test_row_of_a_single_file_needs_no_offset(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(f"{SEVERAL}1\tS\t1\t2\ta.ogg\t1\twren\n2\tS\t65\t66\ta.ogg\t\twren\n")
    assert [row[1] for row in read(tmp_path / "a.txt")] == [1, 65]


def test_ends_are_read_to_their_last_digit(tmp_path: Path) -> None:
    found = [Annotation(0.1 * number, 0.1 * number + 0.7, "wren", file="a.ogg") for number in range(1000)]
    write_raven(tmp_path / "a.txt", found)
    assert [row[2] for row in read(tmp_path / "a.txt")] == [round(each.end_s, 6) for each in found]
    (tmp_path / "b.txt").write_text(f"{SEVERAL}1\tS\t60.3\t60.4\ta.ogg\t0.3\twren\n")
    assert read(tmp_path / "b.txt")[0][2] == 0.4


def test_names_of_files_are_written_as_they_are_but_for_tabs_and_line_ends(tmp_path: Path) -> None:
    write_raven(
        tmp_path / "a.txt", [Annotation(0.0, 1.0, "wren", file="a  \u00a0b\t.ogg", path="x  y/a  \u00a0b\t.ogg")]
    )
    (names,) = read_raven(tmp_path / "a.txt", Bounds(tmp_path, "inside")).cells["file"]
    assert names.texts == ("x  y/a  \u00a0b .ogg", "a  \u00a0b .ogg")


def test_tabs_and_line_ends_in_a_label_do_not_break_the_table(tmp_path: Path) -> None:
    write_raven(tmp_path / "a.txt", [Annotation(0.0, 1.0, "a\tb\nc\r\u2028d", file="a.ogg")])
    assert [label for *_, label in read(tmp_path / "a.txt")] == ["a b c d"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", r"is empty; row 1 must name the columns Begin Time \(s\), End Time \(s\)"),
        (b"file,start_s\na.ogg,1\n", r"missing columns: Begin Time .*, separated by '\\t', not by ','"),
        (
            b"Begin Time (s)\tEnd Time (s)\n1\t2\n",
            r"lacks a column of labels; row 1 must name one of: Label",
        ),
        (b"\xff\xfe\x00", r"is text in UTF-16; save it as text in UTF-8"),
    ],
)
def test_what_is_no_selection_table_is_refused(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(PipelineError, match=said):
        read(tmp_path / "a.txt")


def test_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"none\.txt: cannot be read \(No such file"):
        read(tmp_path / "none.txt")
