"""A part while it is being written: recordings are added one after another, and a failed one leaves no trace."""

import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from birdcache.files import checksummed_json, file_sha256, naming
from cache.part import METADATA, SHARD, write_metadata
from cache.quantize import QuantizedArray
from cache.shard import Layout, ShardWriter

ROWS = "rows.json"


@dataclass(frozen=True)
class FileFacts:
    """Size and SHA-256 of one file."""

    bytes: int
    sha256: str


class PartWriter:
    """Writes shard, metadata and list of rows below `folder`, which must not exist yet.

    Use as a context manager: an error, or no recording at all, leaves no folder.
    """

    def __init__(self, folder: Path, layout: Layout) -> None:
        self.folder, self._layout = folder, layout
        self.keys: list[str] = []
        self.frames: list[int] = []
        try:
            (folder / SHARD).parent.mkdir(parents=True)
            self._writer = ShardWriter(folder / SHARD, layout)
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def add(self, key: str, pieces: Iterable[QuantizedArray]) -> None:
        """Append the frames of one recording, in pieces (T, M); if they break off by an error, they are forgotten."""
        self.frames.append(self._writer.add(pieces))
        self.keys.append(key)

    def finish(self) -> dict[str, FileFacts]:
        """Complete all files, read-only; return the facts of those that a store names."""
        self._writer.finish()
        write_metadata(self.folder, sum(self.frames), self._layout)
        metadata, shard = self.folder / METADATA, self.folder / SHARD
        files = {
            METADATA.as_posix(): FileFacts(metadata.stat().st_size, file_sha256(metadata)),
            SHARD.as_posix(): FileFacts(shard.stat().st_size, self._writer.sha256),
        }
        rows = {"keys": self.keys, "frames": self.frames, "files": {name: asdict(each) for name, each in files.items()}}
        with naming(self.folder / ROWS):
            (self.folder / ROWS).write_bytes(checksummed_json(rows, canonical=True))
        for path in (metadata, shard, self.folder / ROWS):
            path.chmod(0o444)
        return files

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._writer.close()
        finally:  # a full disk refuses what is still to be flushed, too
            if kind is not None or not self.keys:
                shutil.rmtree(self.folder, ignore_errors=True)
