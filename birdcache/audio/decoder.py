"""Decoding in a disposable process: a file that crashes or stalls libsndfile, or makes it swell, costs itself alone."""

import math
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from birdcache.arrays import Floats32
from birdcache.audio import decoder_process
from birdcache.audio.notes import Note
from birdcache.audio.read import AudioInfo, fetched, mixed_as, read_info, sound_sha256, waveform_blocks
from birdcache.audio.rejected import RejectedAudio
from birdcache.child import Child, ChildError, no_answer
from birdcache.child import begin as begin_child
from birdcache.child_process import Message, packed
from birdcache.storage import AnyPath

T = TypeVar("T")

CHILD = decoder_process.__name__
PIPE_BYTES = 2**20  # half a minute of spectrogram; Linux gives no more unasked
AHEAD_BYTES = 2**14  # of a request that is sent before its time: two fit into any pipe, or both sides would wait
MOST_VALUES = 2**26  # of an array: no answer of ours has more
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")  # one, so that sums never differ
FAULTS = ("crashed", "timed-out", "out-of-memory")


@dataclass(frozen=True)
class Limits:
    """Resources that the decoding of one recording may take."""

    # address space. Recordings are decoded in blocks, so that it does not grow with their length
    memory_bytes: int = 2**30
    wait_s: float = 60.0  # to wait for it
    wait_s_per_s: float = 0.1  # to wait longer for each second of sound: a thousandth is usual


LIMITS = Limits()


@dataclass(frozen=True)
class Request:
    """A function of a module, which a decoder's process calls with a local path and these arguments by name, as JSON.

    A long text that many requests share is their `context`: it travels once, and comes as the argument of that name.
    """

    function: Callable[..., Any]
    path: AnyPath
    arguments: Mapping[str, Any]
    context: str = ""

    def packed(self, local: Path) -> bytes:
        """The request as it goes through the pipe."""
        name = f"{self.function.__module__}:{self.function.__name__}"
        which = hash(self.context) if self.context else None
        facts = {"path": str(local.absolute()), "arguments": dict(self.arguments), "context": which}
        return packed({"function": name, **facts})


class Decoder(Child):
    """A process for libsndfile, for one recording at a time.

    Its functions raise `RejectedAudio` as those that they call, and crashed, timed-out or out-of-memory besides.
    """

    def __init__(self, limits: Limits = LIMITS) -> None:
        super().__init__()
        self._limits = limits
        self._sent: list[bytes] = []  # requests whose answers have not all come, in their order
        self._context = ""  # that the process has

    def close(self) -> None:
        """End the process, whatever it is doing."""
        super().close()
        self._sent, self._context = [], ""

    def info(self, path: AnyPath) -> AudioInfo:
        """As `birdcache.audio.read.read_info`."""
        facts = self.value(Request(read_info, path, {}), self._limits.wait_s)
        return AudioInfo(**{**facts, "notes": tuple(Note(*note) for note in facts["notes"])})

    def mixed(self, path: AnyPath, info: AudioInfo) -> AudioInfo:
        """The facts, with how several channels become one, for which all is decoded; a note if not by their mean."""
        wait_s = self._wait_for(info.duration_s)
        if info.channels == 1 or not (mixed := self.value(Request(mixed_as, path, {}), wait_s)):
            return info
        note = Note("opposite-phase", f"its channels cancel each other: {mixed} of {info.channels} is taken")
        return replace(info, notes=(*info.notes, note), read_as=" ".join(filter(None, (info.read_as, mixed))))

    def sound(
        self, path: AnyPath, duration_s: float, sha256: str, samples: int | None = None, read_as: str | None = None
    ) -> str:
        """As `birdcache.audio.read.sound_sha256`, for a recording whose header promises this duration."""
        arguments = {"sha256": sha256, "samples": samples, "read_as": read_as}
        return str(self.value(Request(sound_sha256, path, arguments), self._wait_for(duration_s)))

    def waveform(
        self, path: AnyPath, sample_rate_hz: int, duration_s: float, silence: bool = False, read_as: str | None = None
    ) -> Iterator[Floats32]:
        """As `birdcache.audio.read.waveform_blocks`, for a recording whose header promises this duration."""
        arguments = {"sample_rate_hz": sample_rate_hz, "silence": silence, "read_as": read_as}
        return self.arrays(Request(waveform_blocks, path, arguments), duration_s, "float32", ())

    def arrays(
        self, request: Request, duration_s: float, dtype: str, row: tuple[int, ...], following: Request | None = None
    ) -> Iterator[npt.NDArray[Any]]:
        """Arrays that a function yields for a recording whose header promises this duration; empty ones are left out.

        Parameters
        ----------
        dtype, row : type and shape behind the first axis that all arrays must have; others count as a crash.
        following : what will be asked for next: the process begins with it while these arrays are still looked at.
        """
        for answer in self._answers(request, self._wait_for(duration_s), following):
            if "shape" in answer:
                with _rejecting(request.path), self._deadline():
                    array = np.empty(_checked_shape(answer, dtype, row), dtype)
                    self._read_into(array.data.cast("B"))
                yield array

    def ahead(self, request: Request) -> None:
        """Let the process begin with what will be asked for next; what goes wrong shows then."""
        if isinstance(request.path, Path):
            with suppress(ChildError, OSError):
                self._ask(request, request.path)

    def value(self, request: Request, wait_s: float) -> Any:
        """The one value that a function returns for a file."""
        (answer,) = self._answers(request, wait_s)
        return answer.get("value")

    def _wait_for(self, duration_s: float) -> float:
        return self._limits.wait_s + self._limits.wait_s_per_s * duration_s

    def _answers(self, request: Request, wait_s: float, following: Request | None = None) -> Iterator[Message]:
        """Send a request and yield its answers; a process that is left in the middle of them is ended."""
        is_done = False
        self._wait_at_most(wait_s)
        try:
            with _rejecting(request.path), fetched(request.path) as local:
                self._ask(request, local)
                if following is not None and isinstance(following.path, Path):
                    self._ask_ahead(following, following.path)
                while not is_done:
                    with self._deadline():
                        answer = self._read()
                    if "refused" in answer:
                        code, detail, hint = answer["refused"]
                        is_done = code not in FAULTS
                        raise RejectedAudio(code, detail, hint)
                    is_done = "shape" not in answer
                    yield answer
        finally:
            if is_done:
                del self._sent[0]
            else:
                self.close()

    def _ask(self, request: Request, local: Path) -> None:
        """Send a request, unless it was sent ahead; a process that works on something else is replaced."""
        content = request.packed(local)
        if self._sent[:1] == [content]:
            return
        if self._sent:
            self.close()
        self._process = self._process or begin(self._limits)
        if request.context not in ("", self._context):
            self._send(packed({"context": request.context}))
            self._context = request.context
        self._send(content)
        self._sent = [content]

    def _ask_ahead(self, request: Request, local: Path) -> None:
        content = request.packed(local)
        if len(content) <= AHEAD_BYTES and request.context in ("", self._context):
            self._send(content)
            self._sent.append(content)


@contextmanager
def _rejecting(path: AnyPath) -> Iterator[None]:
    """Name the recording that is refused, or over which the process ended."""
    try:
        yield
    except ChildError as fault:
        details = {
            "timed-out": f"is not decoded after {fault}",
            "out-of-memory": "its decoder was killed by the system, as happens when memory runs out",
            "crashed": f"crashes its decoder ({fault})",
            "no-answer": "makes its decoder send something that is no answer",
        }
        code = fault.code if fault.code in FAULTS else "crashed"
        raise RejectedAudio(code, details[fault.code], file=str(path)) from None
    except RejectedAudio as rejected:
        rejected.file = str(path)
        raise


def _checked_shape(answer: Message, dtype: str, row: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of an array that the process announces, if it is what was asked for and no larger than any can be."""
    rows = answer["shape"][0] if isinstance(answer["shape"], list) and answer["shape"] else 0
    is_expected = isinstance(rows, int) and answer == {"dtype": dtype, "shape": [rows, *row]}
    if not is_expected or not 0 < rows * math.prod(row) <= MOST_VALUES:
        raise no_answer()
    return (rows, *row)


def begin(limits: Limits) -> subprocess.Popen[bytes]:
    """Start a process that decodes, and need not wait until what it sends is read."""
    process = begin_child(CHILD, limits.memory_bytes, dict.fromkeys(THREADS, "1"))
    with suppress(ImportError, AttributeError, OSError):  # only Linux knows it, and a user may have but so many
        import fcntl

        fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, PIPE_BYTES)  # type: ignore[arg-type]
    return process


_here = threading.local()


def decoder(limits: Limits = LIMITS) -> Decoder:
    """The decoder of this thread that has these limits."""
    decoders: dict[Limits, Decoder] = vars(_here).setdefault("decoders", {})
    if limits not in decoders:
        decoders[limits] = Decoder(limits)
    return decoders[limits]


def with_second_try(action: Callable[[], T]) -> T:
    """Run `action`, which decodes a file, and once more with a fresh process if its process ended over it.

    A RejectedAudio from the second try, or from the first if its process was not to blame.
    """
    try:
        return action()
    except RejectedAudio as rejected:
        if rejected.code not in FAULTS:
            raise
    return action()
