"""This process and its system: it ends with the one that started it, however that one ended, and computes fast.

Otherwise a killed DVC leaves its stage running, and a killed stage its workers: for hours, writing beside the next run.
"""

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG = 1  # an operation of Linux's prctl
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's mallopt
SHORT_WAIT = {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "1"}  # of GNU's OpenMP: turns, some 20 us; of LLVM's: ms
WAITS = {*SHORT_WAIT, "OMP_WAIT_POLICY", "KMP_LIBRARY"}  # any of them is a user's own choice
LOOK_EVERY_S = 0.5
SHELLS = {"sh", "bash", "dash", "zsh", "fish", "ksh", "busybox"}
ADOPTERS = {"systemd", "init", "launchd", "tini", "dumb-init", "docker-init"}  # of processes whose parent has ended
DVC_STAGE = "DVC_STAGE"  # set by DVC for the commands that it runs


def allow_open_files(wanted: int) -> int:
    """The number of files that may be open at once, raised to `wanted` as far as this process may raise it."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return wanted
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    allowed = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, most))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


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


def exit_with_parent(parent: int, by: signal.Signals | None = None) -> None:
    """End this process by a signal when its parent ends: at once on Linux, elsewhere within half a second.

    On Linux this follows the thread that started this process; start it from one that lives as long as its process.

    Parameters
    ----------
    parent : process id; if that is this process's parent no more, the signal comes now.
    by : the signal; None = SIGKILL, or SIGTERM on Windows, which knows no other.
    """
    number: int = getattr(signal, "SIGKILL", signal.SIGTERM) if by is None else by
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
    else:
        _watch(lambda: os.getppid() == parent, number)
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


def prepare_for_torch() -> None:
    """Let torch's threads wait actively for a moment only, and let glibc keep memory that is freed for the next step.

    To be called before torch is imported: OpenMP reads the environment as it is loaded. GNU's threads wait 3 ms, LLVM's
    200 ms, and beside another busy process they burn the time of the one that they wait for. By default glibc gives
    large blocks back at once, and the system clears each of their pages anew in every step. What a user has set stays.
    """
    if not WAITS & os.environ.keys():
        os.environ |= SHORT_WAIT
    if not any(name.startswith("MALLOC_") for name in os.environ) and "malloc" not in os.getenv("GLIBC_TUNABLES", ""):
        keep_heap()


def keep_heap() -> None:
    """Let glibc keep memory that is freed; elsewhere this does nothing."""
    with suppress(OSError, AttributeError, TypeError):
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018 - another library's options have other numbers
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(M_MMAP_MAX, 0)


def is_alive(process: int) -> bool:
    """True if a process runs; a zombie does not."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return _stat(process)[2:3] not in (["Z"], ["X"])


def _watch(is_alive: Callable[[], bool], by: int) -> None:
    """Ask again and again, in a thread, and end this process once the answer is no."""

    def look() -> None:
        while is_alive():
            time.sleep(LOOK_EVERY_S)
        os.kill(os.getpid(), by)

    threading.Thread(target=look, name="exit-with-parent", daemon=True).start()


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
