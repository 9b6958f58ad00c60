"""A process that ends when the one that started it does, however that one ended.

DVC that is killed leaves its stage running, and a stage that is killed its workers: they would go on for hours, and
write beside the next run.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

PR_SET_PDEATHSIG = 1  # of Linux's prctl
LOOK_EVERY_S = 0.5
SHELLS = {"sh", "bash", "dash", "zsh", "fish", "ksh", "busybox"}
ADOPTERS = {"systemd", "init", "launchd", "tini", "dumb-init", "docker-init"}  # parents of those who lost theirs
DVC_STAGE = "DVC_STAGE"  # which DVC sets for the commands that it runs


def exit_with_dvc() -> None:
    """End this stage by SIGTERM when DVC ends: a training then still saves. Run by hand, a stage outlives its shell.

    A shell that DVC put between itself and the stage lives on when DVC is killed: then the shell's parent is watched.
    """
    if DVC_STAGE not in os.environ:
        return
    parent = os.getppid()
    name, starter = _name_and_parent(parent)
    if name in ADOPTERS:
        parent = 0  # DVC ended while this stage was starting
    elif name in SHELLS:
        _watch(lambda: _name_and_parent(parent) == (name, starter), signal.SIGTERM)
    exit_with_parent(parent, signal.SIGTERM)


def exit_with_parent(parent: int, by: signal.Signals = signal.SIGKILL) -> None:
    """End this process by a signal when its parent ends: at once on Linux, elsewhere within half a second.

    On Linux what counts is the thread that started this process; let it be one that lives as long as its process.

    Parameters
    ----------
    parent : process id; if that is this process's parent no more, the signal comes now.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, by)
    else:
        _watch(lambda: os.getppid() == parent, by)
    if os.getppid() != parent:
        os.kill(os.getpid(), by)


def is_alive(process: int) -> bool:
    """Whether there is such a process, not counting one that has ended and waits for its parent to notice."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return _stat(process)[2:3] not in (["Z"], ["X"])


def _watch(is_alive: Callable[[], bool], by: signal.Signals) -> None:
    """Look again and again, in a thread, and end this process once the answer is no."""

    def look() -> None:
        while is_alive():
            time.sleep(LOOK_EVERY_S)
        os.kill(os.getpid(), by)

    threading.Thread(target=look, name="lifeline", daemon=True).start()


def _name_and_parent(process: int) -> tuple[str, int]:
    """Name of a process's program and its parent's id, where the system has /proc; else "" and 0."""
    stat = _stat(process)
    return (stat[1], int(stat[3])) if stat else ("", 0)


def _stat(process: int) -> list[str]:
    """Id, name, state and parent of a process, where the system has /proc; else nothing."""
    try:
        before, _, after = Path(f"/proc/{process}/stat").read_text().rpartition(")")
    except OSError:
        return []
    return [*before.split(" (", 1), *after.split()]
