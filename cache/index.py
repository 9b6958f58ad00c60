"""The index of a store: each recording's audio, its part, and its frames in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from birdcache.arrays import Ints
from cache.manifest import INDEX_AUDIO, INDEX_SPANS
from cache.shard import CHUNK_FRAMES


@dataclass(frozen=True)
class Index:
    """(N,) part number, first frame in the part and frames of each recording, and (N, 32) SHA-256 of its audio."""

    part: Ints
    start: Ints
    frames: Ints
    audio: npt.NDArray[np.uint8]

    def audio_in(self, part: int, chunk: int | None = None) -> tuple[str, ...]:
        """SHA-256 of the audio of the recordings that lie in a part, or of those that reach into one of its chunks."""
        is_there = self.part == part
        if chunk is not None:
            is_there &= (self.start < (chunk + 1) * CHUNK_FRAMES) & (self.start + self.frames > chunk * CHUNK_FRAMES)
        return tuple(digest.tobytes().hex() for digest in self.audio[is_there])


def read_index(store: Path) -> Index:
    """Read the index of a store, whose files have been compared with the manifest."""
    group = zarr.open_group(store, mode="r")
    spans: Any = group[INDEX_SPANS]
    audio: Any = group[INDEX_AUDIO]
    part, start, frames = (np.ascontiguousarray(column) for column in spans[:].T)
    return Index(part, start, frames, audio[:])
