"""Files that DVC cannot hash are named, with a way out, before DVC is called."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from birdcache import cli
from birdcache.errors import CommandError
from commands.project.hashable import check_hashable, unhashable
from tests.fixtures import tiny


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of two classes in the current directory, without faults; links that lead round are none."""
    monkeypatch.chdir(tmp_path)
    for name in ("robin/a.ogg", "wren/b.ogg", ".git/objects/c", "notes/Zaunk\xf6nig.txt"):
        Path("birds", name).parent.mkdir(parents=True, exist_ok=True)
        Path("birds", name).touch()
    Path("birds/robin/up").symlink_to("..")
    Path("birds/erithacus").symlink_to("robin")
    shutil.copy(tiny.ROOT / "params.yaml", "params.yaml")
    return Path("birds")


def spoil(root: Path, fault: str) -> None:
    match fault:
        case "link":
            (root / "robin/gone.ogg").symlink_to("/mnt/annex/gone")
        case "loop":
            (root / "robin/loop.txt").symlink_to("loop.txt")
        case "name":
            Path(os.fsdecode(os.fsencode(root) + b"/notes gr\xfcn.txt")).touch()
        case "folder":
            Path(os.fsdecode(os.fsencode(root) + b"/.gr\xfcn")).mkdir()
            Path(os.fsdecode(os.fsencode(root) + b"/.gr\xfcn/a.txt")).touch()
        case "pipe":
            os.mkfifo(root / "robin/pipe")
        case "ignore":
            (root / "robin/.dvcignore").touch()


TOLD = {
    "link": "birds/robin/gone.ogg: is a link to /mnt/annex/gone, which is not there; fetch what it points to",
    "loop": "birds/robin/loop.txt: is a link that leads nowhere (Too many levels of symbolic links)",
    "name": r"birds/notes gr\udcfcn.txt: has a name that is not UTF-8; rename it",
    "folder": r"birds/.gr\udcfcn/a.txt: has a name that is not UTF-8",
    "pipe": "birds/robin/pipe: is a pipe, not a file; remove it",
    "ignore": "birds/robin/.dvcignore: is read by DVC, which allows none in what it hashes",
}


@pytest.mark.parametrize("fault", TOLD)
def test_init_names_what_dvc_cannot_hash_and_writes_nothing(
    root: Path, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = Path("params.yaml").read_bytes()
    spoil(root, fault)
    with pytest.raises(SystemExit, match="1"):
        cli.main(["init", "--folders", "birds"])
    told = capsys.readouterr().err
    assert "birds: DVC cannot hash 1 file" in told
    assert TOLD[fault] in told
    assert Path("params.yaml").read_bytes() == before


def test_init_of_a_folder_without_faults_tells_what_is_not_used(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "robin/c.m4a").touch()
    (root / "Bewick's Wren").mkdir()
    (root / "Bewick's Wren/d.opus").touch()
    cli.main(["init", "--folders", "birds"])
    told = capsys.readouterr().out
    assert "2 files are not used, first birds/erithacus/c.m4a: must be converted first; find birds " in told
    assert "4 recordings of 4 classes\nstage recordings lists what is not used in reports/data/refused.csv\n" in told
    assert "codes replace 1 folder name unfit as labels, such as Bewicks_Wren for Bewick's Wren" in told


def test_plan_and_doctor_name_them_too(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["init", "--folders", "birds"])
    spoil(root, "pipe")
    for command in ("plan", "doctor"):
        with pytest.raises(SystemExit, match="1"):
            cli.main([command])
        told = capsys.readouterr()
        assert "birds/robin/pipe: is a pipe, not a file" in told.out + told.err


def test_plan_names_a_root_that_does_not_answer_before_dvc_lists_it(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("Access Denied")

    cli.main(["init", "--folders", "birds"])
    text = Path("params.yaml").read_text()
    more = "sources: {xc: {layout: folders, root: memory://xc}}"
    Path("params.yaml").write_text(re.sub(r"sources: \{\}", more, text))
    monkeypatch.setattr(MemoryFileSystem, "isdir", refuse)
    monkeypatch.setattr(MemoryFileSystem, "info", refuse)
    with pytest.raises(SystemExit, match="1"):
        cli.main(["plan"])
    assert "error: memory://xc: cannot be reached (PermissionError: Access Denied); " in capsys.readouterr().err


@pytest.mark.parametrize("fault", ["link", "loop", "ignore"])
def test_dvc_really_fails_over_them_and_over_nothing_else(root: Path, fault: str) -> None:
    """By the way that DVC takes through a folder, without its repository."""
    program = (
        "from dvc_data.hashfile.build import build; from dvc_objects.fs.local import LocalFileSystem as FS;"
        "from dvc_data.hashfile.db import HashFileDB; import os;"
        "build(HashFileDB(FS(), os.path.abspath('odb')), os.path.abspath('birds'), FS(), 'md5', dry_run=True)"
    )
    assert list(unhashable(root)) == []
    check_hashable(root)
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
    spoil(root, fault)
    with pytest.raises(CommandError):
        check_hashable(root)
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=False).returncode != 0
