"""The pool's lock: builds share it, collecting garbage takes it alone."""

from __future__ import annotations

import fcntl
import os
import platform
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from upath import UPath

from birdcache.errors import StoreError
from cache.locks import NAME, alone, building, replacing
from tests.fixtures.tiny import ROOT


def test_first_build_sweeps_and_the_next_ones_share_the_pool(tmp_path: Path) -> None:
    swept: list[str] = []
    first = building(tmp_path / "pool", lambda: swept.append("first"))
    with first, building(tmp_path / "pool", lambda: swept.append("second")):
        assert swept == ["first"]
    with building(tmp_path / "pool", lambda: swept.append("third")):
        assert swept == ["first", "third"]


def test_no_build_can_begin_while_leftovers_are_removed(tmp_path: Path) -> None:
    """Or it would lose a part that it is writing."""
    tried = []

    def sweep() -> None:
        with (tmp_path / NAME).open("w") as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
        tried.append(True)

    with building(tmp_path, sweep):
        assert tried == [True]


def test_collecting_is_refused_while_a_build_runs(tmp_path: Path) -> None:
    refused = pytest.raises(StoreError, match="a build is writing to this pool")
    with building(tmp_path, lambda: None), refused, alone(tmp_path):
        pytest.fail("both hold the lock")
    with alone(tmp_path):
        pass


def test_build_waits_until_garbage_is_collected(tmp_path: Path) -> None:
    began = threading.Event()

    def build() -> None:
        with building(tmp_path, lambda: pytest.fail("the pool was not its own")):
            began.set()

    thread = threading.Thread(target=build)
    with alone(tmp_path):
        thread.start()
        assert not began.wait(0.2)
    thread.join(10)
    assert began.is_set()


def test_killed_build_holds_no_lock(tmp_path: Path) -> None:
    script = "import os; from pathlib import Path; from cache.locks import building\n"
    script += f"with building(Path({str(tmp_path)!r}), lambda: None): os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == -9
    with alone(tmp_path):
        pass


def test_second_build_of_a_store_is_refused_and_told_who_builds_it(tmp_path: Path) -> None:
    refused = pytest.raises(StoreError, match=rf"mel\.zarr: process {os.getpid()} on \S+ is building it; wait until")
    before: list[int] = []
    with replacing(tmp_path / "mel.zarr", before.append):
        with refused, replacing(tmp_path / "mel.zarr", before.append):
            pytest.fail("both hold the lock")
        with replacing(tmp_path / "pcen.zarr", before.append):
            assert before == []
    with replacing(tmp_path / "mel.zarr", before.append):
        assert before == [os.getpid()]


def test_lock_of_a_killed_build_is_free_and_tells_who_held_it(tmp_path: Path) -> None:
    script = "import os; from pathlib import Path; from cache.locks import replacing\n"
    script += f"with replacing(Path({str(tmp_path)!r}) / 'mel.zarr', print):\n"
    script += "    print(os.getpid(), flush=True)\n    os.kill(os.getpid(), 9)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == -9
    before: list[int] = []
    with replacing(tmp_path / "mel.zarr", before.append):
        assert before == [int(done.stdout)]


def test_what_a_killed_build_left_is_swept_by_the_build_after_the_next_one_too(tmp_path: Path) -> None:
    """If the next one is killed while it sweeps."""
    (tmp_path / ".mel.zarr.lock").write_text(f"process 7 on {platform.node()}")

    def killed(process: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "mel.zarr", killed):
        pass
    before: list[int] = []
    with replacing(tmp_path / "mel.zarr", before.append):
        assert before == [7]


def test_builder_on_another_machine_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / ".mel.zarr.lock").write_text(f"process {os.getpid()} on another-{platform.node()}")
    with replacing(tmp_path / "mel.zarr", lambda process: pytest.fail("it is not ours")):
        pass


def test_remote_pool_has_no_lock() -> None:
    root = UPath("memory://unlocked")
    with building(root, lambda: pytest.fail("nobody can know")), alone(root):
        assert not root.exists()
