"""The build of a store's parts: those in the pool are kept, new ones are decoded by parallel workers.

One worker owns a whole part; parts are handed out longest first. The bytes of a part follow from its recordings alone,
so worker count, order and interruptions leave no trace.
"""

import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from birdcache.audio.rejected import RejectedAudio
from birdcache.errors import PipelineError
from birdcache.params.embedding import StoredEmbedding
from birdcache.params.sections import MachineParams
from birdcache.params.views import StoredView
from birdcache.progress import Progress
from birdcache.storage import AnyPath
from birdcache.text import counted
from cache.keys import part_address
from cache.locks import is_read_only
from cache.mel import packed_view
from cache.pool import DIGEST_DIGITS, LocalPool
from cache.remote_pool import open_pool
from cache.shard import Layout
from cache.store_writer import NamedPart
from pipeline.builder.encode import digest_of, quantizer_of
from pipeline.builder.parallel import run_unordered
from pipeline.builder.plan import PartJob, Source, plan_jobs
from pipeline.builder.worker import BuildSpec, Built, build_part

SPARE_BYTES = 2**28  # that must stay free on the pool's disk


class Builder:
    """Builds the parts of one view's stores in its pool."""

    def __init__(self, view: StoredView, pool: AnyPath, machine: MachineParams) -> None:
        """A builder; a ValueError if the view's numbers do not go together."""
        self.view, self.root = view, pool
        self.digest = digest_of(view)
        self.quantizer = quantizer_of(view)
        on_gpu = isinstance(view, StoredEmbedding) and view.device == "cuda"  # which one process fills
        self._machine = machine.model_copy(update={"workers": 1}) if on_gpu else machine
        self._pool = open_pool(pool, self.digest)

    def sweep(self) -> None:
        """Remove what unfinished builds left; only for the holder of the pool's exclusive lock."""
        if isinstance(self._pool, LocalPool):
            self._pool.sweep()

    def plan(self, sources: Sequence[Source]) -> list[PartJob]:
        """The parts of a store of these sources, each content once, in order of their names."""
        return plan_jobs(sources, self.view, self.digest, self._pool)

    def build(
        self,
        sources: Sequence[Source],
        what: str,
        announce: Callable[[list[str]], None] = lambda parts: None,
        silence: bool = False,
    ) -> tuple[list[NamedPart], list[RejectedAudio]]:
        """Make sure that the pool holds a part for every source that can be decoded.

        A PipelineError if the pool's disk has no room, or a part vanishes from it meanwhile.

        Parameters
        ----------
        sources : audio files, each content once.
        what : label of the progress bar.
        announce : is called with the parts that will be needed, as `<view>/<address>`, before anything is decoded.
        silence : whether silent sources are taken all the same; they are among the refused ones besides.

        Returns
        -------
        The parts in order of their names, and the refused sources. What was refused leaves no trace in the parts: they
        are the same as if it had never been there.
        """
        wanted, refused = list(sources), list[RejectedAudio]()
        while True:
            jobs = self.plan(wanted)
            announce([f"{self.digest[:DIGEST_DIGITS]}/{part_address(job.keys)}" for job in jobs])
            with ThreadPoolExecutor() as threads:  # each finished part is read, and compared with its SHA-256
                found = threads.map(self._pool.find, [job.keys for job in jobs])
            built = self._run([job for job, part in zip(jobs, found, strict=True) if part is None], what)
            for outcome in built:
                if outcome.part is not None:
                    self._pool.trust(outcome.part)
            newly_refused = [rejected for outcome in built for rejected in outcome.refused]
            if not newly_refused:
                return [self._named(job) for job in jobs], sorted(refused, key=lambda each: each.file)
            refused += newly_refused
            code_of = {rejected.file: rejected.code for rejected in newly_refused}
            silent = [replace(source, silence=True) for source in wanted if code_of.get(source.path) == "silent"]
            wanted = [source for source in wanted if source.path not in code_of] + (silent if silence else [])

    def _run(self, jobs: Sequence[PartJob], what: str) -> list[Built]:
        if not jobs:
            return []
        if is_read_only(self.root):
            raise PipelineError(
                f"{self.root}: this pool can only be read and lacks {counted(len(jobs), 'parts')} of {what}; set "
                f"machine.pool or BIRDCACHE_POOL to a folder of your own, or have its owner build them"
            )
        needed, free = self.bytes_of(jobs), free_bytes(self.root)
        if free is not None and needed + SPARE_BYTES > free:
            raise PipelineError(
                f"{self.root}: the new parts need {needed / 1e9:,.2f} GB, but only {free / 1e9:,.2f} GB are free; "
                f"run `birdcache cache gc`, set machine.pool or BIRDCACHE_POOL to a larger disk, or use dtype: uint8"
            )
        jobs = sorted(jobs, key=lambda job: job.duration_s, reverse=True)
        hours = sum(job.duration_s for job in jobs) / 3600
        print(f"{what}: {counted(len(jobs), 'parts')} to write, {hours:.2f} h of audio to decode", flush=True)
        packed = "" if isinstance(self.view, StoredEmbedding) else packed_view(self.view)
        spec = BuildSpec(self.view, self.digest, packed, str(self.root), os.fspath(Path.cwd()))
        built: list[Built] = []
        with Progress(sum(len(job.keys) for job in jobs), what, "recordings") as progress:
            for outcome in run_unordered(((build_part, (job, spec)) for job in jobs), self._machine):
                progress.update(outcome.recordings)
                built.append(outcome)
        return built

    def bytes_of(self, jobs: Sequence[PartJob]) -> int:
        """Bytes that the parts of these jobs take before compression."""
        frame_bytes = Layout.of(self.view, self.quantizer).frame_bytes
        return frame_bytes * sum(self.view.frames(source.duration_s) for job in jobs for source in job.sources)

    def _named(self, job: PartJob) -> NamedPart:
        part = self._pool.find(job.keys)
        if part is None:
            raise PipelineError(
                f"{self.root}: part {job.name} was written and is not there; all workers must share the pool's disk or "
                f"URL; run the stage again"
            )
        return NamedPart(job.name, part, tuple(source.sha256 for source in job.sources))


def free_bytes(pool: AnyPath) -> int | None:
    """Bytes that are free on a pool's disk, whether the pool is there yet or not; None if it is remote."""
    if not isinstance(pool, Path):
        return None
    folder = pool.absolute()
    return shutil.disk_usage(next(each for each in (folder, *folder.parents) if each.exists())).free
