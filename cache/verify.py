"""The files that a store's manifest names: their places, and the corrupted ones among them."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from birdcache.files import file_sha256, sha256_hex
from birdcache.storage import AnyPath, reaching
from cache.corruption import Corruption
from cache.manifest import Index, Manifest, read_index, read_manifest
from cache.part import SHARD, PartReader
from cache.part_writer import FileFacts
from cache.remote_parts import part_places, remote_sizes
from cache.shard import Layout


class Contents:
    """The files of a store, of which only the manifest has been read yet."""

    def __init__(self, path: Path) -> None:
        """Read the manifest; a StoreError if it is missing, damaged or of another version."""
        self.path = path
        self.manifest: Manifest = read_manifest(path)
        self.layout = Layout.of(self.manifest.view, self.manifest.codec)
        self._places = part_places(path)
        self.is_remote = bool(self._places)  # whether the parts lie in a remote pool

    def folder(self, part: int) -> AnyPath:
        """Folder of a part."""
        name = self.manifest.parts[part].name
        return self._places.get(name, self.path / "parts" / name)

    def reader(self, part: int, index: Index | None = None) -> PartReader:
        """A reader of one part's chunks, for one thread; with an index it names the recordings of a damaged chunk."""
        entry = self.manifest.parts[part]
        holds = partial(index.audio_in, part) if index else None
        return PartReader(self.folder(part), self.layout, entry.frames, entry.files[SHARD.as_posix()].bytes, holds)

    def corrupted_own_files(self) -> Iterator[Corruption]:
        """Files outside the parts, the index among them, whose bytes are not the manifest's: all are small."""
        for name, entry in self.manifest.files.items():
            path = self.path / name
            yield from _wrong_size(path, entry, _local_size(path)) or _changed(path, entry)

    def parts_of_wrong_size(self, index: Index | None) -> Iterator[Corruption]:
        """Files of parts that are missing, or longer or shorter than the manifest says.

        zarr reads a missing or empty shard as zeros, so sizes are compared before anything is read.
        """
        for number, where, entry, size in self._files():
            yield from _wrong_size(where, entry, size, index.audio_in(number) if index else ())

    def _files(self) -> Iterator[tuple[int, AnyPath, FileFacts, int | None]]:
        """Part, place, facts and size of each file of the parts; None for one that is missing."""
        remote = remote_sizes(self._places)
        for number, part in enumerate(self.manifest.parts):
            for name, entry in part.files.items():
                where = self.folder(number) / name
                yield number, where, entry, _local_size(where) if isinstance(where, Path) else remote.get(where.path)

    def changed_parts(self, index: Index | None, full: bool) -> Iterator[Corruption]:
        """Parts of the right size whose bytes changed.

        Parameters
        ----------
        full : compare the SHA-256 of each shard too, not only the CRC-32C of its chunks and of their index.
        """
        for number, where, entry, size in self._files():
            if size != entry.bytes:
                continue  # reported already
            bad: list[Corruption] = []
            if is_shard := where == self.folder(number) / SHARD:
                reader = self.reader(number, index)
                if self.is_remote:
                    reader.fetch()
                bad += reader.corruption()
            if not bad and (full or not is_shard):
                bad = _changed(where, entry, index.audio_in(number) if index else ())
            yield from bad


def find_corruption(contents: Contents, full: bool) -> Iterator[Corruption]:
    """All corrupted files of a store; `full` as in `changed_parts`."""
    own = list(contents.corrupted_own_files())
    yield from own
    index = None if own else read_index(contents.path)
    yield from contents.parts_of_wrong_size(index)
    yield from contents.changed_parts(index, full)


def _wrong_size(where: AnyPath, entry: FileFacts, size: int | None, audio: tuple[str, ...] = ()) -> list[Corruption]:
    if size == entry.bytes:
        return []
    found = "is missing" if size is None else f"has {size} bytes"
    return [Corruption(where, f"{found}, its manifest says {entry.bytes}", audio)]


def _changed(where: AnyPath, entry: FileFacts, audio: tuple[str, ...] = ()) -> list[Corruption]:
    try:
        with reaching(where):
            sha256 = file_sha256(where) if isinstance(where, Path) else sha256_hex(where.read_bytes())
    except OSError as error:
        return [Corruption(where, f"cannot be read ({error})", audio)]
    return [] if sha256 == entry.sha256 else [Corruption(where, "its bytes have changed since it was written", audio)]


def _local_size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return None
