"""A remote pool, such as s3://bucket/pool. Parts are written on this machine and uploaded whole, rows.json last."""

import shutil
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from upath import UPath

from birdcache.errors import StoreError
from birdcache.storage import AnyPath, reaching
from cache.keys import part_address
from cache.part import METADATA, SHARD
from cache.part_writer import ROWS, PartWriter
from cache.pool import DIGEST_DIGITS, LocalPool, PooledPart, read_part
from cache.shard import Layout


class RemotePool:
    """A pool behind an fsspec URL. Objects there are whole or absent; a part without its rows.json is unfinished."""

    def __init__(self, root: UPath, digest: str) -> None:
        self._root, self._folder = root, root / digest[:DIGEST_DIGITS]
        self._files: Any = root.fs
        self._known: dict[str, PooledPart] = {}  # undamaged parts by their address
        self._is_listed = False

    def find(self, keys: Sequence[str]) -> PooledPart | None:
        """As `LocalPool.find`, but sizes are compared, not bytes: reading them would cost as much as building them.

        After `parts` this asks nobody: it tells what was there then, or was trusted since.
        """
        address = part_address(keys)
        if not self._is_listed and address not in self._known:
            self._look_at(self._folder / address)
        return self._known.get(address)

    def trust(self, part: PooledPart) -> None:
        """As `LocalPool.trust`; the service keeps the bytes of its objects."""
        self._known[part.folder.name] = part

    def parts(self) -> list[PooledPart]:
        """As `LocalPool.parts`; one listing, then all rows.json at once."""
        self._known.clear()
        found = self._look_at(self._folder)
        self._is_listed = True
        return found

    def _look_at(self, folder: UPath) -> list[PooledPart]:
        """The finished parts in a folder and below it; those whose files have the right sizes are known from now on.

        A StoreError if the pool cannot be reached, or there is no such bucket.
        """
        try:
            with reaching(self._root):
                self._files.invalidate_cache()
                listed: Any = self._files.find(folder.path, detail=True)
                lists = sorted(path for path in listed if path.endswith(f"/{ROWS}"))
                contents = self._files.cat(lists) if lists else {}
        except FileNotFoundError as error:
            raise StoreError(f"{self._root}: {error}; create the bucket, or correct machine.pool") from error
        found = (read_part(self._folder / path.split("/")[-2], rows) for path, rows in contents.items())
        parts = [part for part in found if part is not None]
        sizes = {path: int(entry["size"]) for path, entry in listed.items()}
        for part in parts:
            place = f"{self._folder.path}/{part.folder.name}"
            if all(sizes.get(f"{place}/{name}") == facts.bytes for name, facts in part.files.items()):
                self.trust(part)
        return parts

    def new_part(self, layout: Layout) -> PartWriter:
        """As `LocalPool.new_part`, in a temporary folder of this machine that goes when the writer does."""
        folder = Path(tempfile.mkdtemp(prefix="birdcache-"))
        part_writer = PartWriter(folder / "part", layout)
        weakref.finalize(part_writer, shutil.rmtree, folder, ignore_errors=True)
        return part_writer

    def publish(self, part_writer: PartWriter) -> PooledPart:
        """As `LocalPool.publish`: upload shard and metadata, then the list that makes them a part.

        A StoreError if the pool cannot be reached, or there is no such bucket.
        """
        files = part_writer.finish()
        found = self.find(part_writer.keys)
        if found is None:
            folder = self._folder / part_address(part_writer.keys)
            with reaching(self._root):
                for name in (SHARD, METADATA, Path(ROWS)):
                    self._files.put_file(str(part_writer.folder / name), (folder / name.as_posix()).path)
            found = PooledPart(folder, tuple(part_writer.keys), tuple(part_writer.frames), files)
            self.trust(found)
        return found


Pool = LocalPool | RemotePool


def open_pool(root: AnyPath, digest: str) -> Pool:
    """The pool of one view below `root`, local or remote."""
    return LocalPool(root, digest) if isinstance(root, Path) else RemotePool(root, digest)
