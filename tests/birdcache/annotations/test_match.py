"""Which file an annotation is about: listed or not, by path or by name, and never one outside the data set."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from birdcache.annotations.match import Files, matched
from birdcache.annotations.table import FileNames, names_by_path, names_of_table
from birdcache.audio.paths import Bounds
from birdcache.errors import PipelineError

LISTED = {"wren/XC1.ogg": "chorus/train_audio/wren/XC1.ogg", "robin/XC1.ogg": "chorus/train_audio/robin/XC1.ogg"}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """chorus/ of the current directory: two listed recordings of one name, and a soundscape."""
    monkeypatch.chdir(tmp_path)
    for path in [*LISTED.values(), "chorus/scapes/dawn.ogg", "chorus/scapes/notes.csv", "outside.ogg"]:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).touch()
    return Path("chorus")


@pytest.fixture
def files(root: Path) -> Files:
    return Files(Bounds(root, "inside"), pd.DataFrame({"recording": list(LISTED), "path": list(LISTED.values())}))


@pytest.mark.parametrize(
    "text",
    [
        "wren/XC1.ogg",
        "train_audio/wren/XC1.ogg",
        "chorus/train_audio/wren/XC1.ogg",
        "./chorus/train_audio/wren/XC1.ogg",
        "wren\\XC1.ogg",
    ],
)
def test_listed_recording_is_found_under_each_of_its_paths(files: Files, text: str) -> None:
    assert files.find(text) == ("wren/XC1.ogg", LISTED["wren/XC1.ogg"])


def test_absolute_path_inside_the_data_set_is_found(files: Files, tmp_path: Path) -> None:
    assert files.find(str(tmp_path / LISTED["robin/XC1.ogg"]))[0] == "robin/XC1.ogg"


@pytest.mark.parametrize("text", ["dawn.ogg", "dawn", "scapes/dawn.ogg", "chorus/scapes/dawn.ogg"])
def test_unlisted_file_is_found_too_and_named_from_the_root(files: Files, text: str) -> None:
    assert files.find(text) == ("scapes/dawn.ogg", "chorus/scapes/dawn.ogg")


def test_name_of_two_files_is_refused(files: Files) -> None:
    with pytest.raises(LookupError, match=r"'XC1.ogg' may be chorus/train_audio/robin/XC1.ogg or chorus/train_audio/w"):
        files.find("XC1.ogg")


@pytest.mark.parametrize(
    "paths",
    [
        ("/elsewhere/train_audio/wren/XC1.ogg", "XC1.ogg"),
        ("C:\\birds\\wren\\XC1.ogg", "XC1.ogg"),
        ("", "wren/XC1.ogg"),
        ("XC1.ogg", "./wren/XC1.ogg"),
    ],
)
def test_raven_tells_files_of_one_name_apart_by_their_paths(files: Files, paths: tuple[str, ...]) -> None:
    assert files.find(*names_by_path(*paths).texts)[0] == "wren/XC1.ogg"


def test_base_name_is_enough_where_the_path_is_unknown(files: Files) -> None:
    assert files.find(*names_by_path("/elsewhere/dusk/dawn.ogg", "dusk/dawn.ogg").texts)[0] == "scapes/dawn.ogg"


@pytest.mark.parametrize(
    "table", ["wren/XC1.labels.txt", "new/wren/XC1.ogg.labels.txt", "wren/XC1.Table.1.selections.txt"]
)
def test_table_in_a_folder_is_about_the_file_in_such_a_folder(files: Files, table: str) -> None:
    names = names_of_table(Path("annotations", table), Path("annotations"))
    assert files.find(*names.texts)[0] == "wren/XC1.ogg"


@pytest.mark.parametrize("text", ["outside.ogg", "../outside.ogg", "chorus/../outside.ogg", "notes.csv", "/etc/passwd"])
def test_file_outside_the_data_set_is_never_found(files: Files, text: str) -> None:
    with pytest.raises(LookupError, match=r"is not in data\.root; write its path from data\.root"):
        files.find(text)


def test_link_that_leaves_the_data_set_is_no_part_of_it(root: Path) -> None:
    (root / "linked.ogg").symlink_to(Path("outside.ogg").resolve())
    (root / "inner.ogg").symlink_to(Path("chorus/scapes/dawn.ogg").resolve())
    found = Files(Bounds(root, "inside"), pd.DataFrame({"recording": [], "path": []}, dtype=str))
    assert found.find("inner.ogg")[1] == "chorus/inner.ogg"
    with pytest.raises(LookupError):
        found.find("linked.ogg")


def asked(**files: str | FileNames) -> pd.DataFrame:
    """Annotations of these files, each in a table of its name and the row after the last one's."""
    names = [FileNames((file,)) if isinstance(file, str) else file for file in files.values()]
    return pd.DataFrame({"file": names, "table": [name[0] for name in files], "row": range(2, len(names) + 2)})


def test_all_unknown_and_ambiguous_files_are_told_by_table_and_row(root: Path) -> None:
    table = asked(a="dawn", a2="x.ogg", a3="x.ogg", b="XC1", c=FileNames(("s/y", "y"), of_table=True))
    listed = pd.DataFrame({"recording": list(LISTED), "path": list(LISTED.values())})
    with pytest.raises(PipelineError) as raised:
        matched(table, Bounds(root, "inside"), listed)
    assert [line.partition("; ")[0] for line in str(raised.value).splitlines()] == [
        "a:",
        "  rows 3-4: file 'x.ogg' is not in data.root",
        "c:",
        "  row 6: file 's/y' is not in data.root",
        "b:",
        "  row 5: file 'XC1' may be chorus/train_audio/robin/XC1.ogg or chorus/train_audio/wren/XC1.ogg",
    ]


def test_times_of_files_that_are_not_there_are_counted_and_refused_only_if_none_is(root: Path) -> None:
    listed, told = pd.DataFrame({"recording": list(LISTED), "path": list(LISTED.values())}), list[str]()
    table = asked(a="dawn", b="x.ogg", b2="x.ogg")
    good = matched(table, Bounds(root, "inside"), listed, told.append)
    assert (list(good.columns), list(good["recording"])) == (["table", "row", "recording", "path"], ["scapes/dawn.ogg"])
    (warning,) = told
    assert warning.startswith("2 of 3 annotated times are left out, first b: rows 3-4: file 'x.ogg' is not in data.r")
    with pytest.raises(PipelineError, match=r"b:\n  rows 3-4: file 'x.ogg' is not in data\.root; write its path"):
        matched(table[1:], Bounds(root, "inside"), listed)


def test_file_that_was_converted_since_is_found_and_told(root: Path) -> None:
    listed, told = pd.DataFrame({"recording": list(LISTED), "path": list(LISTED.values())}), list[str]()
    table = asked(a="dawn.wav", b=names_by_path("D:\\rec\\wren\\XC1.WAV"), c=FileNames(("scapes/dawn.m4a",), True))
    found = matched(table, Bounds(root, "inside"), listed, told.append)
    assert list(found["recording"]) == ["scapes/dawn.ogg", "wren/XC1.ogg", "scapes/dawn.ogg"]
    assert told == [
        "annotated files with another extension now: 3, first dawn.wav is chorus/scapes/dawn.ogg",
    ]
    with pytest.raises(PipelineError, match=r"file 'XC1' may be .*robin/XC1\.ogg or "):
        matched(asked(a="XC1.wav"), Bounds(root, "inside"), listed)


def test_data_set_is_not_looked_through_without_annotations() -> None:
    table = pd.DataFrame({"file": [], "start_s": [], "end_s": [], "label": [], "table": [], "row": []})
    assert len(matched(table, Bounds(Path("nowhere"), "inside"), pd.DataFrame())) == 0
