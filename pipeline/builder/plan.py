"""Plan of a store: its parts, the recordings in each, and the frames of them that older parts hold already."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, groupby
from operator import itemgetter

import numpy as np

from birdcache.params.views import StoredView
from cache.keys import content_key, part_bits, part_name
from cache.pool import PooledPart
from cache.remote_pool import Pool


@dataclass(frozen=True, slots=True)
class Source:
    """An audio file to turn into a spectrogram."""

    sha256: str  # of its bytes
    path: str  # or URL
    duration_s: float  # as its header says
    # whether it is known to be silent, and taken all the same. Its frames then have another key in the pool: nothing
    # that must not be silent finds them there
    silence: bool = False
    read_as: str = ""  # as `birdcache.audio.read.AudioInfo` has it; a part of the key, too


@dataclass(frozen=True, slots=True)
class StoredRows:
    """Finished frames of a recording in an older part."""

    old: PooledPart  # without keys, and with its frames as one number: many rows of it are sent to workers
    start: int
    frames: int


@dataclass(frozen=True, slots=True)
class PartJob:
    """A part to build: its sources in key order, and the frames that older parts already hold."""

    name: str
    keys: tuple[str, ...]
    sources: tuple[Source, ...]
    reuse: Mapping[str, StoredRows] = field(default_factory=dict)

    @property
    def new(self) -> list[Source]:
        """The sources that must be decoded."""
        return [source for key, source in zip(self.keys, self.sources, strict=True) if key not in self.reuse]

    @property
    def duration_s(self) -> float:
        """Seconds of audio that must be decoded."""
        return sum(source.duration_s for source in self.new)


def plan_jobs(sources: Sequence[Source], view: StoredView, digest: str, pool: Pool) -> list[PartJob]:
    """The parts of a store of these sources, each content once, in order of their names; those in the pool too."""
    frame_bytes = view.n_mels * np.dtype(view.dtype).itemsize
    bits = part_bits(sum(view.frames(source.duration_s) for source in sources) * frame_bytes)
    keyed = [(content_key(source.sha256, digest, source.silence, source.read_as), source) for source in sources]
    finished = finished_rows(pool.parts())
    jobs = []
    for name, pairs in groupby(sorted(keyed, key=itemgetter(0)), lambda pair: part_name(pair[0], bits)):
        part_keys, chosen = zip(*pairs, strict=True)
        jobs.append(PartJob(name, part_keys, chosen, {key: finished[key] for key in part_keys if key in finished}))
    return jobs


def finished_rows(parts: Sequence[PooledPart]) -> dict[str, StoredRows]:
    """The finished frames of each recording, by its key."""
    rows = {}
    for part in parts:
        old = replace(part, keys=(), frames=(sum(part.frames),))
        for key, start, frames in zip(part.keys, accumulate(part.frames, initial=0), part.frames, strict=False):
            rows[key] = StoredRows(old, start, frames)
    return rows
