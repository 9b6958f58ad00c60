"""Plan of a store: its parts, the recordings in each, and the frames of them that older parts hold already."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from birdcache.params.views import StoredView
from birdcache.storage import AnyPath
from cache.keys import content_key, part_bits, part_name
from cache.part import SHARD, PartReader
from cache.part_writer import FileFacts
from cache.pool import PooledPart
from cache.remote_pool import Pool
from cache.shard import Layout


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
class OldPart:
    """A finished part whose rows may be copied."""

    folder: AnyPath
    frames: int
    shard_bytes: int

    def reader(self, layout: Layout) -> PartReader:
        """A reader of its chunks."""
        return PartReader(self.folder, layout, self.frames, self.shard_bytes)


@dataclass(frozen=True, slots=True)
class StoredRows:
    """Finished frames of a recording in an older part."""

    old: OldPart
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
    keys = [content_key(source.sha256, digest, source.silence, source.read_as) for source in sources]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    finished = finished_rows(pool.parts())
    jobs = []
    for start, end in pairwise([*_part_starts([keys[number] for number in order], bits), len(keys)]):
        members = [(keys[number], sources[number]) for number in order[start:end]]
        reuse = {key: finished[key] for key, _ in members if key in finished}
        names, chosen = zip(*members, strict=True)
        jobs.append(PartJob(part_name(names[0], bits), names, chosen, reuse))
    return jobs


def _part_starts(keys: Sequence[str], bits: int) -> list[int]:
    """Places in the sorted keys where parts begin: those where the leading bits change."""
    leading = np.frombuffer(bytes.fromhex("".join(key[:8] for key in keys)), ">u4") >> (32 - bits)
    return [int(start) for start in np.flatnonzero(np.diff(leading.astype(np.int64), prepend=-1))]


def finished_rows(parts: Sequence[PooledPart]) -> dict[str, StoredRows]:
    """The finished frames of each recording, by its key."""
    rows = {}
    for part in parts:
        facts: FileFacts = part.files[SHARD.as_posix()]
        old = OldPart(part.folder, sum(part.frames), facts.bytes)
        starts = np.cumsum([0, *part.frames]).tolist()
        for key, start, frames in zip(part.keys, starts, part.frames, strict=False):
            rows[key] = StoredRows(old, start, frames)
    return rows
