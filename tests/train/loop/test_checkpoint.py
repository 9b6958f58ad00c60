"""Checkpoints on disk: what is read back is what was written, whatever happened to the machine in between."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from birdcache.errors import TrainError
from birdcache.files import checksummed_json, verified_json
from tests.train.loop.resuming import SOME_TRAINING
from train.loop import checkpoint as checkpoints
from train.loop.checkpoint import RECORD, STATE, Checkpoint, CheckpointFolder, forget_checkpoints


def checkpoint(step: int) -> Checkpoint:
    return Checkpoint({"step": step, "loss": float("nan")}, {STATE: b"state" * step, "best.safetensors": b"best"})


@pytest.fixture
def folder(tmp_path: Path) -> CheckpointFolder:
    """With two checkpoints, and room for three."""
    made = CheckpointFolder(tmp_path / "models/base/0/key", 3, SOME_TRAINING)
    made.save(checkpoint(1))
    made.save(checkpoint(2))
    return made


def read(folder: CheckpointFolder) -> int | None:
    """The step of the newest whole checkpoint."""
    found = folder.newest()
    if found is None:
        return None
    step: int = found[1].facts["step"]
    assert found[1].files == checkpoint(step).files
    return step


def test_the_newest_is_read_back_as_it_was_written(folder: CheckpointFolder) -> None:
    path, found = folder.newest() or (Path(), checkpoint(0))
    assert path == folder.path / "000002"
    assert str(found) == str(checkpoint(2))
    assert read(CheckpointFolder(folder.path.parent / "none", 3, SOME_TRAINING)) is None


@pytest.mark.parametrize("keep", [1, 2])
def test_the_last_ones_are_kept(folder: CheckpointFolder, keep: int) -> None:
    few = CheckpointFolder(folder.path, keep, SOME_TRAINING)
    for step in range(3, 12):
        few.save(checkpoint(step))
    assert sorted(path.name for path in folder.path.iterdir()) == [f"{step:06d}" for step in range(12 - keep, 12)]
    assert read(few) == 11


def cut(size: int, path: Path) -> None:
    os.truncate(path, size)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize("file", [STATE, "best.safetensors", RECORD])
@pytest.mark.parametrize(
    "corruption", [flip, lambda path: os.truncate(path, 3), lambda path: os.truncate(path, 0), os.unlink]
)
def test_a_damaged_one_is_named_and_the_one_before_is_taken(
    folder: CheckpointFolder, file: str, corruption: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = folder.path / "000002" / file
    corruption(damaged)
    assert read(folder) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"warning: {damaged}: ")
    assert "renamed to damaged-000002" in told
    assert (folder.path / "damaged-000002").is_dir()
    folder.save(checkpoint(3))
    assert read(folder) == 3
    assert capsys.readouterr().err == ""


def test_where_all_are_damaged_nothing_is_taken(folder: CheckpointFolder) -> None:
    for path in list(folder.path.glob(f"*/{STATE}")):
        flip(path)
    assert read(folder) is None
    folder.save(checkpoint(5))
    assert read(folder) == 5


@pytest.mark.parametrize(
    ("what", "call"),
    [("mkdir", 0), *(("write", call) for call in range(3)), *(("fsync", call) for call in range(5)), ("rename", 0)],
)
def test_a_disk_that_refuses_leaves_the_checkpoints_before_as_they_were(
    folder: CheckpointFolder, monkeypatch: pytest.MonkeyPatch, what: str, call: int
) -> None:
    """Whichever call of a save fails, the old ones are whole; the new one is there whole, or not at all."""
    calls = 0

    def failing(do: Callable[..., Any]) -> Callable[..., Any]:
        def maybe(*arguments: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == call + 1:
                raise OSError(28, "No space left on device")
            return do(*arguments, **named)

        return maybe

    owner: Any = {"fsync": os, "rename": Path, "mkdir": Path, "write": checkpoints}[what]
    name = "_write" if what == "write" else what
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, failing(getattr(owner, name)))
        with pytest.raises(OSError, match="No space left on device"):
            folder.save(checkpoint(3))
    assert calls == call + 1
    assert read(folder) == (3 if (what, call) == ("fsync", 4) else 2), "the last call comes after the rename"
    assert not list(folder.path.glob("tmp-*"))


def test_all_is_forced_to_the_disk_before_it_has_its_name(
    folder: CheckpointFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def forced(handle: int) -> None:
        done.append(Path(f"/proc/self/fd/{handle}").readlink().name)
        fsync(handle)

    def renamed(path: Path, target: Path) -> Path:
        done.append("rename")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", forced)
    monkeypatch.setattr(Path, "rename", renamed)
    folder.save(checkpoint(3))
    *files, part_writer, named, outer = done
    assert files == [STATE, "best.safetensors", RECORD]
    assert part_writer.startswith("tmp-")
    assert (named, outer) == ("rename", folder.path.name)


def test_a_disk_that_gives_back_other_bytes_is_found_out(
    folder: CheckpointFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = checkpoints._write

    def rotten(path: Path, content: bytes) -> None:
        write(path, content)
        if path.name == STATE:
            flip(path)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "_write", rotten)
        with pytest.raises(OSError, match=rf"{STATE}: the disk returned other bytes than were written"):
            folder.save(checkpoint(3))
    assert read(folder) == 2


def test_a_checkpoint_of_another_training_is_refused(folder: CheckpointFolder) -> None:
    other = CheckpointFolder(folder.path, 3, {**SOME_TRAINING, "store": "3", "code": "4"})
    with pytest.raises(TrainError, match=r"000002: belongs to another training, with other code, store; move"):
        other.newest()


def test_a_checkpoint_of_another_version_is_refused(folder: CheckpointFolder) -> None:
    path = folder.path / "000002" / RECORD
    path.write_bytes(checksummed_json({**verified_json(path.read_bytes()), "version": 2}))
    with pytest.raises(TrainError, match=r"checkpoint\.json: has version 2, not 1; move .*key away"):
        folder.newest()


def test_only_one_process_at_a_time_has_a_training(folder: CheckpointFolder) -> None:
    with folder.held():
        same = CheckpointFolder(folder.path, 3, SOME_TRAINING)
        with (
            pytest.raises(TrainError, match=rf"key: process {os.getpid()} is already running this training; wait"),
            same.held(),
        ):
            pass
    with folder.held():
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    folder = CheckpointFolder(tmp_path / "file/key", 3, SOME_TRAINING)
    with pytest.raises(TrainError, match=r"file/key: cannot be written .*; set machine\.checkpoints or"), folder.held():
        pass


def test_what_a_killed_save_left_is_removed_by_the_next_holder(folder: CheckpointFolder) -> None:
    (folder.path / "tmp-1").mkdir()
    (folder.path / "tmp-1" / STATE).write_bytes(b"half")
    assert read(folder) == 2
    with folder.held():
        assert not (folder.path / "tmp-1").exists()
    assert read(folder) == 2


def test_checkpoints_of_a_finished_training_are_removed_and_those_of_others_stay(tmp_path: Path) -> None:
    place, root = Path("models/base/0"), tmp_path / "checkpoints"
    for name in ("done", "killed"):
        CheckpointFolder(root / place / name, 3, SOME_TRAINING).save(checkpoint(1))
    forget_checkpoints(root, place / "done")
    assert [path.name for path in (root / place).iterdir()] == ["killed"]
    forget_checkpoints(root, place / "killed")
    assert list(root.iterdir()) == []
    forget_checkpoints(root, place / "killed")
    assert root.is_dir()
