"""The folder of recordings: what a killed server left is removed, and nothing else."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from birdcache.errors import CommandError
from birdcache.serve.server import own_folder


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ExitStack]:
    """What servers hold; temporary folders are made in `tmp_path`."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with ExitStack() as held:
        yield held


def left_by_a_dead_server() -> Path:
    with ExitStack() as dead:
        folder = own_folder(dead)
    assert not folder.exists(), "it went with the stack; a kill leaves it"
    folder.mkdir()
    (folder / "recording.ogg").write_bytes(b"sound")
    return folder


def test_the_folders_of_dead_servers_are_removed_and_those_of_living_ones_stay(stack: ExitStack) -> None:
    dead = left_by_a_dead_server()
    alive = own_folder(stack)
    assert not dead.exists()
    own = own_folder(stack)
    assert alive.exists()
    assert own.exists()
    assert own != alive


def test_what_only_looks_like_a_folder_of_a_server_stays(stack: ExitStack, tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    kept = ["target", "birdcache-serve-notes", "birdcache-serve-12345678.bak", "birdcache-serve-filefile", "other"]
    for name in kept[1:3]:
        (tmp_path / name).mkdir()
    for name in kept[3:]:
        (tmp_path / name).write_text("")
    (tmp_path / "birdcache-serve-linklink").symlink_to(tmp_path / "target")
    own = own_folder(stack)
    assert {path.name for path in tmp_path.iterdir()} == {*kept, "birdcache-serve-linklink", own.name}


def test_no_temporary_folder_is_told_with_the_way_out(stack: ExitStack, tmp_path: Path) -> None:
    tmp_path.rmdir()
    with pytest.raises(CommandError, match=r"no temporary folder can be made there .*; set TMPDIR to"):
        own_folder(stack)
