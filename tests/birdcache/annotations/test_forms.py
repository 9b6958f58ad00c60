"""Tables as other programs and spreadsheets write them: read where nothing is ambiguous, told what was assumed."""

from __future__ import annotations

from pathlib import Path

import pytest

from birdcache.annotations.read import read_annotations
from birdcache.errors import PipelineError

RAVEN = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)"
ROW = "1\tSpectrogram 1\t1\t0.5\t1.2\t1000\t2000"
NAMES = {"Genus a": "wren", "Eurasian Wren": "wren"}
WREN = ("a0", 0.5, 1.2, "wren")


def read(folder: Path, name: str, text: str) -> tuple[list[tuple[object, ...]], list[str]]:
    """File, times and label of each row, and the warnings."""
    (folder / name).write_text(text, encoding="utf-8")
    warnings: list[str] = []
    table = read_annotations(folder, lambda cell: NAMES.get(cell, cell), warn=warnings.append)
    rows = table[["file", "start_s", "end_s", "label"]].itertuples(index=False, name=None)
    return [(names.texts[-1], *rest) for names, *rest in rows], warnings


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a0.Table.2.selections.txt", f"{RAVEN}\tSpecies\n{ROW}\twren\t\n"),
        ("a0.selection.table.txt", f"{RAVEN}\tSpecies\t\n{ROW}\twren\n"),
        ("a0.txt", f"{RAVEN}\tspecies\n{ROW}\twren\n".replace("Time", "TIME")),
        ("a0.txt", f"{RAVEN}\tSpecies\n{ROW}\twren\n".replace("0.5", "0,500").replace("1.2", "1,200")),
        ("a0.txt", f"{RAVEN}\tSpecies\n{ROW}\twren\n".replace("0.5", "0:00:00.5").replace("1.2", "00:00:01.200")),
        ("a0.txt", f"{RAVEN}\tSpecies\n{ROW.replace('Spec', 'Wave')}\t\n{ROW}\twren\n"),
        ("a0.txt", f"{RAVEN}\tScientific Name\tCommon Name\n{ROW}\tNova avis\tEurasian Wren\n"),
        ("a0.txt", "00:00:00.5\t00:00:01.2\twren\n"),
        ("t.csv", "FILE;Start_s;END_s;label\na0;0,5;1,2;wren;;\n"),
        ("t.csv", 'file,start_s,end_s,label\na0,"0,5","1,2",wren\n'),
        ("t.csv", "Begin Time (s),End Time (s),Begin File,Species\n0.5,1.2,a0,wren\n"),
        ("a0.BirdNET.results.csv", "Start (s),End (s),Scientific name,Common name,Confidence\n0.5,1.2,Genus a,W,0.9\n"),
        ("b.csv", "Start (s),End (s),Scientific name,Common name,Confidence,File\n0.5,1.2,Nova avis,wren,0.9,/x/a0\n"),
        ("k.csv", "INDIR,FOLDER,IN FILE,OFFSET,DURATION,scientific_name,common_name\n/x,.,a0,0.5,0.7,Genus a,W\n"),
        ("id.csv", "FOLDER,IN FILE,OFFSET,DURATION,AUTO ID,MANUAL ID\nx,a0,0.5,0.7,robin,wren\n"),
    ],
)
def test_form_in_which_nothing_is_ambiguous_is_read_without_a_word(tmp_path: Path, name: str, text: str) -> None:
    assert read(tmp_path, name, text) == ([WREN], [])


def test_rows_without_a_label_are_left_out_and_counted(tmp_path: Path) -> None:
    text = "FOLDER,IN FILE,OFFSET,DURATION,AUTO ID,MANUAL ID\nx,a0,0.5,0.7,robin,wren\nx,a0,2,1,robin,\nx,a0,3,1,,?\n"
    rows, (warning,) = read(tmp_path, "id.csv", text)
    assert rows == [WREN]
    assert warning == f"2 annotation rows have no label: left out, first {tmp_path}/id.csv: row 3"


def test_rows_that_end_early_are_counted(tmp_path: Path) -> None:
    other = ROW.replace("0.5", "0.6")
    rows, (warning,) = read(tmp_path, "a0.txt", f"{RAVEN}\tSpecies\tNotes\n{ROW}\twren\tclear\n{other}\twren\n")
    assert rows == [WREN, ("a0", 0.6, 1.2, "wren")]
    assert warning == (
        f"1 annotation row ends before row 1 does; the missing cells count as empty, first {tmp_path}/a0.txt: row 3"
    )


def test_rows_in_which_cells_have_moved_are_refused(tmp_path: Path) -> None:
    short = ROW.removesuffix("\t2000")
    with pytest.raises(PipelineError, match=r"row 3: does not have as many cells as row 1, and not only its last"):
        read(tmp_path, "a0.txt", f"{RAVEN}\tSpecies\tNotes\n{ROW}\twren\tx\n{short}\twren\tclear\n")
    with pytest.raises(PipelineError, match=r"row 2: does not have 8 cells like row 1; add the missing ones"):
        read(tmp_path, "a0.txt", f"{RAVEN}\tSpecies\n{ROW}\twren\t1\n")


@pytest.mark.parametrize("name", ["a0.txt", "t.csv"])
def test_commas_beside_points_are_refused_since_they_may_part_thousands(tmp_path: Path, name: str) -> None:
    text = "0.5\t1.2\twren\n1,200\t1,203\twren\n"
    rows = ["file,start_s,end_s,label", "a0,0.5,1.2,wren", 'a0,"1,200","1,203",wren']
    with pytest.raises(PipelineError, match=r"row [23]: holds a decimal comma, but other times of the table"):
        read(tmp_path, name, text if name == "a0.txt" else "\n".join(rows))


@pytest.mark.parametrize("time", ["1:30", "0:60:00", "1,234,5", "-0.2", "1 s"])
def test_times_that_may_mean_several_things_are_refused(tmp_path: Path, time: str) -> None:
    with pytest.raises(PipelineError, match=r"row 2: start_s must be a number of seconds from 0"):
        read(tmp_path, "t.csv", f'file,start_s,end_s,label\na0,"{time}",9999,wren\n')


def test_time_just_before_the_beginning_is_the_beginning(tmp_path: Path) -> None:
    assert read(tmp_path, "a0.txt", "-0.010000\t1.2\twren\n")[0] == [("a0", 0, 1.2, "wren")]
