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


def test_all_unknown_files_are_told_by_table_and_row(root: Path) -> None:
    names = [FileNames((text,)) for text in ("dawn", "x.ogg", "x.ogg", "XC1")] + [
        FileNames(("s/y", "y"), of_table=True)
    ]
    table = pd.DataFrame({"file": names, "table": ["a", "a", "a", "b", "c.txt"], "row": [2, 3, 4, 9, 1]})
    listed = pd.DataFrame({"recording": list(LISTED), "path": list(LISTED.values())})
    with pytest.raises(PipelineError) as raised:
        matched(table, Bounds(root, "inside"), listed)
    first, second, third, fourth, fifth, sixth = str(raised.value).splitlines()
    assert (first, third, fifth) == ("a:", "b:", "c.txt:")
    assert second.startswith("  row(s) 3-4: file 'x.ogg' is not in data.root")
    assert fourth.startswith("  row(s) 9: file 'XC1' may be ")
    assert sixth.startswith("  row(s) 1: file 's/y' is not in data.root; rename or move the table")
    good = matched(table[:1], Bounds(root, "inside"), listed)
    assert list(good.columns) == ["table", "row", "recording", "path"]
    assert list(good["recording"]) == ["scapes/dawn.ogg"]


def test_data_set_is_not_looked_through_without_annotations() -> None:
    table = pd.DataFrame({"file": [], "start_s": [], "end_s": [], "label": [], "table": [], "row": []})
    assert len(matched(table, Bounds(Path("nowhere"), "inside"), pd.DataFrame())) == 0
