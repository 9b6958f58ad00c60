"""A store made of finished parts: links to the pool, an index of recordings, the manifest last."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.storage import MemoryStore

from birdcache.arrays import Ints
from birdcache.files import fsync_path, fsync_tree, naming, remove_tree, sha256_hex, write_durably
from birdcache.params.views import StoredView
from cache.manifest import INDEX_AUDIO, INDEX_SPANS, NAME, VERSION, Manifest, PartEntry
from cache.part_writer import FileFacts
from cache.pool import PooledPart, link_part
from cache.quantize import Quantizer
from cache.remote_parts import write_places


@dataclass(frozen=True)
class NamedPart:
    """A pooled part and its name in the store; `audio` has the SHA-256 of each recording's file, in row order."""

    name: str
    part: PooledPart
    audio: tuple[str, ...]


def commit_store(target: Path, view: StoredView, digest: str, quantizer: Quantizer, parts: Sequence[NamedPart]) -> None:
    """Write the store `target`, replacing what lies there.

    The store is put together beside its place and renamed into it, and an old one is renamed away before it is
    removed: at any moment `target` is a whole store or is not there.

    An OSError if the disk refuses; an old store is then still in its place, and nothing is left of the new one.
    """
    files = _groups_and_index(parts)
    manifest = Manifest(
        version=VERSION,
        view=view,
        view_digest=digest,
        codec=quantizer,
        recordings=sum(len(named.audio) for named in parts),
        frames=sum(sum(named.part.frames) for named in parts),
        parts=[PartEntry(name=each.name, frames=sum(each.part.frames), files=each.part.files) for each in parts],
        files={name: FileFacts(len(content), sha256_hex(content)) for name, content in files.items()},
    )
    building, old = target.with_name(f".{target.name}.new"), target.with_name(f".{target.name}.old")
    for leftover in (building, old):
        remove_tree(leftover)
    try:
        _put_together(building, parts, files, manifest)
        _replace(target, building, old)
    finally:
        for leftover in (building, old):
            remove_tree(leftover)


def _put_together(building: Path, parts: Sequence[NamedPart], files: dict[str, bytes], manifest: Manifest) -> None:
    """Links to the parts, the index, and last the manifest; all of it on the disk when this returns."""
    for name, content in files.items():
        path = building / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with naming(path):
            path.write_bytes(content)
    remote = {named.name: named.part.folder for named in parts if not isinstance(named.part.folder, Path)}
    for named in parts:
        if named.name not in remote:
            link_part(named.part, building / "parts" / named.name)
    write_places(building, remote)
    # the store's own files, not the folders of its parts: their bytes are on disk already, and three folders for each
    # part would take longer than everything else; a link that a crash lost shows in the sizes that a reader compares
    fsync_tree(building / "index")
    for path in (building / "parts/zarr.json", building / "parts", building / "zarr.json", building):
        fsync_path(path)
    write_durably(building / NAME, manifest.to_bytes())


def _replace(target: Path, building: Path, old: Path) -> None:
    if target.exists():
        target.rename(old)
    try:
        building.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
    fsync_path(target.parent)


def _groups_and_index(parts: Sequence[NamedPart]) -> dict[str, bytes]:
    """Files of zarr's groups and of the index, by their names.

    The index is two arrays, a row per recording: the audio's SHA-256 (N, 32), and (part number, first frame, frames)
    (N, 3). zarr makes them in memory: on a full disk its threads would still be writing when the others have failed.
    """
    files: dict[str, Any] = {}
    group = zarr.open_group(MemoryStore(files), mode="w")
    group.create_group("parts")
    group.create_group("index")
    audio = [sha256 for named in parts for sha256 in named.audio]
    digests = np.frombuffer(bytes.fromhex("".join(audio)), np.uint8).reshape(len(audio), 32)
    spans = [np.empty((0, 3), np.int64), *(_spans(number, named.part) for number, named in enumerate(parts))]
    for name, values in ((INDEX_AUDIO, digests), (INDEX_SPANS, np.concatenate(spans))):
        whole = tuple(max(size, 1) for size in values.shape)
        group.create_array(name, data=values, chunks=whole, compressors=None, config={"write_empty_chunks": True})
    return {name: content.to_bytes() for name, content in sorted(files.items())}


def _spans(number: int, part: PooledPart) -> Ints:
    frames = np.array(part.frames, np.int64)
    return np.stack([np.full(len(frames), number), np.cumsum(frames) - frames, frames], axis=1)
