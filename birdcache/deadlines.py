"""Deadlines of disposable child processes: one thread watches them all, and none outlives this process."""

import atexit
import threading
import time
from typing import Protocol
from weakref import WeakSet

LOOK_EVERY_S = 0.1


class Watched(Protocol):
    """The owner of a process that others wait for."""

    def end_if_late(self) -> None:
        """Kill the process if its deadline has passed."""

    def close(self) -> None:
        """End the process."""


_watched: WeakSet[Watched] = WeakSet()
_lock = threading.Lock()
_thread: threading.Thread | None = None


def watch(owner: Watched) -> None:
    """Kill the owner's process when it is late, and when this process ends, for as long as the owner is in use."""
    global _thread
    with _lock:
        _watched.add(owner)
        if _thread is None:
            _thread = threading.Thread(target=_look_again_and_again, name="child deadlines", daemon=True)
            _thread.start()


def _look_again_and_again() -> None:
    """A look costs nothing; a timer for each read, as pipes cannot be polled on Windows, cost 2 to 4 % of decoding."""
    while True:
        time.sleep(LOOK_EVERY_S)
        _end_late_ones()


def _end_late_ones() -> None:
    for owner in _all():
        owner.end_if_late()


def _all() -> list[Watched]:
    with _lock:
        return list(_watched)


@atexit.register
def _close_all() -> None:
    for owner in _all():
        owner.close()
