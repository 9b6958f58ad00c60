"""The pool: finished parts, each once on disk, read-only, under an address that follows from its content.

Like ccache it outlives the stores that are made of its parts. A killed build finds here what it had finished, a
parameter flipped back finds its old parts, and an added recording finds the rows of its neighbours.

Below the pool's root: `<view digest>/<address>/` holds a part (zarr.json, c/0/0) and its rows.json; `stores/` says
which stores are made of which parts (`cache.gc`); `lock` is held by those who write (`cache.locks`).
"""

import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from birdcache.files import file_sha256, fsync_path, fsync_tree, link, sweep_temporary, verified_json
from birdcache.storage import AnyPath
from cache.keys import part_address
from cache.locks import is_read_only, modes_of
from cache.part import SHARD, PartReader
from cache.part_writer import ROWS, FileFacts, PartWriter
from cache.shard import Layout

DIGEST_DIGITS = 32  # of a view's digest, in the name of its folder
ROOTS = "stores"  # folder of the files that say which stores are made of which parts


@dataclass(frozen=True)
class PooledPart:
    """A finished part: its folder, its recordings' keys in order, their frames, and its files."""

    folder: AnyPath
    keys: tuple[str, ...]
    frames: tuple[int, ...]
    files: dict[str, FileFacts]

    def reader(self, layout: Layout) -> PartReader:
        """A reader of its chunks."""
        return PartReader(self.folder, layout, sum(self.frames), self.files[SHARD.as_posix()].bytes)


class LocalPool:
    """A pool in a folder of this machine, or of a disk that several machines share."""

    def __init__(self, root: Path, digest: str) -> None:
        self._folder = root / digest[:DIGEST_DIGITS]  # made by the first part: looking changes nothing
        self._trusted: set[AnyPath] = set()

    def find(self, keys: Sequence[str]) -> PooledPart | None:
        """The part that holds exactly these keys, if it is finished and undamaged.

        The first time, a part's bytes are compared with their SHA-256: a damaged part is removed, so that it is built
        again instead of being linked into one more store.
        """
        folder = self._folder / part_address(keys)
        if not (folder / ROWS).exists():
            return None
        part = read_part(folder, (folder / ROWS).read_bytes())
        if part is None or (folder not in self._trusted and not is_intact(part)):
            if not is_read_only(self._folder.parent):
                discard(folder)
            return None
        self.trust(part)
        return part

    def trust(self, part: PooledPart) -> None:
        """Take a part's bytes for good from now on: somebody has just written or compared them."""
        self._trusted.add(part.folder)

    def parts(self) -> list[PooledPart]:
        """Every finished part of this view whose list of rows can be read, damaged or not."""
        rows = sorted(self._folder.glob(f"[0-9a-f]*/{ROWS}"))
        found = (read_part(path.parent, path.read_bytes()) for path in rows)
        return [part for part in found if part is not None]

    def new_part(self, layout: Layout) -> PartWriter:
        """Begin a part, beside the finished ones, so that one rename publishes it; before, it is not in the pool."""
        with modes_of(self._folder.parent):
            return PartWriter(self._folder / f"tmp-{uuid.uuid4().hex}", layout)

    def publish(self, part_writer: PartWriter) -> PooledPart:
        """Finish a part (fsync, rename, fsync of the folder); if its part is there already, that one is kept."""
        with modes_of(self._folder.parent):
            files = part_writer.finish()
        target = self._folder / part_address(part_writer.keys)
        found = self.find(part_writer.keys)
        if found is None:
            fsync_tree(part_writer.folder)
            found = PooledPart(target, tuple(part_writer.keys), tuple(part_writer.frames), files)
            try:
                part_writer.folder.rename(target)
            except OSError:  # another process was faster; its bytes are the same
                if not (target / ROWS).exists():
                    raise
            fsync_path(self._folder)
        shutil.rmtree(part_writer.folder, ignore_errors=True)
        return found

    def sweep(self) -> None:
        """Remove what unfinished builds left; only for the holder of the pool's exclusive lock."""
        for path in self._folder.glob("tmp-*"):
            shutil.rmtree(path, ignore_errors=True)
        sweep_temporary(self._folder.parent / ROOTS)


def read_part(folder: AnyPath, rows: bytes) -> PooledPart | None:
    """A finished part from the content of its rows.json; None if that is damaged, or of an older version."""
    try:
        content = verified_json(rows, canonical=True)
    except ValueError:
        return None
    files = {name: FileFacts(**facts) for name, facts in content["files"].items()}
    return PooledPart(folder, tuple(content["keys"]), tuple(content["frames"]), files)


def discard(folder: Path) -> None:
    """Remove a part: renamed first, so that a removal cut short leaves a leftover to sweep, not half a part."""
    doomed = folder.with_name(f"tmp-{uuid.uuid4().hex}")
    folder.rename(doomed)
    shutil.rmtree(doomed)


def is_intact(part: PooledPart) -> bool:
    """True if every file of a local part has the size and the SHA-256 that it was written with."""
    paths = [(Path(str(part.folder)) / name, facts) for name, facts in part.files.items()]
    return all(path.exists() and FileFacts(path.stat().st_size, file_sha256(path)) == facts for path, facts in paths)


def link_part(part: PooledPart, folder: Path) -> None:
    """Show a local pooled part inside a store as a zarr array, without a second copy of its bytes."""
    for name in part.files:
        link(Path(str(part.folder)) / name, folder / name)
