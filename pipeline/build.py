"""Plan and build the parts of a store: what is in the pool is kept, what is new is decoded by parallel workers.

One worker owns a whole part; parts are handed out longest first. The bytes of a part follow from its recordings alone,
so worker count, order and interruptions leave no trace.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import zarr
from threadpoolctl import threadpool_limits

from cache.codec import Codec
from cache.keys import content_key, part_bits, part_name, view_digest
from cache.parts import copy_rows
from cache.pool import Pool, PooledPart, is_intact, map_part
from cache.seal import NamedPart
from params import MelView, PcenView
from pipeline.audio import DECODER_VERSION, read_waveform
from pipeline.errors import PipelineError
from pipeline.frontend import FRONTEND_VERSION, spectrogram, value_range
from progress import Progress


@dataclass(frozen=True)
class Source:
    """An audio file to turn into a spectrogram."""

    sha256: str
    path: str
    duration_s: float


@dataclass(frozen=True)
class Refused:
    """An audio file that could not be decoded, and why."""

    source: Source
    reason: str


@dataclass(frozen=True)
class Rows:
    """Where an older part holds the finished frames of a recording."""

    part: PooledPart
    start: int
    frames: int


@dataclass(frozen=True)
class Job:
    """A part to build: its sources in key order, and the frames that older parts already hold."""

    name: str
    keys: tuple[str, ...]
    sources: tuple[Source, ...]
    reuse: Mapping[str, Rows] = field(default_factory=dict)

    @property
    def duration_s(self) -> float:
        """Seconds of audio that must be decoded."""
        return sum(
            source.duration_s for key, source in zip(self.keys, self.sources, strict=True) if key not in self.reuse
        )


@dataclass(frozen=True)
class Built:
    """What became of a job; `part` is None when all its recordings were refused."""

    name: str
    part: PooledPart | None
    refused: tuple[Refused, ...]


class Builder:
    """Builds the parts of one view in a pool."""

    def __init__(self, view: MelView | PcenView, pool: Path, workers: int) -> None:
        """Open the pool and clear it of what dead builds left.

        Parameters
        ----------
        workers : processes that decode; 0 takes one per core.

        Raises
        ------
        ValueError
            If the view has empty mel bins, or values that its dtype cannot hold.
        """
        self.view = view
        self.digest = view_digest(view, FRONTEND_VERSION, DECODER_VERSION)
        self.codec = Codec(view.dtype, *value_range(view))
        self._pool_root, self._workers = pool, workers
        self._pool = Pool(pool, self.digest)
        self._pool.sweep()

    def build(self, sources: Sequence[Source], what: str) -> tuple[list[NamedPart], list[Refused]]:
        """Make sure that the pool holds a part for every source that can be decoded.

        Parameters
        ----------
        sources : audio files, each content once.
        what : label of the progress bar.

        Returns
        -------
        The parts in order of their names, and the refused sources. What was refused leaves no trace in the parts: they
        are the same as if it had never been there.
        """
        wanted, refused = list(sources), list[Refused]()
        while True:
            jobs = self._plan(wanted)
            built = self._run([job for job in jobs if self._pool.find(job.keys) is None], what)
            for outcome in built:
                if outcome.part is not None:
                    self._pool.trust(outcome.part)
            newly_refused = [entry for outcome in built for entry in outcome.refused]
            if not newly_refused:
                return [self._named(job) for job in jobs], sorted(refused, key=lambda entry: entry.source.path)
            refused += newly_refused
            bad = {entry.source.sha256 for entry in newly_refused}
            wanted = [source for source in wanted if source.sha256 not in bad]

    def _plan(self, sources: Sequence[Source]) -> list[Job]:
        frame_bytes = self.view.n_mels * np.dtype(self.view.dtype).itemsize
        bits = part_bits(sum(self.view.frames(source.duration_s) for source in sources) * frame_bytes)
        members: defaultdict[str, list[tuple[str, Source]]] = defaultdict(list)
        for key, source in sorted((content_key(source.sha256, self.digest), source) for source in sources):
            members[part_name(key, bits)].append((key, source))
        reuse = self._finished_rows()
        return [_job(name, pairs, reuse) for name, pairs in sorted(members.items())]

    def _finished_rows(self) -> dict[str, Rows]:
        rows = {}
        for part in self._pool.all_parts():
            starts = np.cumsum([0, *part.frames])
            for key, start, frames in zip(part.keys, starts, part.frames, strict=False):
                rows[key] = Rows(part, int(start), frames)
        return rows

    def _run(self, jobs: Sequence[Job], what: str) -> list[Built]:
        if not jobs:
            return []
        jobs = sorted(jobs, key=lambda job: job.duration_s, reverse=True)
        hours = sum(job.duration_s for job in jobs) / 3600
        print(f"{what}: {len(jobs)} parts to write, {hours:.2f} h of audio to decode", flush=True)
        built = []
        tasks = (joblib.delayed(_build_part)(job, self.view, self.codec, self._pool_root, self.digest) for job in jobs)
        with Progress(sum(len(job.keys) for job in jobs), what, "recordings") as progress:
            for outcome, count in joblib.Parallel(self._workers or -1, return_as="generator_unordered")(tasks):
                progress.update(count)
                built.append(outcome)
        return built

    def _named(self, job: Job) -> NamedPart:
        part = self._pool.find(job.keys)
        if part is None:
            raise PipelineError(f"part {job.name} vanished from the pool while building; run the stage again")
        return NamedPart(job.name, part, tuple(source.sha256 for source in job.sources))


def _job(name: str, pairs: Sequence[tuple[str, Source]], reuse: Mapping[str, Rows]) -> Job:
    keys = tuple(key for key, _ in pairs)
    return Job(name, keys, tuple(source for _, source in pairs), {key: reuse[key] for key in keys if key in reuse})


def _build_part(job: Job, view: MelView | PcenView, codec: Codec, pool: Path, digest: str) -> tuple[Built, int]:
    """Decode, compute, encode and write one part; runs in a worker, with one thread so that sums never differ."""
    keys, codes, refused = [], [], []
    reuse = _intact_rows(job.reuse)
    with threadpool_limits(1), zarr.config.set({"threading.max_workers": 1}):
        for key, source in zip(job.keys, job.sources, strict=True):
            try:
                codes.append(_codes(key, source, reuse, view, codec))
                keys.append(key)
            except PipelineError as error:
                refused.append(Refused(source, str(error)))
        part = (
            Pool(pool, digest).add(keys, [len(rows) for rows in codes], np.concatenate(codes), codec) if keys else None
        )
    return Built(job.name, part, tuple(refused)), len(job.keys)


def _intact_rows(reuse: Mapping[str, Rows]) -> dict[str, Rows]:
    """Rows of undamaged parts only: a copy would get fresh checksums and hide the damage."""
    parts = {rows.part.folder: rows.part for rows in reuse.values()}
    intact = {folder for folder, part in parts.items() if is_intact(part)}
    return {key: rows for key, rows in reuse.items() if rows.part.folder in intact}


def _codes(key: str, source: Source, reuse: Mapping[str, Rows], view: MelView | PcenView, codec: Codec) -> Any:
    if key in reuse:
        return _copied(reuse[key], view, codec)
    waveform = read_waveform(Path(source.path), view.sample_rate_hz, source.sha256)
    with np.errstate(over="ignore", invalid="ignore"):
        values = spectrogram(waveform, view)
    if not np.isfinite(values).all():
        raise PipelineError(
            f"{source.path}: is so loud that its power overflows; scale its samples to +-1 or remove it"
        )
    return codec.encode(values)


def _copied(rows: Rows, view: MelView | PcenView, codec: Codec) -> Any:
    out = np.empty((rows.frames, view.n_mels), codec.dtype)
    copy_rows(map_part(rows.part, view.n_mels, codec), rows.start, out)
    return out
