"""Tables of annotated times: what is read of CSV and of Raven's selection tables, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from birdcache.annotations.read import SPACE_RULE, read_annotations
from birdcache.annotations.write import write_audacity, write_raven
from birdcache.errors import PipelineError
from birdcache.labels import LABEL_RULE

HEADER = "file,start_s,end_s,label\n"
RAVEN = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)"


def as_they_are(folder: Path) -> list[tuple[object, ...]]:
    table = read_annotations(folder, lambda cell: {"Eurasian Wren": "wren"}.get(cell, cell))
    rows = table[["file", "start_s", "end_s", "label"]].itertuples(index=False, name=None)
    return [(names.texts[-1], *rest) for names, *rest in rows]


def test_empty_folder_has_no_annotations(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("put tables here")
    table = read_annotations(tmp_path, str)
    assert len(table) == 0
    assert list(table.columns) == ["file", "start_s", "end_s", "label", "table", "row"]


def test_corrected_detections_are_read_whatever_other_columns_they_have(tmp_path: Path) -> None:
    text = "file,start_s,end_s,label,score\na/XC1.ogg,0,5,wren,0.93\na/XC1.ogg,5,7.5,Eurasian Wren,0.4\n"
    (tmp_path / "checked.csv").write_text(text)
    assert as_they_are(tmp_path) == [("a/XC1.ogg", 0, 5, "wren"), ("a/XC1.ogg", 5, 7.5, "wren")]


def test_tables_of_subfolders_are_read_in_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b.csv", "a/z.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{HEADER}{name},1,2,wren\n")
    assert [row[0] for row in as_they_are(tmp_path)] == ["a/z.csv", "b.csv"]


def test_raven_selection_counts_once_however_many_views_it_has(tmp_path: Path) -> None:
    rows = ["1\tWaveform 1\t1\t0.5\t1.5\t0\t8000\twren", "1\tSpectrogram 1\t1\t0.5\t1.5\t0\t8000\twren"]
    (tmp_path / "XC7.Table.1.selections.txt").write_text("\n".join([f"{RAVEN}\tSpecies", *rows]) + "\n")
    assert as_they_are(tmp_path) == [("XC7", 0.5, 1.5, "wren")]


def test_raven_table_of_several_files_counts_from_each_files_begin(tmp_path: Path) -> None:
    header = f"{RAVEN}\tBegin File\tFile Offset (s)\tCommon Name"
    rows = [
        "1\tSpectrogram 1\t1\t3.0\t4.0\t0\t8000\tone.ogg\t3.0\twren",
        "2\tSpectrogram 1\t1\t61.0\t62.5\t0\t8000\tC:\\rec\\two.ogg\t1.0\tEurasian Wren",
    ]
    (tmp_path / "all.txt").write_text("\n".join([header, *rows]) + "\n")
    assert as_they_are(tmp_path) == [("one.ogg", 3, 4, "wren"), ("two.ogg", 1, 2.5, "wren")]


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("XC1.BirdNET.selections.txt", "XC1"),
        ("XC1.selections.txt", "XC1"),
        ("XC1.Table.1.selections.txt", "XC1"),
        ("XC1.txt", "XC1"),
        ("12.5.txt", "12.5"),
    ],
)
def test_raven_table_without_files_is_named_like_its_recording(tmp_path: Path, name: str, stem: str) -> None:
    (tmp_path / name).write_text(f"{RAVEN}\tAnnotation\n1\tSpectrogram 1\t1\t0\t1\t0\t8000\twren\n")
    assert as_they_are(tmp_path)[0][0] == stem


def test_label_tracks_of_audacity_are_about_the_recording_of_their_name(tmp_path: Path) -> None:
    (tmp_path / "dawn.labels.txt").write_text("1.5\t3\twren 0.92\n\\\t2000\t4000\n0\t1\tEurasian Wren\n")
    assert as_they_are(tmp_path) == [("dawn", 1.5, 3, "wren"), ("dawn", 0, 1, "wren")]


@pytest.mark.parametrize("content", [b"", b"\r\n \t\n", b"\xef\xbb\xbf"])
def test_txt_of_nothing_is_a_table_without_rows(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "dawn.labels.txt").write_bytes(content)
    assert as_they_are(tmp_path) == []
    write_audacity(tmp_path / "dawn.labels.txt", [])
    write_raven(tmp_path / "dawn.selections.txt", [])
    assert as_they_are(tmp_path) == []


def test_decimal_commas_of_a_label_track_are_read(tmp_path: Path) -> None:
    (tmp_path / "dawn.txt").write_text("0,500000\t1,500000\twren\n\\\t20,0\t4000,5\n")
    assert as_they_are(tmp_path) == [("dawn", 0.5, 1.5, "wren")]


def test_bad_lines_of_a_label_track_are_told_by_their_numbers_and_names(tmp_path: Path) -> None:
    lines = ["1\t1\twren", "\\\t20\t4000", "\\\tlow\t4000", "", "-1\t2\twren", "0\t1\t", "3", "0\t1\tGr\xfcn"]
    (tmp_path / "dawn.txt").write_bytes("\n".join(lines).encode("latin-1"))
    with pytest.raises(PipelineError) as raised:
        as_they_are(tmp_path)
    said = str(raised.value).splitlines()
    assert said[0] == f"{tmp_path}/dawn.txt: 5 problems; rows are lines of the file"
    assert [line.split(":")[0].strip() for line in said[1:]] == [f"row {number}" for number in (3, 7, 8, 5, 1)]
    assert said[3].endswith("as files in Latin-1 or Windows-1252 do; save it as text in UTF-8")
    assert said[4].endswith("begin must be a number of seconds from 0; correct it")
    assert said[5].endswith("end must be a number of seconds above begin; correct it")


def test_bad_rows_of_raven_are_told_by_ravens_columns(tmp_path: Path) -> None:
    rows = ["1\tS\t1\t2\t1\t0\t1\t\t", "2\tS\t1\tsoon\t1\t0\t1\ta.ogg\t"]
    (tmp_path / "a.txt").write_text("\n".join([f"{RAVEN}\tBegin File\tSpecies", *rows]) + "\n")
    with pytest.raises(PipelineError) as raised:
        as_they_are(tmp_path)
    assert [line.partition(";")[0] for line in str(raised.value).splitlines()] == [
        f"{tmp_path}/a.txt: 4 problems",
        "  row 2: Begin File is empty",
        "  rows 2-3: Species is empty",
        "  row 3: Begin Time (s) must be a number of seconds from 0",
        "  row 2: End Time (s) must be a number of seconds above Begin Time (s)",
    ]


@pytest.mark.parametrize("name", ["a.csv", "a.txt"])
def test_link_out_of_the_folder_is_not_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "outside").write_text("1\t2\twren\n")
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / name).symlink_to(tmp_path / "outside")
    with pytest.raises(PipelineError, match=r"leads out of .*annotations by a symbolic link; copy what it points to"):
        as_they_are(tmp_path / "annotations")
    (tmp_path / "outside").write_text("file,start_s,end_s,label\n" if name == "a.csv" else "1\t2\twren\n")
    assert len(read_annotations(tmp_path / "annotations", str, "anywhere")) == (name == "a.txt")


@pytest.mark.parametrize("name", ["a.csv", "a.txt"])
def test_pipe_is_refused_and_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(PipelineError, match=f"{name}: is a pipe, not a file; replace it"):
        as_they_are(tmp_path)


def test_line_of_a_track_without_an_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("1\t2\twren\n1\t2\t" + "x" * 2**21)
    with pytest.raises(PipelineError, match=r"row 2: its line holds more than 1,048,576 characters"):
        as_they_are(tmp_path)


def test_bad_rows_are_told_all_at_once(tmp_path: Path) -> None:
    rows = ["a.ogg,0,5,wren", ",0,5,wren", "a.ogg,-1,5,wren", "a.ogg,nan,5,wren", "a.ogg,5,5,wren", "a.ogg,0,x,wren"]
    rows += ["a.ogg,0,5,", "a.ogg,0,5,=wren()", "a.ogg,0,5,song thrush", "a.ogg,0,inf,wren"]
    (tmp_path / "bad.csv").write_text(HEADER + "\n".join(rows) + "\n")
    with pytest.raises(PipelineError) as raised:
        as_they_are(tmp_path)
    assert str(raised.value).splitlines()[:3] == [
        f"{tmp_path}/bad.csv: 5 problems; row 1 is the header",
        "  row 3: file is empty; name the recording",
        f"  row 9: label is no label; {LABEL_RULE}",
    ]
    assert str(raised.value).splitlines()[3:] == [
        f"  row 10: label {SPACE_RULE}",
        "  rows 4-5: start_s must be a number of seconds from 0; correct it",
        "  rows 6-7, 11: end_s must be a number of seconds above start_s; correct it",
    ]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "file,start_s,label\nx,1,wren\n", r"a\.csv: missing columns: end_s; row 1 must name them"),
        (
            "notes.txt",
            "remember the milk\n",
            r"notes\.txt: is no table of annotations: a \.txt is a selection table of Raven .* and a \.csv has the "
            r"columns file, start_s, end_s, label; move other files away from here",
        ),
        ("a.txt", "Begin Time (s)\tLabel\n", r"a\.txt: missing columns: End Time \(s\); row 1 must name them"),
        ("a.txt", "Begin Time (s),End Time (s),Label\n", r"separated by '\\t', not by ','"),
        ("a.txt", "x" * 2**21, r"a\.txt: is no table of annotations"),
        (
            "a.txt",
            f"{RAVEN}\n1\tS\t1\t0\t1\t0\t1\n",
            r"a\.txt: lacks a column of labels; row 1 must name one of: L",
        ),
    ],
)
def test_file_that_is_no_such_table_is_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(PipelineError, match=message):
        as_they_are(tmp_path)


def test_labels_that_differ_in_case_only_are_refused_over_all_tables(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"{HEADER}a.ogg,0,1,Jay\na.ogg,1,2,wren\na.ogg,1,2,Jay\n")
    (tmp_path / "b.txt").write_text("0\t1\tjay\n")
    with pytest.raises(PipelineError) as raised:
        as_they_are(tmp_path)
    assert str(raised.value).splitlines() == [
        "labels differ in case only; spell them the same",
        f"  {tmp_path}/a.csv: rows 2, 4: Jay",
        f"  {tmp_path}/b.txt: row 1: jay",
    ]


def test_missing_folder_is_named_with_its_key(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"nowhere: no such folder; make it, or correct data\.annotations"):
        read_annotations(tmp_path / "nowhere", str)
