"""Garbage collection in a pool: the parts that it holds, and those that no store needs.

A part is needed if the root of a living store names it, or if a hard link elsewhere shares its bytes: removing it here
would free nothing. Roots are small files in the pool, one for each store. A build writes its store's root beforehand,
since DVC removes the old store before it runs the stage: a build that was killed or ran out of disk must find its old
parts and its new ones again.
"""

import json
import platform
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from birdcache.errors import StoreError
from birdcache.files import canonical_json, sha256_hex, write_durably
from birdcache.storage import AnyPath, reaching
from cache.locks import is_read_only, modes_of
from cache.manifest import NAME as MANIFEST
from cache.part import SHARD
from cache.part_writer import ROWS
from cache.pool import DIGEST_DIGITS, ROOTS, discard
from cache.remote_parts import part_places

VIEW = re.compile(rf"[0-9a-f]{{{DIGEST_DIGITS}}}")
PART = re.compile(r"[0-9a-f]{64}|tmp-[0-9a-f-]+")  # whatever else lies in a pool's folder is not ours to remove


@dataclass(frozen=True)
class GcRoot:
    """A store's file in the pool: the store's machine and path, and its parts as `<view>/<address>`."""

    file: AnyPath
    host: str
    store: str
    parts: frozenset[str]
    is_finished: bool

    @property
    def is_foreign(self) -> bool:
        """True if another machine wrote it: only that one can tell whether the store is still there."""
        return self.host != platform.node()

    @property
    def is_stale(self) -> bool:
        """True if its store is gone, or was never finished and its folder is gone."""
        store = Path(self.store)
        there = (store / MANIFEST).is_file() or (not self.is_finished and store.parent.is_dir())
        return not self.is_foreign and not there


def write_root(pool: AnyPath, store: Path, parts: Iterable[str], is_finished: bool) -> None:
    """Keep the parts that `store` is made of; of one that is going to be built, beside those that it is made of now.

    Parameters
    ----------
    parts : `<view>/<address>` of each, whether they are in the pool already or not.
    is_finished : whether the store is committed; then the last plan no longer counts.
    """
    name = sha256_hex(f"{platform.node()}:{store.absolute()}".encode())[:32]
    file = pool / ROOTS / f"{name}.json"
    with reaching(file), modes_of(pool):
        old = _read_root(file).parts if not is_finished and file.exists() else frozenset()
        root = {"host": platform.node(), "store": str(store.absolute()), "parts": sorted(old.union(parts))}
        content = canonical_json(root | {"finished": is_finished})
        if not isinstance(file, Path):
            file.write_bytes(content)
        elif not is_read_only(pool):  # which its owner cleans up
            write_durably(file, content)


def address_of(folder: AnyPath) -> str:
    """`<view>/<address>` of a part, from its folder in a pool."""
    return f"{folder.parent.name}/{folder.name}"


def read_roots(pool: AnyPath) -> tuple[GcRoot, ...]:
    """All roots in a pool; a StoreError if one is damaged: then nobody knows what its store needs."""
    folder = pool / ROOTS
    files: list[AnyPath] = [*folder.glob("*.json")] if folder.is_dir() else []
    return tuple(_read_root(file) for file in sorted(files, key=str))


def _read_root(file: AnyPath) -> GcRoot:
    try:
        root = json.loads(file.read_bytes())
        return GcRoot(file, root["host"], root["store"], frozenset(root["parts"]), root["finished"])
    except (ValueError, KeyError, TypeError):
        raise StoreError(
            f"{file}: is damaged, so nobody knows which parts its store needs; remove it, and run "
            f"`dvc repro -f` of the stages `spectrograms` in every project that uses this pool"
        ) from None


@dataclass(frozen=True)
class PoolEntry:
    """A folder of the pool: a part, or what is left of an unfinished one."""

    folder: AnyPath
    files: tuple[str, ...]
    bytes: int
    is_needed: bool

    @property
    def view(self) -> str:
        """Leading digits of its view's digest."""
        return self.folder.parent.name

    @property
    def is_finished(self) -> bool:
        """True for a part that a build could use."""
        return ROWS in self.files and not self.folder.name.startswith("tmp-")


@dataclass(frozen=True)
class PoolUsage:
    """The contents of a pool, and the roots in it."""

    entries: tuple[PoolEntry, ...]
    roots: tuple[GcRoot, ...]

    @property
    def garbage(self) -> list[PoolEntry]:
        """The entries that no store needs."""
        return [entry for entry in self.entries if not entry.is_needed]


def pool_usage(pool: AnyPath, stores: Iterable[Path]) -> PoolUsage:
    """List the parts of a pool, each with whether a store needs it.

    A StoreError if a root is damaged: then nobody knows what its store needs.

    Parameters
    ----------
    stores : further stores of this machine, such as those of a project that was moved since it wrote its roots.
    """
    roots = read_roots(pool)
    living = [root for root in roots if not root.is_stale]
    here = {Path(root.store) for root in living if not root.is_foreign} | set(stores)
    needed = {address for root in living for address in root.parts}
    needed |= {address for store in here for address in _addresses(store)}
    contents = _list_files(pool)
    return PoolUsage(
        tuple(
            PoolEntry(
                folder=pool / address,
                files=tuple(files),
                bytes=sum(int(facts["size"]) for facts in files.values()),
                is_needed=address in needed or files.get(SHARD.as_posix(), {}).get("nlink", 1) > 1,
            )
            for address, files in sorted(contents.items())
        ),
        roots,
    )


def free(garbage: Sequence[PoolEntry], roots: Sequence[GcRoot]) -> None:
    """Remove entries from their pool, and then the roots whose stores are gone; cut short, it leaves no half part."""
    local = [entry.folder for entry in garbage if isinstance(entry.folder, Path)]
    for folder in local:
        discard(folder)
    for view in {folder.parent for folder in local}:
        with suppress(OSError):  # it still has parts
            view.rmdir()
    remote = [entry for entry in garbage if not isinstance(entry.folder, Path)]
    files: list[Any] = [entry.folder / name for entry in remote for name in entry.files]
    # all lists of rows first, so that nobody takes the rest for parts; many objects to a request
    for chosen in ([file for file in files if file.name == ROWS], [file for file in files if file.name != ROWS]):
        if chosen:
            chosen[0].fs.rm([file.path for file in chosen])
    for root in roots:
        if root.is_stale:
            root.file.unlink(missing_ok=True)


def _addresses(store: Path) -> Iterator[str]:
    """Parts that a store of this machine names by symbolic links or URLs; hard links speak for themselves."""
    yield from map(address_of, part_places(store).values())
    for shard in store.glob(f"parts/*/{SHARD.as_posix()}"):
        if shard.is_symlink():
            yield address_of(shard.readlink().parents[len(SHARD.parts) - 1])


def _list_files(pool: AnyPath) -> dict[str, dict[str, dict[str, Any]]]:
    """What the file system says of each part's files, finished or not, by `<view>/<address>` and by their name in it.

    One listing of everything instead of a request a part; a folder or a bucket that is gone holds nothing.
    """
    contents: defaultdict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    files, root = (LocalFileSystem(), str(pool.resolve())) if isinstance(pool, Path) else (pool.fs, pool.path)
    below = len(root.rstrip("/")) + 1
    with suppress(FileNotFoundError):
        files.invalidate_cache()
        for path, facts in files.find(root, detail=True).items():
            view, part, name = (*path[below:].split("/", 2), "", "")[:3]
            if VIEW.fullmatch(view) and PART.fullmatch(part) and name:
                contents[f"{view}/{part}"][name] = facts
    return dict(contents)
