"""Which audio files are looked at, and by which names their results go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from commands.errors import CommandError
from pipeline.audio import AUDIO_EXTENSIONS


@dataclass(frozen=True)
class Found:
    """An audio file; `below` is its path below the folder that was named, or its name."""

    path: Path
    below: Path


def list_files(paths: Sequence[Path]) -> list[Found]:
    """The files, and the audio files in the folders, each once.

    Raises
    ------
    CommandError
        If a path does not exist, or there is no audio file at all.
    """
    if missing := [str(path) for path in paths if not path.exists()]:
        raise CommandError(f"{', '.join(missing)}: no such file or folder")
    found = [each for path in paths for each in (_in_folder(path) if path.is_dir() else [Found(path, Path(path.name))])]
    if not found:
        raise CommandError(f"{', '.join(map(str, paths))}: hold no audio file ({', '.join(AUDIO_EXTENSIONS)})")
    return list({each.path.resolve(): each for each in found[::-1]}.values())[::-1]


def _in_folder(folder: Path) -> list[Found]:
    paths = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in AUDIO_EXTENSIONS and path.is_file()]
    return [Found(path, path.relative_to(folder)) for path in paths]


def result_names(files: Sequence[Found]) -> list[Path]:
    """A name for the results of each file: its path below what was named, without the extension if no other has it.

    Raises
    ------
    CommandError
        If two files have the same path below different folders.
    """
    bare = Counter(each.below.with_suffix("") for each in files)
    if twice := [str(name) for name, count in Counter(each.below for each in files).items() if count > 1]:
        raise CommandError(
            f"{', '.join(twice[:5])}: is the name of several files; predict them into different folders with --out"
        )
    return [each.below if bare[each.below.with_suffix("")] > 1 else each.below.with_suffix("") for each in files]
