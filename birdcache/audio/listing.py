"""The one listing of recordings: every file below a folder is used, or left out with a reason, or is no sound.

Names decide, and the first bytes of a file whose name says nothing. Whether a file that is used really holds sound is
found when it is opened.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from birdcache.audio.paths import Bounds
from birdcache.audio.rejected import RejectedAudio
from birdcache.audio.suffixes import AUDIO_EXTENSIONS, conversion, is_foreign, is_recording
from birdcache.audio.walk import Entry, files_below
from birdcache.storage import AnyPath
from birdcache.text import counted, is_printable, printable

_STARTS = re.compile(
    rb"OggS|fLaC|ID3[\2-\4]|caff|riff|wvpk|MAC |\.snd|(RIFF|RIFX|RF64|BW64)....WAVE|FORM....AIF", re.DOTALL
)
NAME_HINT = "rename it"
Reason = tuple[str, str, str]  # why a file is left out: a code, the detail and the way out


@dataclass(frozen=True)
class Listing:
    """The files below a folder, in order of path."""

    used: tuple[AnyPath, ...] = ()  # files to be read as recordings
    # files that are or may be sound but cannot be used as they are: each named, with its way out
    left_out: tuple[RejectedAudio, ...] = ()
    # number of files that are no sound, or the originals of converted ones: a file of another format is one if a
    # recording beside it has its name
    others: int = 0

    def setting_aside(self, is_wrong: Callable[[AnyPath], bool], reason: Reason) -> Listing:
        """The same, but without the files of which that is true."""
        wrong = {path: RejectedAudio(*reason, printable(str(path))) for path in self.used if is_wrong(path)}
        used = tuple(path for path in self.used if path not in wrong)
        return Listing(used, (*self.left_out, *wrong.values()), self.others)


def list_audio(folder: AnyPath, bounds: Bounds, without: Sequence[AnyPath] = ()) -> Listing:
    """List the files below a folder, however deep.

    A StoreError if the folder is remote and its service cannot be reached.

    Parameters
    ----------
    without : folders in it whose files are something else.
    """
    apart = tuple(f"{each.as_posix()}/" for each in without)
    entries = [each for each in files_below(folder, bounds) if not each.path.as_posix().startswith(apart)]
    used = [each.path for each in entries if is_recording(each.path) and not _fault(each)]
    taken, names = set(used), {path.with_suffix("").as_posix() for path in used}
    rest = [each for each in entries if each.path not in taken]
    foreign = [each for each in rest if not each.why and is_foreign(each.path) and not _has_copy(each.path, names)]
    convert = conversion(folder, {each.path.suffix for each in foreign})
    reasons = ((each.path, reason) for each in rest if (reason := _reason(each, names, convert)))
    left_out = [RejectedAudio(*reason, printable(str(path))) for path, reason in reasons]
    return Listing(tuple(used), tuple(left_out), len(rest) - len(left_out))


def _fault(entry: Entry) -> Reason | None:
    """Why a file that is or may be sound cannot be opened, or stand in a table."""
    if entry.why:
        return "unreadable", entry.why, entry.hint
    is_named = is_printable(str(entry.path))
    return None if is_named else ("unreadable", "its name is not printable text in UTF-8", NAME_HINT)


def _has_copy(path: AnyPath, names: set[str]) -> bool:
    """True if a recording is called robin or robin.m4a, for robin.m4a."""
    return path.as_posix() in names or path.with_suffix("").as_posix() in names


def _reason(entry: Entry, names: set[str], convert: str) -> Reason | None:
    """Why a file that is not used is left out; None for one that is no sound, or converted."""
    path = entry.path
    if is_recording(path) or entry.is_folder or (entry.why and is_foreign(path)):
        return _fault(entry)
    if is_foreign(path):
        return None if _has_copy(path, names) else ("not-used", "must be converted first", convert)
    if not entry.why and _begins_like_sound(path):
        hint = f"give it the ending of its format ({AUDIO_EXTENSIONS[0]}, ...), or move it away"
        return "not-used", "begins like sound, but its name does not end so", hint
    return None


def _begins_like_sound(path: AnyPath) -> bool:
    if not isinstance(path, Path):
        return False  # each would be a request
    try:
        with path.open("rb", buffering=0) as file:
            return _STARTS.match(file.read(12)) is not None
    except OSError:
        return False


def left_out_lines(left_out: Sequence[RejectedAudio]) -> list[str]:
    """A line for each kind of reason: the number of files, the first of them, and the way out."""
    kinds: dict[tuple[str, str], list[RejectedAudio]] = defaultdict(list)
    for each in left_out:
        kinds[each.code, each.hint].append(each)
    return [f"{counted(len(each), 'files', 'are')} not used, first {each[0]}" for each in kinds.values()]
