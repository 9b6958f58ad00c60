"""The manifest of a store (view, contents, size and SHA-256 of each file) and its index of recordings.

It is written last, so a store without one is unfinished. It holds no time, host or absolute path: the same recordings
and view give the same bytes. Its key `sha256` is that of all its other keys.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr
from pydantic import ValidationError

from birdcache.arrays import Bytes, Ints
from birdcache.errors import StoreError
from birdcache.files import canonical_json, checksummed_json, verified_json
from birdcache.params.sections import Section
from birdcache.params.views import StoredView
from cache.corruption import Corruption
from cache.part_writer import FileFacts
from cache.quantize import Quantizer
from cache.shard import CHUNK_FRAMES

NAME = "manifest.json"
VERSION: Literal[1] = 1
INDEX_AUDIO, INDEX_SPANS = "index/audio_sha256", "index/spans"


class PartEntry(Section):
    """One part: its name (the leading bits of its recordings' keys), its frames, its files."""

    name: str
    frames: int
    files: dict[str, FileFacts]


class Manifest(Section):
    """All that a reader must know before it trusts a store; `files` names what is outside the parts."""

    version: Literal[1]
    view: StoredView
    view_digest: str
    codec: Quantizer
    recordings: int
    frames: int
    parts: list[PartEntry]
    files: dict[str, FileFacts]

    def to_bytes(self) -> bytes:
        """The manifest's file content."""
        return checksummed_json(self.model_dump(), canonical=True) + b"\n"


def read_manifest(store: Path) -> Manifest:
    """Read a store's manifest; a StoreError if it is missing (an unfinished store), damaged or of another version."""
    path = store / NAME
    try:
        content = verified_json(path.read_bytes().removesuffix(b"\n"), canonical=True)
        return Manifest.model_validate_json(canonical_json(content))  # JSON, so that a dataclass is read
    except FileNotFoundError:
        raise StoreError(
            f"{store}: has no {NAME}, so it is unfinished or no store; run `dvc repro`, which builds it"
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(step) for step in first["loc"])
        told = f"{key}: {first['msg']}: it is of another version than this code reads"
        raise Corruption(path, told).error() from None
    except ValueError:
        damage = "is damaged or of another version, so nothing in its store can be trusted"
        raise Corruption(path, damage).error() from None


@dataclass(frozen=True)
class Index:
    """(N,) part number, first frame in the part and frames of each recording, and (N, 32) SHA-256 of its audio."""

    part: Ints
    start: Ints
    frames: Ints
    audio: Bytes

    def audio_in(self, part: int, chunk: int | None = None) -> tuple[str, ...]:
        """SHA-256 of the audio of the recordings that lie in a part, or of those that reach into one of its chunks."""
        is_there = self.part == part
        if chunk is not None:
            is_there &= (self.start < (chunk + 1) * CHUNK_FRAMES) & (self.start + self.frames > chunk * CHUNK_FRAMES)
        return tuple(digest.tobytes().hex() for digest in self.audio[is_there])


def read_index(store: Path) -> Index:
    """Read the index of a store, whose files have been compared with the manifest."""
    group: Any = zarr.open_group(store, mode="r")
    part, start, frames = (np.ascontiguousarray(column) for column in group[INDEX_SPANS][:].T)
    return Index(part, start, frames, group[INDEX_AUDIO][:])
