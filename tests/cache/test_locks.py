"""The pool's lock: builds share it, collecting garbage takes it alone."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from upath import UPath

from cache.errors import StoreError
from cache.locks import NAME, alone, building
from tests.tiny import ROOT


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


def test_remote_pool_has_no_lock() -> None:
    root = UPath("memory://unlocked")
    with building(root, lambda: pytest.fail("nobody can know")), alone(root):
        assert not root.exists()
