"""Notes that stores leave in a pool: where each lies, and which parts it is made of.

A build notes beforehand what its store is going to need, since DVC removes the old store before it runs the stage: a
build that was killed or ran out of disk must find its old parts and its new ones again.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from birdcache.errors import StoreError
from birdcache.files import canonical_json, sha256_hex, sweep_temporary, write_durably
from birdcache.storage import AnyPath, reaching
from cache.manifest import NAME as MANIFEST
from cache.pool import PooledPart

FOLDER = "stores"


@dataclass(frozen=True)
class Note:
    """What a store left in the pool: its machine and path, and its parts as `<view>/<address>`."""

    file: AnyPath
    host: str
    store: str
    parts: frozenset[str]
    is_finished: bool

    @property
    def is_foreign(self) -> bool:
        """Whether another machine left it: only that one can tell whether the store is still there."""
        return self.host != platform.node()

    @property
    def is_void(self) -> bool:
        """Whether its store is gone, or was never finished and its folder is gone."""
        store = Path(self.store)
        there = (store / MANIFEST).is_file() or (not self.is_finished and store.parent.is_dir())
        return not self.is_foreign and not there


def note_plan(root: AnyPath, store: Path, parts: Iterable[str]) -> None:
    """Note the parts that `store` is going to be made of, beside those that it is made of now.

    Parameters
    ----------
    parts : `<view>/<address>` of each, whether they are in the pool `root` already or not.
    """
    file = _file(root, store)
    with reaching(file):
        old = _read_note(file).parts if file.exists() else frozenset()
    _write_note(file, store, old.union(parts), is_finished=False)


def note_store(root: AnyPath, store: Path, parts: Sequence[PooledPart]) -> None:
    """Note that `store` is sealed and made of these parts of the pool `root`."""
    _write_note(_file(root, store), store, (address_of(part.folder) for part in parts), is_finished=True)


def address_of(folder: AnyPath) -> str:
    """`<view>/<address>` of a part, from its folder in a pool."""
    return f"{folder.parent.name}/{folder.name}"


def sweep_notes(root: AnyPath) -> None:
    """Remove what killed processes left of their notes; only for the holder of the pool's exclusive lock."""
    if isinstance(root, Path):
        sweep_temporary(root / FOLDER)


def read_notes(root: AnyPath) -> tuple[Note, ...]:
    """All notes in a pool.

    Raises
    ------
    StoreError
        If one is damaged: then nobody knows what its store needs.
    """
    folder = root / FOLDER
    files: list[AnyPath] = [*folder.glob("*.json")] if folder.is_dir() else []
    return tuple(_read_note(file) for file in sorted(files, key=str))


def _file(root: AnyPath, store: Path) -> AnyPath:
    name = sha256_hex(f"{platform.node()}:{store.absolute()}".encode())[:32]
    return root / FOLDER / f"{name}.json"


def _write_note(file: AnyPath, store: Path, parts: Iterable[str], is_finished: bool) -> None:
    note = {"host": platform.node(), "store": str(store.absolute()), "parts": sorted(parts), "finished": is_finished}
    if isinstance(file, Path):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_durably(file, canonical_json(note))
    else:
        with reaching(file):
            file.write_bytes(canonical_json(note))


def _read_note(file: AnyPath) -> Note:
    try:
        note = json.loads(file.read_bytes())
        return Note(file, note["host"], note["store"], frozenset(note["parts"]), note["finished"])
    except (ValueError, KeyError, TypeError):
        raise StoreError(
            f"{file}: is damaged, so nobody knows which parts its store needs; remove it, and run "
            f"`dvc repro -f` of the stages `spectrograms` in every project that uses this pool"
        ) from None
