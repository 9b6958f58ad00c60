"""The audio file that an annotation is about."""

import os
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath

import pandas as pd

from birdcache.annotations.table import FileNames, tell
from birdcache.audio.listing import list_audio
from birdcache.audio.paths import Bounds
from birdcache.audio.suffixes import AUDIO_EXTENSIONS, FOREIGN
from birdcache.errors import PipelineError
from birdcache.user_tables import row_ranges

WAY_OUT = "write its path from data.root, from the project's root, or its name if no other file has it"
TABLE_WAY_OUT = (
    "rename or move the table, which names no file: siteA/r.txt in data.annotations is about siteA/r.ogg in data.root"
)


class AmbiguousError(LookupError):
    """A name that several files have."""


class Files:
    """The audio files of a data set, listed as recordings or not, under every name that a table may give them.

    Parameters
    ----------
    bounds : of data.root; no file outside them is ever found.
    recordings : the listed ones, with columns recording and path.
    """

    def __init__(self, bounds: Bounds, recordings: pd.DataFrame) -> None:
        root = bounds.root
        listed = dict(zip(recordings["path"], recordings["recording"], strict=True))
        self._found: dict[str, set[tuple[str, str]]] = defaultdict(set)
        unlisted = [each.as_posix() for each in list_audio(root, bounds).used if each.as_posix() not in listed]
        for path in [*listed, *unlisted]:
            inside = PurePosixPath(path.removeprefix(root.as_posix()).lstrip("/"))
            recording = listed.get(path, str(inside))
            names = {recording, str(inside), path, Path.cwd().joinpath(path).as_posix(), inside.name, inside.stem}
            for name in names | {str(inside.with_suffix("")), str(PurePosixPath(recording).with_suffix(""))}:
                self._found[name].add((recording, path))

    def find(self, *texts: str, hint: str = WAY_OUT) -> tuple[str, str]:
        """Name and path of the recording that a table calls so, by the first of the texts that names a single one.

        A LookupError if there is none, or more than one (`AmbiguousError`); its text is a rule with a way out.
        """
        found = {text: self._called(text) for text in texts}
        if not any(found.values()):  # they may have been converted since
            found |= {_bare(text): self._called(_bare(text)) for text in texts}
        if single := next((each for each in found.values() if len(each) == 1), None):
            return single[0]
        for text, each in found.items():
            if each:
                raise AmbiguousError(f"file {text!r} may be {' or '.join(path for _, path in each[:3])}; {hint}")
        raise LookupError(f"file {texts[0]!r} is not in data.root; {hint}")

    def _called(self, text: str) -> list[tuple[str, str]]:
        name = PureWindowsPath(text).as_posix() if "\\" in text else text
        return sorted(self._found.get(name, ()) or self._found.get(os.path.normpath(name), ()))


def _bare(text: str) -> str:
    """A name without the extension of an audio file."""
    stem, dot, suffix = text.rpartition(".")
    return stem if stem and f"{dot}{suffix}".lower() in {*AUDIO_EXTENSIONS, *FOREIGN} else text


def matched(
    annotations: pd.DataFrame, bounds: Bounds, recordings: pd.DataFrame, warn: Callable[[str], None] = tell
) -> pd.DataFrame:
    """Annotations with the columns recording and path in place of file; without those whose file is not found.

    A PipelineError if files are ambiguous, all of them by table and row, or none is found.

    Parameters
    ----------
    annotations : of `birdcache.annotations.read.read_annotations`.
    bounds, recordings : as of `Files`. They are looked through only if there are annotations.
    warn : called for files that are not found, and for names with another extension, with counts and an example.
    """
    if annotations.empty:
        return annotations.rename(columns={"file": "recording"}).assign(path="")
    files = Files(bounds, recordings)
    found: dict[FileNames, tuple[str, str]] = {}
    problems: dict[str, list[str]] = defaultdict(list)
    lost: dict[str, list[str]] = defaultdict(list)
    asked: dict[tuple[str, FileNames], list[int]] = defaultdict(list)
    for table, names, row in zip(annotations["table"], annotations["file"], annotations["row"], strict=True):
        asked[table, names].append(row)
    for (table, names), rows in asked.items():
        try:
            found[names] = files.find(*names.texts, hint=TABLE_WAY_OUT if names.of_table else WAY_OUT)
        except LookupError as error:
            told = problems if isinstance(error, AmbiguousError) else lost
            told[table].append(f"{row_ranges(rows)}: {error.args[0]}")
    if problems or not found:
        lines = {table: "\n  ".join(lost[table] + problems[table]) for table in [*lost, *problems]}
        raise PipelineError("\n".join(f"{table}:\n  {text}" for table, text in lines.items()))
    known = annotations[annotations["file"].map(lambda names: names in found)]
    if lost:
        count, first = len(annotations) - len(known), next(iter(lost))
        warn(f"{count} of {len(annotations)} annotated times are left out, first {first}: {lost[first][0]}")
    converted = [(names.texts[0], path) for names, (_, path) in found.items() if _is_converted(names.texts[0], path)]
    if converted:
        warn(f"annotated files with another extension now: {len(converted)}, first {' is '.join(converted[0])}")
    chosen = [found[names] for names in known["file"]]
    named = known.assign(recording=[name for name, _ in chosen], path=[path for _, path in chosen])
    return named.drop(columns="file")


def _is_converted(text: str, path: str) -> bool:
    return _bare(text) != text and PurePosixPath(path).suffix.lower() != PurePosixPath(text).suffix.lower()
