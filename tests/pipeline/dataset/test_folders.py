"""Layout `folders` and folders of soundscapes: what is used, under which names, and what is listed instead."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from birdcache.errors import PipelineError
from birdcache.params.sections import DataParams
from pipeline.dataset.metadata import Metadata, read_metadata

Read = Callable[..., Metadata]


@pytest.fixture
def read(birdclef: Path, data_params: Callable[..., DataParams]) -> Read:
    """A function that reads the folders in chorus/, with changes of section data."""
    shutil.rmtree(birdclef / "train_audio")

    def read(**changes: object) -> Metadata:
        return read_metadata(data_params(**({"layout": "folders", "soundscape_truth": None} | changes)))

    return read


def labels(metadata: Metadata) -> dict[str, str]:
    return dict(zip(metadata.recordings["recording"], metadata.recordings["label"], strict=True))


def test_the_first_folder_is_the_class_and_soundscapes_are_none(birdclef: Path, read: Read) -> None:
    for name in ("wren/a.ogg", "wren/site 1/2024/a.ogg", "song thrush/b.opus"):
        (birdclef / name).parent.mkdir(parents=True, exist_ok=True)
        (birdclef / name).touch()
    metadata = read()
    assert labels(metadata) == {
        "song thrush/b.opus": "song thrush",
        "wren/a.ogg": "wren",
        "wren/site 1/2024/a.ogg": "wren",
    }
    assert {name: path.as_posix() for name, path in metadata.soundscapes.items()} == {
        "dawn": "chorus/test_soundscapes/dawn.ogg"
    }
    (birdclef / "wren/scapes").mkdir()
    (birdclef / "wren/scapes/dusk.ogg").touch()
    assert labels(read(soundscapes="wren/scapes")).keys() - labels(metadata).keys() == {"test_soundscapes/dawn.ogg"}


def test_a_folder_that_cannot_be_a_label_has_a_code_and_keeps_its_name(birdclef: Path, read: Read) -> None:
    for folder in ("Bewick's Wren", "robin", "Parus major_Great 'Tit'"):
        (birdclef / folder).mkdir()
        (birdclef / folder / "a.ogg").touch()
    metadata = read()
    assert labels(metadata)["Bewick's Wren/a.ogg"] == "Bewicks_Wren"
    assert metadata.taxonomy.loc["Bewicks_Wren", "common_name"] == "Bewick's Wren"
    assert tuple(metadata.taxonomy.loc["Parus_major_Great_Tit"]) == ("Parus major", "Great 'Tit'", "")
    assert list(metadata.taxonomy.index) == ["Bewicks_Wren", "Parus_major_Great_Tit"]
    assert "codes replace 2 folder names unfit as labels" in metadata.warnings[0]
    (birdclef / "taxonomy.csv").write_text("primary_label,common_name\nBewick's Wren,A wren\nrobin,A robin\n")
    names = read().taxonomy["common_name"].to_dict()
    assert names == {"Bewicks_Wren": "A wren", "robin": "A robin", "Parus_major_Great_Tit": "Great 'Tit'"}


def test_folders_alike_but_for_case_are_refused(birdclef: Path, read: Read) -> None:
    for folder in ("wren", "Wren", "Zaunk\xf6nig", "Zaunko\u0308nig"):
        (birdclef / folder).mkdir()
        (birdclef / folder / "a.ogg").touch()
    with pytest.raises(PipelineError, match=r"folders 'Wren', 'Zaunko\\u0308nig', .* are alike but for case"):
        read()


def test_files_alike_but_for_case_are_used_with_a_warning(birdclef: Path, read: Read) -> None:
    (birdclef / "wren").mkdir()
    for name in ("wren/sa1.wav", "wren/SA1.WAV", "test_soundscapes/DAWN.ogg"):
        (birdclef / name).touch()
    metadata = read()
    assert list(metadata.recordings["recording"]) == ["wren/SA1.WAV", "wren/sa1.wav"]
    assert list(metadata.soundscapes) == ["DAWN", "dawn"]
    (warning,) = metadata.warnings
    assert warning.startswith("4 files differ from others in case or Unicode form only, such as 'wren/SA1.WAV'")


def test_files_of_a_table_alike_but_for_case_are_told_apart_where_the_disk_does(
    birdclef: Path, data_params: Callable[..., DataParams], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(birdclef / "train_audio/wren/XC2.ogg", birdclef / "train_audio/wren/xc2.ogg")
    (birdclef / "train.csv").write_text(
        "primary_label,filename\nwren,wren/XC2.ogg\nwren,wren/xc2.ogg\nwren,wren/xC2.ogg\n"
    )
    metadata = read_metadata(data_params())
    assert len(metadata.recordings) == 3, "the missing one is refused when it is opened"
    assert any(each.startswith("3 files differ from others in case") for each in metadata.warnings)
    monkeypatch.setattr(Path, "exists", lambda path: True)  # as on a disk that ignores case
    with pytest.raises(PipelineError, match=r"row 4: filename differs in case or Unicode form only"):
        read_metadata(data_params())


def test_soundscapes_of_one_name_are_called_by_their_paths(birdclef: Path, read: Read) -> None:
    (birdclef / "wren").mkdir()
    (birdclef / "wren/a.ogg").touch()
    for name in ("A/0500.wav", "B/0500.wav", "B/0600.wav", "dawn.wav", "=x.wav"):
        (birdclef / "test_soundscapes" / name).parent.mkdir(exist_ok=True)
        (birdclef / "test_soundscapes" / name).touch()
    metadata = read()
    assert {name: path.name for name, path in metadata.soundscapes.items()} == {
        "0600": "0600.wav", "A_0500": "0500.wav", "B_0500": "0500.wav", "dawn": "dawn.ogg"
    }  # fmt: skip
    reasons = {Path(each.file).name: each.detail for each in metadata.left_out}
    assert reasons["dawn.wav"] == "would share its row_ids with another file"
    assert reasons["=x.wav"].startswith("its name begins with =")


def test_rows_that_name_what_a_system_left_are_left_out(birdclef: Path, data_params: Callable[..., DataParams]) -> None:
    shutil.copy(birdclef / "train_audio/wren/XC2.ogg", birdclef / "train_audio/wren/._XC2.ogg")
    rows = ["primary_label,filename", "wren,wren/XC2.ogg", "wren,wren/._XC2.ogg", "robin,robin/XC0.ogg"]
    (birdclef / "train.csv").write_text("\n".join(rows) + "\n")
    metadata = read_metadata(data_params(soundscape_truth=None))
    assert list(metadata.recordings["recording"]) == ["robin/XC0.ogg", "wren/XC2.ogg"]
    assert [each.file for each in metadata.left_out] == ["chorus/train_audio/wren/._XC2.ogg"]
    (warning,) = metadata.warnings
    assert warning.startswith("audio files not used in chorus/train_audio: 3, first chorus/train_audio/1234/XC4.ogg:")


def test_a_root_without_recordings_says_what_it_holds_instead(birdclef: Path, read: Read) -> None:
    (birdclef / "loose.ogg").touch()
    with pytest.raises(PipelineError, match=r"lists no recording(?s:.*)loose\.ogg: lies beside the folders"):
        read()
