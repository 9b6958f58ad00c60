"""Tables of annotated times: what is read of CSV and of Raven's selection tables, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.annotations.reading import read_annotations
from pipeline.errors import PipelineError
from pipeline.labels import LABEL_RULE

HEADER = "file,start_s,end_s,label\n"
RAVEN = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)"


def as_they_are(folder: Path) -> list[tuple[object, ...]]:
    table = read_annotations(folder, lambda cell: {"Eurasian Wren": "wren"}.get(cell, cell))
    return list(table[["file", "start_s", "end_s", "label"]].itertuples(index=False, name=None))


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


def test_bad_rows_are_told_all_at_once(tmp_path: Path) -> None:
    rows = ["a.ogg,0,5,wren", ",0,5,wren", "a.ogg,-1,5,wren", "a.ogg,nan,5,wren", "a.ogg,5,5,wren", "a.ogg,0,x,wren"]
    rows += ["a.ogg,0,5,", "a.ogg,0,5,=wren()", "a.ogg,0,5,song thrush", "a.ogg,0,inf,wren"]
    (tmp_path / "bad.csv").write_text(HEADER + "\n".join(rows) + "\n")
    with pytest.raises(PipelineError) as raised:
        as_they_are(tmp_path)
    assert str(raised.value).splitlines()[:4] == [
        f"{tmp_path}/bad.csv: 5 problem(s); row 1 is the header",
        "  row(s) 3: file is empty; name the recording",
        "  row(s) 8: label is empty; name the species, or remove the row",
        f"  row(s) 9-10: label is no label without spaces; {LABEL_RULE}",
    ]
    assert str(raised.value).splitlines()[4:] == [
        "  row(s) 4-5: start_s must be a number of seconds from 0; correct it",
        "  row(s) 6-7, 11: end_s must be a number of seconds above start_s; correct it",
    ]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "file,start_s,label\nx,1,wren\n", r"a\.csv: lacks column\(s\) end_s; row 1 must name them"),
        ("notes.txt", "remember the milk\n", r"notes\.txt: lacks column\(s\) Begin Time \(s\), End Time \(s\)"),
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


def test_missing_folder_is_named_with_its_key(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"nowhere: no such folder; make it, or correct data\.annotations"):
        read_annotations(tmp_path / "nowhere", str)
