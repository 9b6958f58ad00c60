"""The job queue: uploaded recordings are analysed one after another, and kept under secret keys while there is room."""

import secrets
import shlex
import shutil
import sys
import threading
import traceback
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from birdcache.arrays import Bytes
from birdcache.audio.decoder import decoder, with_second_try
from birdcache.audio.notes import NOTES
from birdcache.audio.rejected import RejectedAudio, unexpected
from birdcache.audio.suffixes import is_foreign
from birdcache.errors import FULL, BirdcacheError
from birdcache.predict.outputs import Scored, Wanted
from birdcache.predict.predictor import Predictor, score_all_the_same
from birdcache.serve.spectrum import read_spectrum

State = Literal["waiting", "running", "done", "refused"]

MOST_KEPT = 20  # recordings
MOST_WAITING = 8
MOST_NAME_BYTES = 100  # of UTF-8: file systems take 255, and a download's name gets a suffix more
MOST_SUFFIX_BYTES = 10
UNNAMED = "recording"
WRITTEN = Path(UNNAMED)  # names files of results, whatever the recording is called
REMOVALS = 5


class _UnwantedError(BaseException):
    """The recording was removed, or the server ends: nobody waits for the analysis. No net for errors catches it."""


class BusyError(Exception):
    """Too many recordings wait already."""


@dataclass
class Recording:
    """An uploaded recording."""

    name: str  # as its sender calls it, as far as that can be shown; never used as a path
    path: Path
    state: State = "waiting"
    share: float = 0.0  # of the analysis that is done
    rejected: RejectedAudio | None = None
    scored: Scored | None = None
    spectrum: Bytes | None = None
    notes: Sequence[str] = ()  # what is odd about it, although it is used
    is_wanted: bool = True

    @property
    def is_over(self) -> bool:
        """True if nothing more will happen to it."""
        return self.state in ("done", "refused")


@dataclass
class JobQueue:
    """Recordings on the server, analysed one after another."""

    predictor: Predictor
    wanted: Wanted
    scratch: Path  # a folder of its own, for the files
    recordings: OrderedDict[str, Recording] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _worker: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="serve"))

    def take(self, name: str, suffix: str, save: Callable[[Path], object]) -> str:
        """Take a recording in; its key, or BusyError if too many wait.

        Parameters
        ----------
        name : as its sender calls it, whatever that is.
        suffix : of the file, such as .ogg.
        save : writes the file to a path.
        """
        key = secrets.token_urlsafe(16)
        recording = Recording(shown_name(name), self.scratch / f"{key}{suffix}")
        with self._lock:
            if sum(not each.is_over for each in self.recordings.values()) > MOST_WAITING:
                raise BusyError
            self.recordings[key] = recording
        try:
            save(recording.path)
        except BaseException:
            self.remove(key)
            raise
        self._make_room()
        self._worker.submit(self._analyse, recording)
        return key

    def remove(self, key: str) -> None:
        """Forget a recording; the analysis of it ends at its next step."""
        with self._lock:
            recording = self.recordings.pop(key, None)
        if recording:
            recording.is_wanted = False
            recording.path.unlink(missing_ok=True)

    def close(self) -> None:
        """End the running analysis at its next step, and remove all files whatever happens meanwhile."""
        with self._lock:
            for each in self.recordings.values():
                each.is_wanted = False
        try:
            self._worker.shutdown(wait=True, cancel_futures=True)
        finally:
            self.clear()

    def clear(self) -> None:
        """Remove all files; what an analysis writes at this moment is removed by the next try."""
        for _ in range(REMOVALS):
            shutil.rmtree(self.scratch, ignore_errors=True)
            if not self.scratch.exists():
                return

    def _make_room(self) -> None:
        with self._lock:
            over = [key for key, each in self.recordings.items() if each.is_over]
        for key in over[: max(0, len(self.recordings) - MOST_KEPT)]:
            self.remove(key)

    def _analyse(self, recording: Recording) -> None:
        recording.state = "running"
        try:
            self._score(recording)
            recording.state = "done"
        except _UnwantedError:
            recording.state = "refused"
        except BaseException as error:  # whatever it is costs this recording alone
            recording.rejected, recording.state = why(error, recording.name), "refused"

    def _score(self, recording: Recording) -> None:
        def advance(share: float) -> None:
            recording.share = min(1.0, recording.share + share)
            if not recording.is_wanted:
                raise _UnwantedError

        advance(0.0)
        ended = with_second_try(lambda: decoder().info(recording.path)).ended
        scores, is_silent = score_all_the_same(self.predictor, recording.path, False, self.scratch, advance)
        final_WK = self.predictor.final(scores.members, [scores.members.shape[1]])
        recording.spectrum = with_second_try(
            lambda: read_spectrum(decoder(), recording.path, scores.duration_s, lambda: advance(0.0))
        )
        odd = {"nothing is to be heard in it": is_silent, "its end is not marked: some may be missing": not ended}
        notes = [f"{note.detail}: {NOTES[note.code]}" for note in scores.notes]
        recording.notes = [*notes, *(text for text, is_so in odd.items() if is_so)]
        recording.scored = Scored(Path(recording.name), WRITTEN, scores.duration_s, final_WK)


def disk_trouble(error: OSError) -> str:
    """What the server's disk refuses, and the way out."""
    if error.errno in FULL:
        return "no space is left for recordings where the server runs: free some, or set TMPDIR to another disk"
    where, reason = error.filename or "the server's temporary folder", error.strerror or error
    return f"{where}: cannot be used ({reason}): start the server again, and hand the recording in once more"


def why(error: BaseException, name: str) -> RejectedAudio:
    """Why the recording of a name has no result, in words; what nobody expected is printed whole."""
    is_known = isinstance(error, RejectedAudio | OSError | BirdcacheError | MemoryError)
    if not is_known or getattr(error, "code", "") == "unexpected":
        print(f"{name} could not be analysed:", file=sys.stderr)
        traceback.print_exception(error)
    if isinstance(error, RejectedAudio):
        is_named_so = error.code in ("not-audio", "wrong-codec") and is_foreign(Path(name))
        hint = f"convert it first: ffmpeg -i {shlex.quote(name)} {shlex.quote(f'{name}.flac')}"
        return RejectedAudio(error.code, error.detail, hint) if is_named_so else error
    if isinstance(error, OSError):
        return RejectedAudio("unreadable", f"could not be analysed: {disk_trouble(error)}", "hand it in again")
    if isinstance(error, BirdcacheError):
        return RejectedAudio("unreadable", f"could not be analysed: {error}", "other recordings go on")
    if isinstance(error, MemoryError):
        way_out = "end other programs, or cut it into shorter files"
        return RejectedAudio("out-of-memory", "needs more memory than is free", way_out)
    return unexpected(error)


def shown_name(sent: str) -> str:
    """The last part of a name that was sent, without what cannot be printed, cut to 100 bytes before its suffix."""
    last = PurePosixPath(sent.replace("\\", "/")).name
    name = "".join(filter(str.isprintable, last)).strip()
    return cut(name) if name.strip(". ") else UNNAMED


def cut(name: str) -> str:
    """The beginning of a name and its suffix, at most 100 bytes of UTF-8; no letter is cut in two."""
    if len(name.encode()) <= MOST_NAME_BYTES:
        return name
    suffix = PurePosixPath(name).suffix.encode()
    suffix = suffix if len(suffix) <= MOST_SUFFIX_BYTES else b""
    stem = name.encode()[: MOST_NAME_BYTES - len(suffix)]
    return stem.decode(errors="ignore") + suffix.decode()
