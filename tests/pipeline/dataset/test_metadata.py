"""What a data set's files say, in both layouts, and how wrong files are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from pydantic import ValidationError

from birdcache.errors import PipelineError
from birdcache.labels import is_label, parse_secondary
from birdcache.params.sections import DataParams
from birdcache.user_tables import row_ranges
from cache.tables import RECORDINGS
from pipeline.dataset.metadata import Metadata, read_metadata

WriteClip = Callable[..., Path]
MakeParams = Callable[..., DataParams]


def read_rows(root: Path, data_params: MakeParams, *lines: str) -> Metadata:
    (root / "train.csv").write_text("\n".join(lines) + "\n")
    return read_metadata(data_params())


def test_birdclef_rows_are_read_sorted_by_recording(birdclef: Path, data_params: MakeParams) -> None:
    recordings = read_metadata(data_params()).recordings
    assert list(recordings["recording"]) == sorted(recordings["recording"])
    first = recordings.iloc[0]
    assert (first["recording"], first["path"]) == ("1234/XC4.ogg", "chorus/train_audio/1234/XC4.ogg")
    assert (first["label"], first["secondary"], first["author"]) == ("1234", "wren owl", "ann 4")
    assert (first["rating"], first["latitude"], first["longitude"], first["date"]) == (4.5, 51.5, -0.1, "2020-05-05")
    assert first["fold"] is pd.NA


def test_primary_label_and_filename_suffice(birdclef: Path, data_params: MakeParams) -> None:
    recordings = read_rows(birdclef, data_params, "primary_label,filename", "wren,wren/XC2.ogg").recordings
    assert list(recordings["author"]) == [""]
    assert recordings[["rating", "latitude", "longitude", "fold"]].isna().all(axis=None)


def test_label_that_looks_like_a_missing_value_stays_a_label(birdclef: Path, data_params: MakeParams) -> None:
    (birdclef / "train.csv").write_text("primary_label,filename\nNA,a.ogg\n0123,b.ogg\n")
    recordings = read_metadata(data_params(soundscape_truth=None)).recordings
    assert list(recordings["label"]) == ["NA", "0123"]


def test_bare_filename_lies_in_the_folder_of_its_label_as_in_2021(birdclef: Path, data_params: MakeParams) -> None:
    (birdclef / "train_audio").rename(birdclef / "train_short_audio")
    recordings = read_rows(birdclef, data_params, "primary_label,filename", "wren,XC2.ogg").recordings
    assert recordings["path"].iloc[0] == "chorus/train_short_audio/wren/XC2.ogg"


def test_day_that_is_not_known_is_no_date(birdclef: Path, data_params: MakeParams) -> None:
    lines = ["primary_label,filename,date", "wren,a.ogg,2014-05-00", "wren,b.ogg,2014-05-03T10:00", "wren,c.ogg,spring"]
    assert list(read_rows(birdclef, data_params, *lines).recordings["date"]) == ["", "2014-05-03", ""]


def test_placeholders_of_a_column_are_nothing_known(birdclef: Path, data_params: MakeParams) -> None:
    lines = [
        "primary_label,filename,secondary_labels,author,rating,latitude,longitude,date,fold",
        "wren,a.ogg,['?'],Unknown,no score,NaN,nan,1900-01-01,nan",
        "wren,b.ogg,\"['robin', '?']\",N/A,0,0,0.0,2014-05-03,",
        "wren,c.ogg,nan,Ann,N/A,0,-0.1,n/a,",
    ]
    metadata = read_rows(birdclef, data_params, *lines)
    recordings = metadata.recordings
    assert list(recordings["author"]) == ["", "", "Ann"]
    assert list(recordings["secondary"]) == ["", "robin", ""]
    assert list(recordings["rating"].fillna(-1)) == [-1, 0, -1]
    assert list(recordings["latitude"].fillna(99)) == [99, 99, 0]
    assert list(recordings["date"]) == ["", "2014-05-03", ""]
    assert recordings["fold"].isna().all()
    place = "chorus/train.csv: recordings at 0, 0, which counts as an unknown place: 1, first b.ogg"
    assert place in metadata.warnings


def test_ready_folds_keep_their_numbers(birdclef: Path, data_params: MakeParams) -> None:
    lines = ["primary_label,filename,fold", "wren,a.ogg,5", "wren,b.ogg,1.0", "wren,c.ogg,"]
    assert list(read_rows(birdclef, data_params, *lines).recordings["fold"]) == [5, 1, pd.NA]


HEADER = "primary_label,filename,secondary_labels,rating,fold"


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        (",a.ogg,,,", "primary_label is empty"),
        ("wr/en,a.ogg,,,", "primary_label is no label"),
        ("wren,,,,", "filename must be a path inside"),
        ("wren,/etc/a.ogg,,,", "filename must be a path inside"),
        ("wren,../a.ogg,,,", "filename must be a path inside"),
        ("wren,wren/../../a.ogg,,,", "filename must be a path inside"),
        ("wren,C:/a.ogg,,,", "filename must be a path inside"),
        ("wren,wren\\a.ogg,,,", "filename must be a path inside"),
        ("wren,good.ogg,,,", "filename is listed twice"),
        ("wren,./good.ogg,,,", "filename is listed twice"),
        ("wren,a.ogg,[robin,,", "secondary_labels must look like"),
        ("wren,a.ogg,\"['red robin']\",,", "secondary_labels must look like"),
        ("wren,a.ogg,\"{'robin': 1}\",,", "secondary_labels must look like"),
        ("wren,a.ogg,__import__('os'),,", "secondary_labels must look like"),
        ("wren,a.ogg,,good,", "rating must be a number from 0 to 5"),
        ("wren,a.ogg,,inf,", "rating must be a number from 0 to 5"),
        ("wren,a.ogg,,5.5,", "rating must be a number from 0 to 5"),
        ("wren,a.ogg,,,-1", "fold must be a whole number"),
        ("wren,a.ogg,,,1.5", "fold must be a whole number"),
    ],
)
def test_bad_row_is_refused_by_its_number_in_a_spreadsheet(
    birdclef: Path, data_params: MakeParams, row: str, rule: str
) -> None:
    with pytest.raises(PipelineError, match=rf"(?s)train\.csv: 1 problem.*rows? (2-)?3: {rule}"):
        read_rows(birdclef, data_params, HEADER, "wren,good.ogg,,,", row)


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        ("wren,a.ogg,90.1,", "latitude must be a number from -90 to 90"),
        ("wren,a.ogg,inf,", "latitude must be"),
        ('wren,a.ogg,"51,5",', "latitude must be"),
        ("wren,a.ogg,,-1e999", "longitude must be a number from -180 to 180"),
        ("Wren,a.ogg,,", "primary_label differs from another one in case only"),
    ],
)
def test_bad_coordinates_and_colliding_names_are_refused(
    birdclef: Path, data_params: MakeParams, row: str, rule: str
) -> None:
    header = "primary_label,filename,latitude,longitude"
    with pytest.raises(PipelineError, match=rf"(?s)train\.csv: 1 problem.*rows? (2-)?3: {rule}"):
        read_rows(birdclef, data_params, header, "wren,good.ogg,-90,180", row)


def test_words_in_place_of_a_coordinate_mean_unknown(birdclef: Path, data_params: MakeParams) -> None:
    header = "primary_label,filename,latitude,longitude"
    recordings = read_rows(birdclef, data_params, header, "wren,a.ogg,Not specified,+.5e1").recordings
    assert recordings["latitude"].isna().all()
    assert list(recordings["longitude"]) == [5]


def test_links_out_of_the_root_are_followed_only_if_that_is_asked_for(
    birdclef: Path, data_params: MakeParams, write_clip: WriteClip
) -> None:
    write_clip(Path("elsewhere.ogg"))
    (birdclef / "train_audio/wren/far.ogg").symlink_to(Path("elsewhere.ogg").resolve())
    rows = ["primary_label,filename", "wren,wren/XC2.ogg", "wren,wren/far.ogg"]
    with pytest.raises(PipelineError, match=r"row 3: filename leads out of chorus by a .*data\.links: anywhere"):
        read_rows(birdclef, data_params, *rows)
    assert len(read_metadata(data_params(links="anywhere")).recordings) == 2


@pytest.mark.parametrize("key", ["soundscapes", "soundscape_truth"])
@pytest.mark.parametrize("path", ["../out", "/etc", "a/../../b", "C:/a", "a\\b", "."])
def test_places_in_params_lie_below_the_root(data_params: MakeParams, key: str, path: str) -> None:
    with pytest.raises(ValidationError, match=r"must be a path below root, without \.\."):
        data_params(**{key: path})


def test_all_bad_rows_are_listed_at_once(birdclef: Path, data_params: MakeParams) -> None:
    rows = [",a.ogg,,,", "", ",b.ogg,,,", ",c.ogg,,,", "wren,d.ogg,,9,"]
    with pytest.raises(PipelineError, match=r"(?s)2 problem.*rows 2, 4-5: primary.*row 6: rating"):
        read_rows(birdclef, data_params, HEADER, *rows)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label,filename\nwren,a.ogg\n", r"missing columns: primary_label; row 1 must name them"),
        ("primary_label,filename\nwren,a.ogg,1,2\n", r"row 2: does not have 2 cells like row 1"),
        ("", "is empty; row 1 must name the columns primary_label, filename"),
        ("primary_label,filename\nwr\xe9n,a.ogg\n", r"row 2: holds bytes that are not UTF-8"),
        ("primary_label,filename\n", "lists no recording"),
    ],
)
def test_broken_table_is_refused(birdclef: Path, data_params: MakeParams, text: str, message: str) -> None:
    (birdclef / "train.csv").write_text(text, encoding="latin-1")
    with pytest.raises(PipelineError, match=message):
        read_metadata(data_params())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"root": "nowhere"}, "nowhere: no such folder; correct data.root"),
        (
            {"soundscapes": "nowhere"},
            "nowhere: no such folder; correct data.soundscapes in params.yaml, or set it to null",
        ),
        ({"soundscape_truth": "no.csv"}, "no.csv: no such file; correct data.soundscape_truth in params.yaml"),
        ({"root": "chorus/train_audio"}, "train_audio: no such folder; correct data.root or data.layout"),
    ],
)
def test_missing_place_is_refused(
    birdclef: Path, data_params: MakeParams, changes: dict[str, str], message: str
) -> None:
    with pytest.raises(PipelineError, match=message):
        read_metadata(data_params(**changes))


def test_missing_train_csv_is_refused(birdclef: Path, data_params: MakeParams) -> None:
    (birdclef / "train.csv").unlink()
    with pytest.raises(PipelineError, match=r"train\.csv: cannot be read \(No such file"):
        read_metadata(data_params())


def test_folders_are_labels(birdclef: Path, data_params: MakeParams, write_clip: WriteClip) -> None:
    write_clip(birdclef / "train_audio" / "song thrush" / "A.WAV")
    (birdclef / "train_audio" / "empty").mkdir()
    (birdclef / "train_audio" / ".hidden").mkdir()
    folders = data_params(layout="folders", root="chorus/train_audio", soundscapes=None, soundscape_truth=None)
    recordings = read_metadata(folders).recordings
    assert set(recordings["label"]) == {"robin", "wren", "1234", "song thrush"}
    assert recordings["recording"].iloc[-1] == "wren/XC3.ogg"
    assert (recordings["author"] == "").all()
    assert recordings["fold"].isna().all()


def test_soundscape_folder_with_a_readme_only_holds_no_soundscape(birdclef: Path, data_params: MakeParams) -> None:
    (birdclef / "hidden").mkdir()
    (birdclef / "hidden" / "readme.txt").write_text("filled when the notebook is scored")
    assert read_metadata(data_params(soundscapes="hidden", soundscape_truth=None)).soundscapes == {}


def test_truth_of_silence_is_empty(birdclef: Path, data_params: MakeParams) -> None:
    truth = read_metadata(data_params()).truth
    assert truth[["soundscape", "end_s", "labels"]].to_numpy().tolist() == [["dawn", 5, ""], ["dawn", 10, "wren robin"]]


def test_broken_truth_is_refused(birdclef: Path, data_params: MakeParams) -> None:
    (birdclef / "truth.csv").write_text("row_id,labels\na_5,wren\na_5,\n")
    with pytest.raises(PipelineError, match=r"truth\.csv.*\n.*rows 2-3: row_id is used twice"):
        read_metadata(data_params())


def test_names_come_from_the_taxonomy_or_else_from_the_recordings(birdclef: Path, data_params: MakeParams) -> None:
    lines = ["primary_label,filename,common_name", "wren,wren/XC2.ogg,Eurasian Wren"]
    assert read_rows(birdclef, data_params, *lines).taxonomy.loc["wren", "common_name"] == "Eurasian Wren"
    (birdclef / "taxonomy.csv").write_text("primary_label,common_name,class_name\nwren,Winter Wren,Aves\n")
    taxonomy = read_metadata(data_params()).taxonomy
    assert tuple(taxonomy.loc["wren"]) == ("", "Winter Wren", "Aves")


def test_taxonomy_that_names_a_label_twice_is_refused(birdclef: Path, data_params: MakeParams) -> None:
    (birdclef / "taxonomy.csv").write_text("primary_label\nwren\nowl\nwren\n")
    with pytest.raises(PipelineError, match=r"taxonomy\.csv.*\n.*rows 2, 4: primary_label is named twice"):
        read_metadata(data_params())


@pytest.mark.parametrize(
    ("header", "labels"),
    [("row_id,wren,owl,robin", ("wren", "owl", "robin")), ("row_id,birds", ()), ("row_id,target", ()), ("row_id", ())],
)
def test_sample_submission_orders_the_labels_if_it_names_any(
    birdclef: Path, data_params: MakeParams, header: str, labels: tuple[str, ...]
) -> None:
    (birdclef / "sample_submission.csv").write_text(header + "\n")
    assert read_metadata(data_params()).submission.labels == labels


@pytest.mark.parametrize("header", ["id,wren,robin", "row_id,wren,wren"])
def test_odd_sample_submission_is_refused(birdclef: Path, data_params: MakeParams, header: str) -> None:
    (birdclef / "sample_submission.csv").write_text(header + "\n")
    with pytest.raises(PipelineError, match=r"sample_submission\.csv: row 1 must be row_id and then each label once"):
        read_metadata(data_params())


@pytest.mark.parametrize(
    ("text", "labels"),
    [("", ()), ("[]", ()), ("['']", ()), ("['a', 'b', 'a']", ("a", "b")), ('["65419"]', ("65419",)), ("[1]", None)],
)
def test_secondary_labels_are_read_as_birdclef_writes_them(text: str, labels: tuple[str, ...] | None) -> None:
    assert parse_secondary(text) == labels


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("yehcar1", True),
        ("22973", True),
        ("song thrush", True),
        ("_x", True),
        ("", False),
        ("..", False),
        ("wren ", False),
        ("a/b", False),
    ],
)
def test_labels_are_plain_words(text: str, valid: bool) -> None:
    assert is_label(text) is valid


def test_runs_of_rows_are_joined() -> None:
    assert row_ranges([2, 4, 5, 6, 9]) == "rows 2, 4-6, 9"


def test_table_survives_writing_and_reading(tmp_path: Path, birdclef: Path, data_params: MakeParams) -> None:
    listed = read_metadata(data_params()).recordings
    table = listed.assign(sha256="ab", duration_s=1 / 3, sample_rate_hz=32000, channels=1, sound="ab", source="")
    written = RECORDINGS.at(tmp_path / "t.csv")
    written.write(table)
    pd.testing.assert_frame_equal(written.read(), table[list(RECORDINGS.columns)])


def test_soundscapes_that_a_submission_of_2021_could_not_tell_apart_are_refused(
    birdclef: Path, data_params: MakeParams
) -> None:
    for day in (4, 5):
        (birdclef / "test_soundscapes" / f"7019_COR_2019090{day}.ogg").write_bytes(b"")
    assert len(read_metadata(data_params()).soundscapes) >= 2
    (birdclef / "sample_submission.csv").write_text("row_id,birds\n")
    with pytest.raises(PipelineError, match=r"7019_COR_20190904\.ogg, .*7019_COR_20190905\.ogg: both would have rows"):
        read_metadata(data_params())
