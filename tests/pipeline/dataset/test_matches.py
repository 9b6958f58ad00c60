"""Joins within a data set: one that finds nothing is refused with an example of both sides, of a part one is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from birdcache.errors import PipelineError
from birdcache.params.sections import DataParams
from pipeline.dataset.metadata import read_metadata

MakeParams = Callable[..., DataParams]


@pytest.fixture
def warnings(birdclef: Path, data_params: MakeParams) -> Callable[..., list[str]]:
    """A function that reads the data set, after changes of its files, and gives the warnings."""

    def read(files: dict[str, str], **changes: object) -> list[str]:
        for name, text in files.items():
            (birdclef / name).parent.mkdir(exist_ok=True, parents=True)
            (birdclef / name).write_text(text)
        return list(read_metadata(data_params(**changes)).warnings)

    return read


def refused(warnings: Callable[..., list[str]], files: dict[str, str], **changes: object) -> str:
    with pytest.raises(PipelineError) as raised:
        warnings(files, **changes)
    return str(raised.value)


def test_data_set_that_agrees_with_itself_is_read_without_a_word_but_on_labels_nobody_teaches(
    warnings: Callable[..., list[str]],
) -> None:
    assert warnings({}) == [
        "1 of 2 secondary labels are not labels of a recording, first 'owl'; they are left out; correct them, or add "
        "recordings of them"
    ]


def test_truth_of_2021_which_names_no_soundscape_is_refused_with_one_of_each(
    warnings: Callable[..., list[str]],
) -> None:
    text = "row_id,site,audio_id,seconds,birds\n7019_COR_5,COR,7019,5,nocall\n7019_COR_10,COR,7019,10,wren\n"
    assert refused(warnings, {"truth.csv": text}).startswith(
        "none of 2 windows of chorus/truth.csv is of a soundscape, first '7019_COR_5', while there is 'dawn'; a row_id "
        "is <soundscape>_<second the window ends>, the soundscape named like its file without extension; correct"
    )


@pytest.mark.parametrize("row_id", ["dawn.ogg_5", "DAWN_5", "dusk_5", "daw_5"])
def test_row_ids_that_miss_the_soundscapes_name_are_refused(warnings: Callable[..., list[str]], row_id: str) -> None:
    assert f"first '{row_id}', while there is 'dawn'" in refused(
        warnings, {"truth.csv": f"row_id,birds\n{row_id},wren\n"}
    )


def test_rows_of_other_soundscapes_are_counted(warnings: Callable[..., list[str]]) -> None:
    told = warnings({"truth.csv": "row_id,birds\ndawn_5,wren\ndusk_5,wren\ndusk_10,\n"})
    assert told[-1].startswith(
        "2 of 3 windows of chorus/truth.csv are not of a soundscape, first 'dusk_5'; a row_id is"
    )


def test_labels_that_only_soundscapes_have_are_told_and_if_it_is_all_refused(
    warnings: Callable[..., list[str]],
) -> None:
    told = warnings({"truth.csv": "row_id,birds\ndawn_5,wren rail crake\ndawn_10,nocall\n"})
    assert told[-1].startswith(
        "2 of 3 labels of chorus/truth.csv are not labels of a recording, first 'crake'; they are n"
    )
    message = refused(warnings, {"truth.csv": "row_id,birds\ndawn_5,Wren\n"})
    assert (
        "none of 1 labels of chorus/truth.csv is labels of a recording, first 'Wren', while there is '1234'" in message
    )


def test_truth_of_silence_alone_and_without_rows_is_read(warnings: Callable[..., list[str]]) -> None:
    assert len(warnings({"truth.csv": "row_id,birds\ndawn_5,nocall\n"})) == 1
    assert "holds no row" in warnings({"truth.csv": "row_id,birds\n"})[-1]


def test_sample_submission_and_recordings_are_compared_both_ways(warnings: Callable[..., list[str]]) -> None:
    told = warnings({"sample_submission.csv": "row_id,wren,owl,rail\n"})
    assert told[1].startswith("2 of 3 labels of recordings are not in sample_submission.csv, first '1234'")
    assert told[2].startswith("2 of 3 labels of sample_submission.csv are not labels of a recording, first 'owl'")
    message = refused(warnings, {"sample_submission.csv": "row_id,Wren,owl\n"})
    assert message.startswith(
        "none of 3 labels of recordings is in sample_submission.csv, first '1234', while there is"
    )


def test_taxonomy_of_other_labels_is_refused_and_one_of_some_told(warnings: Callable[..., list[str]]) -> None:
    told = warnings({"taxonomy.csv": "primary_label,common_name\nwren,Wren\nowl,Owl\n"})
    assert told[1].startswith("2 of 3 labels of recordings are not in the taxonomy, first '1234'; add them")
    message = refused(warnings, {"taxonomy.csv": "primary_label,common_name\nWren,Wren\n"})
    assert "none of 3 labels of recordings is in the taxonomy, first '1234', while there is 'Wren'" in message


def test_audio_that_no_row_lists_is_counted(warnings: Callable[..., list[str]]) -> None:
    told = warnings(dict.fromkeys(["train_audio/wren/XC9.ogg", "train_audio/new/XC8.WAV", "train_audio/._a.ogg"], ""))
    assert told[-1] == (
        "audio files not used in chorus/train_audio: 2, first chorus/train_audio/new/XC8.WAV: no row of the table "
        "of recordings that is used names them"
    )


def test_annotations_of_new_labels_and_audio_without_annotations_are_told(warnings: Callable[..., list[str]]) -> None:
    Path("annotations/t.csv").write_text("file,start_s,end_s,label\nXC0.ogg,0,1,rook\nXC0.ogg,0,1,wren\n")
    told = warnings({})
    assert told[0] == "new classes by annotations, which no recording has: 1, first rook"
    told = warnings({}, layout="annotations", soundscape_truth=None)
    assert told == [
        "audio files not used in chorus: 4, first chorus/train_audio/1234/XC4.ogg: no annotation is about them"
    ]
