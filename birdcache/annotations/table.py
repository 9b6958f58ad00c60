"""A table of annotations as text, and the audio files that its rows may be about."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath

from birdcache.storage import AnyPath
from birdcache.user_tables import UserTable

COLUMNS = ("file", "start_s", "end_s", "label")
# what programs put between a recording's name and .txt or .csv
ENDINGS = re.compile(r"\.(selections?(\.table)?|labels|Table\.\d+|BirdNET|results)$", re.IGNORECASE)


@dataclass(frozen=True)
class FileNames:
    """Names by which a table calls the file that a row is about."""

    texts: tuple[str, ...]  # names that it may have, the surest first; none if the row says nothing
    of_table: bool = False  # whether they come from the name of the table itself


@dataclass(frozen=True)
class AnnotationTable(UserTable):
    """A user's table of annotations.

    Its cells are file (`FileNames`), start_s, end_s and label, the latter three as text, and may be more, such as
    `also`, another name of the label.
    """

    # what the table's format calls these columns, and what was assumed to read rows, with these rows
    called: Mapping[str, str] = field(default_factory=lambda: dict(zip(COLUMNS, COLUMNS, strict=True)))
    assumed: Mapping[str, list[int]] = field(default_factory=dict)


def tell(warning: str) -> None:
    """Print a warning, where nothing gathers them."""
    print(f"warning: {warning}")


def names_by_path(*paths: str) -> FileNames:
    """Names by paths that were written on whatever machine: each, then its ends down to the base name."""
    texts = dict.fromkeys(text for path in paths if path for text in (path, *_ends(path)))
    return FileNames(tuple(sorted(texts, key=lambda text: -len(_parts(text)))))


def names_of_table(path: Path, folder: AnyPath) -> FileNames:
    """Names of a recording by its table's own path below a folder, without what programs append."""
    name = path.stem
    while found := ENDINGS.search(name):
        name = name[: found.start()]
    inside = path.relative_to(str(folder)).with_name(name).as_posix()
    return FileNames((inside, *_ends(inside)), of_table=True)


def _ends(path: str) -> list[str]:
    parts = _parts(path)
    return ["/".join(parts[first:]) for first in range(1, len(parts))]


def _parts(path: str) -> tuple[str, ...]:
    pure: PurePath = PureWindowsPath(path) if "\\" in path else PurePosixPath(path)
    return pure.parts
