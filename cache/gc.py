"""What a pool holds, and what of it no store needs.

A part is needed if the note of a living store names it, or if a hard link elsewhere shares its bytes: removing it here
would free nothing.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from birdcache.storage import AnyPath
from cache.part import SHARD
from cache.part_writer import ROWS, unpack_rows
from cache.pool import DIGEST_DIGITS, discard
from cache.remote_parts import part_places
from cache.usage import Note, address_of, read_notes

VIEW = re.compile(rf"[0-9a-f]{{{DIGEST_DIGITS}}}")
PART = re.compile(r"[0-9a-f]{64}|tmp-[0-9a-f-]+")  # whatever else lies in a pool's folder is not ours to remove


@dataclass(frozen=True)
class File:
    """Size of a file, and how many hard links share its bytes."""

    bytes: int
    links: int


@dataclass(frozen=True)
class PoolEntry:
    """A folder of the pool: a part, or what is left of an unfinished one."""

    folder: AnyPath
    files: tuple[str, ...]
    recordings: int
    bytes: int
    is_needed: bool

    @property
    def view(self) -> str:
        """Leading digits of its view's digest."""
        return self.folder.parent.name

    @property
    def is_finished(self) -> bool:
        """Whether it is a part that a build could use."""
        return ROWS in self.files and not self.folder.name.startswith("tmp-")


@dataclass(frozen=True)
class PoolUsage:
    """All that a pool holds, and the notes in it."""

    entries: tuple[PoolEntry, ...]
    notes: tuple[Note, ...]

    @property
    def garbage(self) -> list[PoolEntry]:
        """What no store needs."""
        return [entry for entry in self.entries if not entry.is_needed]


def pool_usage(root: AnyPath, stores: Iterable[Path]) -> PoolUsage:
    """List what a pool holds, and whether a store needs it.

    Parameters
    ----------
    root : of the pool.
    stores : further stores of this machine, such as those of a project that was moved after they were noted.

    Raises
    ------
    StoreError
        If a note is damaged: then nobody knows what its store needs.
    """
    notes = read_notes(root)
    living = [note for note in notes if not note.is_void]
    here = {Path(note.store) for note in living if not note.is_foreign} | set(stores)
    needed = {address for note in living for address in note.parts}
    needed |= {address for store in here for address in _addresses(store)}
    contents = _list_files(root)
    recordings = _count_recordings(root, [address for address, files in contents.items() if ROWS in files])
    return PoolUsage(
        tuple(
            PoolEntry(
                folder=root / address,
                files=tuple(files),
                recordings=recordings.get(address, 0),
                bytes=sum(file.bytes for file in files.values()),
                is_needed=address in needed or files.get(SHARD.as_posix(), File(0, 1)).links > 1,
            )
            for address, files in sorted(contents.items())
        ),
        notes,
    )


def free(garbage: Sequence[PoolEntry], notes: Sequence[Note]) -> None:
    """Remove holdings from their pool, and then the notes whose stores are gone; cut short, it leaves no half part."""
    local = [entry.folder for entry in garbage if isinstance(entry.folder, Path)]
    for folder in local:
        discard(folder)
    for view in {folder.parent for folder in local}:
        with suppress(OSError):  # it still has parts
            view.rmdir()
    _free_remote([entry for entry in garbage if not isinstance(entry.folder, Path)])
    for note in notes:
        if note.is_void:
            note.file.unlink(missing_ok=True)


def _free_remote(garbage: Sequence[PoolEntry]) -> None:
    """All lists of rows first, so that nobody takes the rest for parts; many objects to a request."""
    files: list[Any] = [entry.folder / name for entry in garbage for name in entry.files]
    for chosen in ([file for file in files if file.name == ROWS], [file for file in files if file.name != ROWS]):
        if chosen:
            chosen[0].fs.rm([file.path for file in chosen])


def _addresses(store: Path) -> Iterator[str]:
    """Parts that a store of this machine names by symbolic links or URLs; hard links speak for themselves."""
    for place in part_places(store).values():
        yield address_of(place)
    for shard in store.glob(f"parts/*/{SHARD.as_posix()}"):
        if shard.is_symlink():
            folder = shard.readlink().parents[len(SHARD.parts) - 1]
            yield address_of(folder)


def _list_files(root: AnyPath) -> dict[str, dict[str, File]]:
    """Files of each part, finished or not, by `<view>/<address>` and by their name in it."""
    return dict(_list_local(root)) if isinstance(root, Path) else _list_remote(root)


def _list_local(root: Path) -> Iterator[tuple[str, dict[str, File]]]:
    for view in root.iterdir() if root.is_dir() else ():
        if VIEW.fullmatch(view.name):
            for part in view.iterdir():
                if PART.fullmatch(part.name):
                    yield f"{view.name}/{part.name}", _files_below(part)


def _files_below(part: Path) -> dict[str, File]:
    files = {}
    for folder, _, names in os.walk(part):
        for name in names:
            path = os.path.join(folder, name)  # noqa: PTH118 - thousands of them
            facts = os.lstat(path)
            files[path[len(str(part)) + 1 :]] = File(facts.st_size, facts.st_nlink)
    return files


def _list_remote(root: Any) -> dict[str, dict[str, File]]:
    """One listing of everything instead of a request a part; a bucket that is gone holds nothing."""
    contents: defaultdict[str, dict[str, File]] = defaultdict(dict)
    below = len(root.path.rstrip("/")) + 1
    with suppress(FileNotFoundError):
        root.fs.invalidate_cache()
        for path, facts in root.fs.find(root.path, detail=True).items():
            view, part, name = (*path[below:].split("/", 2), "", "")[:3]
            if VIEW.fullmatch(view) and PART.fullmatch(part):
                contents[f"{view}/{part}"][name] = File(int(facts["size"]), 1)
    return dict(contents)


def _count_recordings(root: AnyPath, addresses: Sequence[str]) -> dict[str, int]:
    """Recordings of each part, by its list of rows; an unreadable list counts as none."""
    if isinstance(root, Path):
        return {address: _recordings((root / address / ROWS).read_bytes()) for address in addresses}
    paths = {address: (root / address / ROWS).path for address in addresses}
    contents = root.fs.cat(list(paths.values())) if paths else {}
    return {address: _recordings(contents[path]) for address, path in paths.items()}


def _recordings(rows: bytes) -> int:
    content = unpack_rows(rows)
    return len(content["keys"]) if content else 0
