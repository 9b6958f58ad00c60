"""Decoding in a disposable process, so that a file which crashes, stalls or swells libsndfile costs that file alone."""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar
from weakref import WeakSet

import numpy as np

from birdcache.arrays import Floats32
from birdcache.audio import decoder_process
from birdcache.audio.messages import LENGTH, Message, packed
from birdcache.audio.read import AudioInfo, fetched
from birdcache.audio.rejected import RejectedAudio
from birdcache.params.views import MelView, PcenView
from birdcache.storage import AnyPath
from cache.quantize import QuantizedArray

T = TypeVar("T")

CHILD = decoder_process.__name__
LONGEST_MESSAGE, MOST_FRAMES, MOST_SAMPLES = 2**16, 2**20, 2**23  # beyond, it is no answer of ours
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")  # one, so that sums never differ
FAULTS = ("crashed", "timed-out", "out-of-memory")


@dataclass(frozen=True)
class Limits:
    """What one recording may take of the process that decodes it.

    Attributes
    ----------
    memory_bytes
        Address space. Recordings are decoded in blocks, so that it does not grow with their length.
    wait_s, wait_s_per_s
        Seconds that others wait for it, and so many more for each second of sound: a thousandth is usual.
    """

    memory_bytes: int = 2**30
    wait_s: float = 60.0
    wait_s_per_s: float = 0.1


LIMITS = Limits()

_alive: WeakSet[Decoder] = WeakSet()


@atexit.register
def _close_all() -> None:
    for each in list(_alive):
        each.close()


class Decoder:
    """A process for libsndfile: begun when it is needed, ended when it misbehaves, and then begun anew.

    For one thread, and one recording at a time.
    """

    def __init__(self, limits: Limits = LIMITS) -> None:
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._wait_s = self._left_s = 0.0
        _alive.add(self)

    def __del__(self) -> None:
        self.close()

    def info(self, path: AnyPath) -> AudioInfo:
        """As `birdcache.audio.read.read_info`.

        Raises
        ------
        Refusal
            As there; crashed, timed-out or out-of-memory besides.
        """
        with _local(path) as local:
            (answer,) = self._answers({"header": local}, path, self._limits.wait_s)
            return AudioInfo(**answer["header"])

    def sound(self, path: AnyPath, duration_s: float, sha256: str, blocks: int | None = None) -> str:
        """As `birdcache.audio.digest.sound_sha256`, for a recording that says to last so long.

        Raises
        ------
        Refusal
            As there; crashed, timed-out or out-of-memory besides.
        """
        with _local(path) as local:
            request = {"sound": local, "sha256": sha256, "blocks": blocks}
            (answer,) = self._answers(request, path, self._wait_for(duration_s))
            return str(answer["sound"])

    def quantized(
        self,
        path: AnyPath,
        view: MelView | PcenView,
        duration_s: float,
        sha256: str | None = None,
        silence: bool = False,
    ) -> Iterator[QuantizedArray]:
        """As `pipeline.build.encode.quantized_blocks`, for a recording that says to last so long.

        Raises
        ------
        Refusal
            As there; crashed, timed-out or out-of-memory besides.
        """
        with _local(path) as local:
            request = {"quantized": local, "view": view.model_dump(mode="json"), "sha256": sha256, "silence": silence}
            for answer in self._answers(request, path, self._wait_for(duration_s)):
                if "frames" in answer:
                    quantized = np.empty((answer["frames"], view.n_mels), view.dtype)
                    self._read_into(quantized.data.cast("B"))
                    yield quantized

    def waveform(
        self,
        path: AnyPath,
        sample_rate_hz: int,
        duration_s: float,
        sha256: str | None = None,
        silence: bool = False,
    ) -> Iterator[Floats32]:
        """As `birdcache.audio.read.waveform_blocks`, for a recording that says to last so long.

        Raises
        ------
        Refusal
            As there; crashed, timed-out or out-of-memory besides.
        """
        with _local(path) as local:
            request = {"waveform": local, "sample_rate_hz": sample_rate_hz, "sha256": sha256, "silence": silence}
            for answer in self._answers(request, path, self._wait_for(duration_s)):
                if "samples" in answer:
                    samples_S = np.empty(answer["samples"], np.float32)
                    self._read_into(samples_S.data.cast("B"))
                    yield samples_S

    def close(self) -> None:
        """End the process, whatever it does."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _wait_for(self, duration_s: float) -> float:
        return self._limits.wait_s + self._limits.wait_s_per_s * duration_s

    def _answers(self, request: Message, path: AnyPath, wait_s: float) -> Iterator[Message]:
        """Ask, and hand on what comes until the last answer; a process left in the middle of its answer is ended."""
        is_done = False
        try:
            self._ask(request)
            self._wait_s = self._left_s = wait_s
            while not is_done:
                answer = self._read()
                if "refused" in answer:
                    code, detail, hint = answer["refused"]
                    is_done = code not in FAULTS
                    raise RejectedAudio(code, detail, hint)
                is_done = not answer.keys() & {"frames", "samples"}
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
            raise RejectedAudio("crashed", "made its decoder send what is no answer")
        text = bytearray(length)
        self._read_into(memoryview(text))
        message: Message = json.loads(text)
        if message.get("frames", 0) > MOST_FRAMES or message.get("samples", 0) > MOST_SAMPLES:
            raise RejectedAudio("crashed", "made its decoder send what is no answer")
        return message

    def _read_into(self, content: memoryview) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        handle = self._process.stdout.fileno()
        ready = select.poll()
        ready.register(handle, select.POLLIN)
        while content:
            begin_s = time.monotonic()
            if not ready.poll(max(0.0, 1000 * self._left_s)):
                raise RejectedAudio("timed-out", f"is not decoded after {self._wait_s:.3g} s")
            self._left_s -= time.monotonic() - begin_s
            count = os.readv(handle, [content])
            if count == 0:
                raise self._crash()
            content = content[count:]

    def _crash(self) -> RejectedAudio:
        """Why the process has ended: SIGKILL that nobody here has sent comes from a system without memory."""
        assert self._process is not None
        status = self._process.wait()
        if status == -signal.SIGKILL:
            return RejectedAudio(
                "out-of-memory", "its decoder was killed by the system, as happens when memory runs out"
            )
        reason = signal.Signals(-status).name if status < 0 else f"status {status}"
        return RejectedAudio("crashed", f"crashes its decoder ({reason})")


@contextmanager
def _local(path: AnyPath) -> Iterator[str]:
    """Where a process finds the file, whatever folder it was begun in."""
    with fetched(path) as local:
        yield str(local.absolute())


def begin(limits: Limits) -> subprocess.Popen[bytes]:
    """Start a process that decodes; it finds this project where this process has found it."""
    return subprocess.Popen(
        [sys.executable, "-m", CHILD, str(os.getpid()), str(limits.memory_bytes)],
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
    """Do what decodes a file. If its process ends over it, do it once more with a fresh one.

    Raises
    ------
    Refusal
        Of the second try, or of the first if that was no matter of the process.
    """
    try:
        return action()
    except RejectedAudio as rejected:
        if rejected.code not in FAULTS:
            raise
    return action()
