"""The audio files to score, and the names of their results."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from birdcache.audio.listing import left_out_lines, list_audio
from birdcache.audio.paths import Bounds
from birdcache.audio.rejected import RejectedAudio
from birdcache.audio.suffixes import AUDIO_EXTENSIONS
from birdcache.audio.walk import is_systems_own
from birdcache.errors import CommandError
from birdcache.text import is_printable, printable

MOST_NAME_BYTES = 200  # file systems allow 255, and results have endings of their own


@dataclass(frozen=True)
class Found:
    """An audio file; `below` is its path below the folder that was named, or its name."""

    path: Path
    below: Path


def named_paths(paths: Sequence[Path], stream: BinaryIO) -> list[Path]:
    """The paths, and in place of `-` those that the stream names, one a line; a CommandError if it names none."""
    if Path("-") not in paths:
        return list(paths)
    listed = [Path(os.fsdecode(line)) for line in stream.read().splitlines() if line]
    if not listed:
        raise CommandError("-: standard input names no file; give it one path a line")
    return [each for path in paths for each in (listed if path == Path("-") else [path])]


def list_files(paths: Sequence[Path]) -> tuple[list[Found], list[RejectedAudio]]:
    """The files, and the audio files in the folders, each once; and those in the folders that cannot be used.

    Names that begin with a dot are no recordings; whoever names a folder with such a name means it. A path that does
    not exist is an error, and so is no audio file at all.
    """
    if missing := [str(path) for path in paths if not os.path.lexists(path)]:
        raise CommandError(f"{', '.join(missing)}: no such file or folder")
    found: list[Found] = []
    left_out: list[RejectedAudio] = []
    for path in paths:
        if path.is_dir():
            listed = list_audio(path, Bounds(path, "anywhere"))
            found += [Found(each, each.relative_to(path)) for each in listed.used if isinstance(each, Path)]
            left_out += listed.left_out
        elif not is_systems_own(path.name):
            found.append(Found(path, Path(path.name)))
    if not found:
        none = f"{', '.join(map(str, paths))}: hold no audio file ({', '.join(AUDIO_EXTENSIONS)})"
        raise CommandError("\n".join([none, *left_out_lines(left_out)]))
    return list({os.path.realpath(each.path): each for each in found[::-1]}.values())[::-1], left_out


def result_names(files: Sequence[Found]) -> list[Path]:
    """A name for the results of each file: its path below what was named, or its whole path if others have that too.

    The extension is left out where no other file has the same name without it.
    """
    count = Counter(each.below for each in files)
    names = [each.below if count[each.below] == 1 else Path(*each.path.resolve().parts[1:]) for each in files]
    taken = Counter(name.with_suffix("") for name in names) + Counter(names)
    return [name if taken[name.with_suffix("")] > 1 else name.with_suffix("") for name in names]


def check_name(path: Path, name: Path) -> None:
    """Refuse a file whose name cannot stand in a table, or whose results could not be written."""
    if not is_printable(str(path)):
        problem = "not printable text in UTF-8"
    elif len(os.fsencode(name.name)) > MOST_NAME_BYTES:
        problem = f"longer than {MOST_NAME_BYTES} bytes"
    else:
        return
    raise RejectedAudio("unreadable", f"its name is {problem}", "rename it", printable(str(path)))
