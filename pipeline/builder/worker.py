"""Work of one process: a part built from front to back, with one chunk and one block of audio in memory."""

import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import zarr

from birdcache.audio.decoder import Request, with_second_try
from birdcache.audio.read import DECODER_VERSION
from birdcache.audio.rejected import RejectedAudio, costing_one_file
from birdcache.errors import PipelineError, StoreError
from birdcache.params.views import StoredView
from birdcache.storage import AnyPath, absolute
from cache.mel import unpacked_view
from cache.part import PartReader
from cache.part_writer import PartWriter
from cache.pool import PooledPart
from cache.remote_pool import open_pool
from cache.shard import Layout
from pipeline.builder.encode import decode_quantized, decoder_of, digest_of, quantized_request, quantizer_of
from pipeline.builder.frontend import FRONTEND_VERSION
from pipeline.builder.plan import PartJob, Source, StoredRows


@dataclass(frozen=True)
class BuildSpec:
    """Facts that all parts of a store share; `base` is the folder that relative paths start from,
    `packed_view` brings the view's filters, if it has some."""

    view: StoredView
    digest: str
    packed_view: str
    pool: str
    base: str

    @property
    def layout(self) -> Layout:
        """Layout of the parts."""
        return Layout.of(self.view, quantizer_of(self.view))


@dataclass(frozen=True)
class Built:
    """Outcome of a job; `part` is None when all its recordings were refused, each named as in its source."""

    recordings: int
    part: PooledPart | None
    refused: tuple[RejectedAudio, ...]


def build_part(job: PartJob, spec: BuildSpec) -> Built:
    """Write one part of what a disposable process decodes.

    A PipelineError if this worker would decode or compute otherwise than the recipe's digest says.
    """
    if digest_of(spec.view) != spec.digest:
        raise PipelineError(
            f"{platform.node()}: this worker has another version of the project or of its audio libraries (here: "
            f"front end {FRONTEND_VERSION}, {DECODER_VERSION}) than the stage that sent it; install the same everywhere"
        )
    if spec.packed_view:
        unpacked_view(spec.packed_view)
    with zarr.config.set({"threading.max_workers": 1, "async.concurrency": 1}):
        pool = open_pool(absolute(spec.pool, spec.base), spec.digest)
        with pool.new_part(spec.layout) as part_writer:
            refused = _fill(part_writer, job, spec)
            part = pool.publish(part_writer) if part_writer.keys else None
        return Built(len(job.keys), part, tuple(refused))


def _fill(part_writer: PartWriter, job: PartJob, spec: BuildSpec) -> list[RejectedAudio]:
    """Add the job's recordings one after another; a refused one leaves no frames."""
    readers, refused = _open_readers(job.reuse, spec.layout), []
    requests = [_request(source, spec) for source in job.new]
    following = dict(zip(job.new, requests[1:], strict=False))
    for first in requests[:1]:
        decoder_of(spec.view).ahead(first)  # so that it is decoded while finished rows are copied
    for key, source in zip(job.keys, job.sources, strict=True):
        if key in job.reuse and _copied(part_writer, key, job.reuse[key], readers):
            continue
        try:
            with costing_one_file():
                with_second_try(partial(_add, part_writer, key, source, following.get(source), spec))
        except RejectedAudio as rejected:
            rejected.file = source.path
            refused.append(rejected)
    return refused


def _add(part_writer: PartWriter, key: str, source: Source, following: Request | None, spec: BuildSpec) -> None:
    """Add a recording; one that is refused, or decodes to its middle only, leaves no frames."""
    decoder = decoder_of(spec.view)
    part_writer.add(key, decode_quantized(decoder, _request(source, spec), source.duration_s, following))


def _request(source: Source, spec: BuildSpec) -> Request:
    path = absolute(source.path, spec.base)
    return quantized_request(path, spec.view, source.sha256, source.silence, source.read_as)


def _open_readers(reuse: Mapping[str, StoredRows], layout: Layout) -> dict[AnyPath, PartReader]:
    readers = {rows.old.folder: rows.old.reader(layout) for rows in reuse.values()}
    for folder, reader in readers.items():
        if not isinstance(folder, Path):
            with suppress(StoreError):
                reader.fetch()
    return readers


def _copied(part_writer: PartWriter, key: str, rows: StoredRows, readers: Mapping[AnyPath, PartReader]) -> bool:
    """Copy finished frames, unless a chunk is damaged: a copy would get a fresh checksum and hide that."""
    with suppress(StoreError):
        part_writer.add(key, readers[rows.old.folder].rows(rows.start, rows.frames))
        return True
    return False
