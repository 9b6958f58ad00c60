"""Tables of windows of soundscapes: every year's form gives the same frame, and rows that break a rule are named."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from birdcache.audio.paths import Bounds
from birdcache.errors import PipelineError
from pipeline.dataset.window_labels import exam_rows, read_windows


def windows(
    root: Path, text: str, *soundscapes: str, key: str = "soundscape_labels"
) -> list[tuple[str, float, float, str]]:
    (root / "windows.csv").write_text(text)
    table = read_windows(Bounds(root, "inside"), "windows.csv", soundscapes, key)
    assert list(table.columns) == ["soundscape", "start_s", "end_s", "labels"]
    assert table.dtypes.astype(str).tolist() == ["str", "float64", "float64", "str"]
    assert table.index.equals(pd.RangeIndex(len(table)))
    return list(table.itertuples(index=False, name=None))


FORMS = {
    "row_id": "row_id,labels\ndusk_5,nocall\ndawn_10,wren robin wren\ndawn_5,\n",
    "birds": "birds,row_id\nnocall,dusk_5\nwren;robin,dawn_10\nnocall,dawn_5\n",
    "2021": "row_id,site,audio_id,seconds,birds\n7_X_5,X,7,5,nocall\n7_X_10,X,7,10,wren robin\n8_X_5,X,8,5,nocall\n",
    "2026": (
        "filename,start,end,primary_label\ndusk.ogg,00:00:00,00:00:05,\ndawn.ogg,00:00:05,00:00:10,wren;robin\n"
        "dawn.ogg,00:00:00,00:00:05,nocall\ndusk.ogg,00:00:00,00:00:05,\ndawn.ogg,00:00:05,00:00:10,wren\n"
    ),
    "seconds": "filename,start,end,labels\ndawn,5,10.0,wren robin\ndusk,0,5,\ndawn,0,5,\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_windows(tmp_path: Path, form: str) -> None:
    dawn, dusk = ("7_X_2019", "8_X_2019") if form == "2021" else ("dawn", "dusk")
    expected = [(dawn, 0, 5, ""), (dawn, 5, 10, "wren robin"), (dusk, 0, 5, "")]
    assert windows(tmp_path, FORMS[form], dawn, dusk) == expected


def test_doubled_rows_of_a_window_have_the_labels_of_both(tmp_path: Path) -> None:
    text = "filename,start,end,primary_label\na.ogg,0,5,22961\na.ogg,00:00:00,0:00:05,47158son01;22961\na.ogg,0,5,\n"
    assert windows(tmp_path, text, "a") == [("a", 0, 5, "22961 47158son01")]


@pytest.mark.parametrize(
    ("row_ids", "starts"),
    [
        (["a_5", "a_10", "b_15"], [0, 5, 10]),
        (["a_60"], [55]),
        (["a_2.5"], [0]),
        (["a_30", "a_60"], [0, 30]),
        (["a_2.5", "a_5", "b_10"], [0, 2.5, 7.5]),
        (["a_10", "b_25"], [5, 20]),
    ],
)
def test_length_of_windows_follows_from_their_ends(tmp_path: Path, row_ids: list[str], starts: list[float]) -> None:
    text = "row_id,labels\n" + "".join(f"{row_id},wren\n" for row_id in row_ids)
    assert [window[1] for window in windows(tmp_path, text, "a", "b")] == starts


def test_files_are_called_by_name_or_path_and_strangers_keep_theirs(tmp_path: Path) -> None:
    names = ["x/0500.wav", "y/0500.wav", "0500.wav", "x_0500", "sub/dawn.ogg", "2019.09.04.ogg", "elsewhere/new.ogg"]
    text = "filename,start,end,labels\n" + "".join(f"{name},{n},9,w\n" for n, name in enumerate(names))
    found = {start: name for name, start, *_ in windows(tmp_path, text, "x_0500", "y_0500", "dawn", "2019.09.04")}
    assert [found[n] for n in range(7)] == ["x_0500", "y_0500", "0500", "x_0500", "dawn", "2019.09.04", "new"]


def test_prefix_of_2021_is_used_with_its_columns_alone_and_where_it_is_of_one_file(tmp_path: Path) -> None:
    assert windows(tmp_path, "row_id,birds\n7_X_5,w\n", "7_X_2019")[0][0] == "7_X"
    assert windows(tmp_path, "row_id,audio_id,birds\n7_X_5,7,w\n", "7_X", "7_X_1", "7_X_2")[0][0] == "7_X"
    with pytest.raises(PipelineError, match=r"row 2: row_id is of several soundscapes; rename them"):
        windows(tmp_path, "row_id,audio_id,birds\n7_X_5,7,w\n", "7_X_2018", "7_X_2019")


TIMES = "filename,start,end,primary_label\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("row_id\na_5\n", "lacks columns; row 1 must name row_id, or filename, start and end, and beside them labels"),
        ("filename,start,labels\na,0,\n", "lacks columns"),
        ("row_id,labels\na_5,wren\na_5,\n", r"rows 2-3: row_id is used twice"),
        (
            "row_id,labels\na_5,w\n,wren\na,w\na_x,w\na_0,w\na_-5,w\n_5,w\n",
            r"rows 3-8: row_id must be <soundscape>_",
        ),
        ("row_id,labels\n=a_5,wren\n", r"row 2: row_id begins with = "),
        ('row_id,labels\na_5,"wren,robin"\n', r"row 2: labels must be separated by spaces or semicolons"),
        ("row_id,labels\na_12.3,w\na_17.8,w\n", r"rows 2-3: row_ids must end at multiples of a window of 0.5 s"),
        (TIMES + ",0,5,w\n", r"row 2: filename is empty"),
        (TIMES + "=a.ogg,0,5,w\n", r"row 2: filename begins with ="),
        (
            TIMES + "a,-1,5,w\na,,5,w\na,soon,5,w\na,0:90:00,5,w\na,inf,5,w\n",
            r"rows 2-6: start must be HH:MM:SS, or",
        ),
        (TIMES + "a,5,5,w\na,5,4,w\na,00:00:05,,w\na,0,nan,w\n", r"rows 2-5: end must be HH:MM:SS, or"),
        (
            TIMES + "a,0,5,wr/en\n",
            r"row 2: primary_label must be separated by spaces or semicolons, and a label is",
        ),
    ],
)
def test_row_that_breaks_a_rule_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(PipelineError, match=message):
        windows(tmp_path, text, "a")


def test_windows_of_an_exam_that_one_row_id_would_mean_are_refused(tmp_path: Path) -> None:
    text = TIMES + "a,0,5,w\na,2,5,w\na,0,4,w\nb,0,5,w\na,0,5,r\n"
    assert len(windows(tmp_path, text, "a", "b")) == 4
    with pytest.raises(PipelineError, match=r"rows 2-3, 6: end is that of another window, too"):
        windows(tmp_path, text, "a", "b", key="soundscape_truth")


def test_exam_has_a_row_id_for_each_window(tmp_path: Path) -> None:
    (tmp_path / "windows.csv").write_text(TIMES + "a,0,2.5,w\na,2.5,00:00:05,\n")
    exam = exam_rows(read_windows(Bounds(tmp_path, "inside"), "windows.csv", ["a"], "soundscape_truth"))
    assert exam.to_dict("list") == {"row_id": ["a_2.5", "a_5"], "labels": ["w", ""]}


def test_without_a_table_and_without_rows_there_are_no_windows(tmp_path: Path) -> None:
    assert windows(tmp_path, "row_id,birds\n") == windows(tmp_path, TIMES) == []
    assert read_windows(Bounds(tmp_path, "inside"), None, [], "soundscape_labels").empty
    with pytest.raises(PipelineError, match=r"no\.csv: no such file; correct data\.soundscape_labels in params\.yaml"):
        read_windows(Bounds(tmp_path, "inside"), "no.csv", [], "soundscape_labels")
