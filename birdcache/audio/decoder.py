"""Decoding in a disposable process: a file that crashes or stalls libsndfile, or makes it swell, costs itself alone."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from birdcache.arrays import Floats32
from birdcache.audio import decoder_process
from birdcache.audio.deadlines import watch
from birdcache.audio.decoder_process import LENGTH, Message, can_limit_memory, packed
from birdcache.audio.digest import sound_sha256
from birdcache.audio.notes import Note
from birdcache.audio.read import AudioInfo, fetched, read_info, waveform_blocks
from birdcache.audio.rejected import RejectedAudio
from birdcache.storage import AnyPath

T = TypeVar("T")

CHILD = decoder_process.__name__
LONGEST_MESSAGE, MOST_VALUES = 2**16, 2**26  # bytes, and values of an array: no answer of ours is larger
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")  # one, so that sums never differ
FAULTS = ("crashed", "timed-out", "out-of-memory")


@dataclass(frozen=True)
class Limits:
    """Resources that the decoding of one recording may take.

    Attributes
    ----------
    memory_bytes
        Address space. Recordings are decoded in blocks, so that it does not grow with their length.
    wait_s, wait_s_per_s
        Seconds to wait for it, and as many more for each second of sound: a thousandth is usual.
    """

    memory_bytes: int = 2**30
    wait_s: float = 60.0
    wait_s_per_s: float = 0.1


LIMITS = Limits()


class Decoder:
    """A process for libsndfile: started when it is needed, ended when it misbehaves, and then started anew.

    For one thread, and one recording at a time.
    """

    def __init__(self, limits: Limits = LIMITS) -> None:
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._wait_s = self._left_s = 0.0
        self._end_s = math.inf
        watch(self)

    def __del__(self) -> None:
        self.close()

    def info(self, path: AnyPath) -> AudioInfo:
        """As `birdcache.audio.read.read_info`.

        Raises
        ------
        RejectedAudio
            As there; crashed, timed-out or out-of-memory besides.
        """
        facts = self._value(read_info, path, {}, self._limits.wait_s)
        return AudioInfo(**{**facts, "notes": tuple(Note(*note) for note in facts["notes"])})

    def sound(self, path: AnyPath, duration_s: float, sha256: str, blocks: int | None = None) -> str:
        """As `birdcache.audio.digest.sound_sha256`, for a recording whose header promises this duration.

        Raises
        ------
        RejectedAudio
            As there; crashed, timed-out or out-of-memory besides.
        """
        arguments = {"sha256": sha256, "blocks": blocks}
        return str(self._value(sound_sha256, path, arguments, self._wait_for(duration_s)))

    def waveform(
        self,
        path: AnyPath,
        sample_rate_hz: int,
        duration_s: float,
        sha256: str | None = None,
        silence: bool = False,
    ) -> Iterator[Floats32]:
        """As `birdcache.audio.read.waveform_blocks`, for a recording whose header promises this duration.

        Raises
        ------
        RejectedAudio
            As there; crashed, timed-out or out-of-memory besides.
        """
        arguments = {"sample_rate_hz": sample_rate_hz, "sha256": sha256, "silence": silence}
        return self.arrays(waveform_blocks, path, arguments, duration_s, "float32", ())

    def arrays(
        self,
        function: Callable[..., Iterator[npt.NDArray[Any]]],
        path: AnyPath,
        arguments: Mapping[str, Any],
        duration_s: float,
        dtype: str,
        row: tuple[int, ...],
    ) -> Iterator[npt.NDArray[Any]]:
        """Arrays that a function yields for a recording whose header promises this duration; empty ones are left out.

        Parameters
        ----------
        function : of a module, called there with a local path and `arguments` by name, which travel as JSON.
        dtype, row : type and shape behind the first axis that all arrays must have.

        Raises
        ------
        RejectedAudio
            From the function; crashed (also for other arrays), timed-out or out-of-memory besides.
        """
        for answer in self._answers(function, path, arguments, self._wait_for(duration_s)):
            if "shape" in answer:
                array = np.empty(_checked_shape(answer, dtype, row), dtype)
                with self._deadline():
                    self._read_into(array.data.cast("B"))
                yield array

    def _value(self, function: Callable[..., Any], path: AnyPath, arguments: Mapping[str, Any], wait_s: float) -> Any:
        (answer,) = self._answers(function, path, arguments, wait_s)
        return answer.get("value")

    def close(self) -> None:
        """End the process, whatever it is doing."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def end_if_late(self) -> None:
        """Kill the process if it has not answered in time: then the read that waits for it ends."""
        process = self._process
        if process is not None and time.monotonic() >= self._end_s:
            process.kill()

    def _wait_for(self, duration_s: float) -> float:
        return self._limits.wait_s + self._limits.wait_s_per_s * duration_s

    def _answers(
        self, function: Callable[..., Any], path: AnyPath, arguments: Mapping[str, Any], wait_s: float
    ) -> Iterator[Message]:
        """Send a request and yield its answers; a process that is left in the middle of them is ended."""
        name, is_done = f"{function.__module__}:{function.__name__}", False
        self._wait_s = self._left_s = wait_s
        try:
            with fetched(path) as local:
                self._ask({"function": name, "path": str(local.absolute()), "arguments": dict(arguments)})
                while not is_done:
                    with self._deadline():
                        answer = self._read()
                    if "refused" in answer:
                        code, detail, hint = answer["refused"]
                        is_done = code not in FAULTS
                        raise RejectedAudio(code, detail, hint)
                    is_done = "shape" not in answer
                    yield answer
        except RejectedAudio as rejected:
            rejected.file = str(path)
            raise
        finally:
            if not is_done:
                self.close()

    def _ask(self, request: Message) -> None:
        process = self._process = self._process or begin(self._limits)
        assert process.stdin is not None
        try:
            process.stdin.write(packed(request))
            process.stdin.flush()
        except BrokenPipeError:
            raise self._crash() from None

    def _read(self) -> Message:
        head = bytearray(LENGTH.size)
        self._read_into(memoryview(head))
        (length,) = LENGTH.unpack(head)
        if length > LONGEST_MESSAGE:
            raise _no_answer()
        text = bytearray(length)
        self._read_into(memoryview(text))
        with suppress(ValueError):
            message = json.loads(text)
            if isinstance(message, dict):
                return message
        raise _no_answer()

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

    def _crash(self) -> RejectedAudio:
        """The reason why the process has ended; the system sends SIGKILL when it runs out of memory."""
        assert self._process is not None
        status = self._process.wait()
        if time.monotonic() >= self._end_s:
            return RejectedAudio("timed-out", f"is not decoded after {self._wait_s:.3g} s")
        reason = signal.Signals(-status).name if status < 0 else f"status {status}"
        if reason == "SIGKILL":
            return RejectedAudio(
                "out-of-memory", "its decoder was killed by the system, as happens when memory runs out"
            )
        return RejectedAudio("crashed", f"crashes its decoder ({reason})")


def _checked_shape(answer: Message, dtype: str, row: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of an array that the process announces, if it is what was asked for and no larger than any can be."""
    rows = answer["shape"][0] if isinstance(answer["shape"], list) and answer["shape"] else 0
    is_expected = isinstance(rows, int) and answer == {"dtype": dtype, "shape": [rows, *row]}
    if not is_expected or not 0 < rows * math.prod(row) <= MOST_VALUES:
        raise _no_answer()
    return (rows, *row)


def _no_answer() -> RejectedAudio:
    return RejectedAudio("crashed", "makes its decoder send something that is no answer")


def begin(limits: Limits) -> subprocess.Popen[bytes]:
    """Start a process that decodes; it imports from the same folders as this one."""
    memory_bytes = limits.memory_bytes if can_limit_memory() else 0
    return subprocess.Popen(
        [sys.executable, "-m", CHILD, str(os.getpid()), str(memory_bytes)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **dict.fromkeys(THREADS, "1")},
    )


_here = threading.local()


def decoder() -> Decoder:
    """The decoder of this thread."""
    if not hasattr(_here, "decoder"):
        _here.decoder = Decoder()
    found: Decoder = _here.decoder
    return found


def with_second_try(action: Callable[[], T]) -> T:
    """Run `action`, which decodes a file, and once more with a fresh process if its process ended over it.

    Raises
    ------
    RejectedAudio
        From the second try, or from the first if its process was not to blame.
    """
    try:
        return action()
    except RejectedAudio as rejected:
        if rejected.code not in FAULTS:
            raise
    return action()
