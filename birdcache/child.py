"""A disposable child process: its pipe, its deadline, and why it ended. Its own side is `birdcache.child_process`.

One thread watches the deadlines of all children, and none outlives this process.
"""

import atexit
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from weakref import WeakSet

from birdcache.child_process import LENGTH, Message, can_limit_memory

LOOK_EVERY_S = 0.1
LONGEST_MESSAGE = 2**16  # bytes: no answer of ours is longer


class ChildError(Exception):
    """A child ended, or sent what is no answer: `code` is crashed, timed-out, out-of-memory or no-answer."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class Child:
    """A process: started when it is needed, ended when it misbehaves or when this one ends, and then started anew.

    For one thread, and one request at a time.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._parent = os.getpid()
        self._wait_s = self._left_s = 0.0
        self._end_s = math.inf
        with _lock:
            _all.add(self)
            if _watcher.ident is None:
                _watcher.start()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """End the process, whatever it is doing; in a fork of its parent it is left to that one."""
        if self._process is not None and self._parent == os.getpid():
            self._process.kill()
            self._process.communicate()
        self._process = None

    def end_if_late(self) -> None:
        """Kill the process if it has not answered in time: then the read that waits for it ends."""
        process = self._process
        if process is not None and time.monotonic() >= self._end_s:
            process.kill()

    def _wait_at_most(self, seconds: float) -> None:
        self._wait_s = self._left_s = seconds

    def _send(self, *parts: bytes | memoryview) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            for part in parts:
                self._process.stdin.write(part)
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._crash() from None

    def _read(self) -> Message:
        head = bytearray(LENGTH.size)
        self._read_into(memoryview(head))
        (length,) = LENGTH.unpack(head)
        if length > LONGEST_MESSAGE:
            raise no_answer()
        text = bytearray(length)
        self._read_into(memoryview(text))
        with suppress(ValueError):
            message = json.loads(text)
            if isinstance(message, dict):
                return message
        raise no_answer()

    @contextmanager
    def _deadline(self) -> Iterator[None]:
        """Limit what is done here to the time that is left (by a watching thread, as Windows cannot poll pipes)."""
        begin_s = time.monotonic()
        self._end_s = begin_s + self._left_s
        try:
            yield
        finally:
            self._end_s = math.inf
            self._left_s -= time.monotonic() - begin_s

    def _read_into(self, content: memoryview) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        while content:
            count = self._process.stdout.readinto(content)  # type: ignore[attr-defined]
            if not count:
                raise self._crash()
            content = content[count:]

    def _crash(self) -> ChildError:
        """The reason why the process has ended; the system sends SIGKILL when it runs out of memory."""
        assert self._process is not None
        status = self._process.wait()
        if time.monotonic() >= self._end_s:
            return ChildError("timed-out", f"{self._wait_s:.3g} s")
        reason = signal.Signals(-status).name if status < 0 else f"status {status}"
        return ChildError("out-of-memory" if reason == "SIGKILL" else "crashed", reason)


_all: WeakSet[Child] = WeakSet()
_lock = threading.Lock()


def _watch_all() -> None:
    """A look costs nothing; a timer for each read, as pipes cannot be polled on Windows, cost 2 to 4 % of decoding."""
    while True:
        time.sleep(LOOK_EVERY_S)
        for child in _children():
            child.end_if_late()


_watcher = threading.Thread(target=_watch_all, name="child deadlines", daemon=True)


def _children() -> list[Child]:
    with _lock:
        return list(_all)


@atexit.register
def _close_all() -> None:
    for child in _children():
        child.close()


def no_answer() -> ChildError:
    """A child sent what is no answer."""
    return ChildError("no-answer", "what it sends is no answer")


def begin(module: str, memory_bytes: int, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a process that runs a module; it imports from the same folders as this one."""
    return subprocess.Popen(
        [sys.executable, "-m", module, str(os.getpid()), str(memory_bytes if can_limit_memory() else 0)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **environment},
    )
