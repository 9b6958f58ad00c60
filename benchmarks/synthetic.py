"""A project of N recordings without audio: their table, and a pool with a sparse file for each part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.timing import SHIPPED
from birdcache.files import checksummed_json, sha256_hex
from birdcache.params import load as params
from cache.keys import part_address, view_digest
from cache.part import METADATA, SHARD, write_metadata
from cache.part_writer import ROWS
from cache.pool import DIGEST_DIGITS, LocalPool
from cache.quantize import Quantizer
from cache.shard import CHECKSUM_BYTES, Layout, chunks_of, index_bytes
from cache.tables import AUDIO, Col
from pipeline.builder.frontend import value_range
from pipeline.builder.plan import PartJob, plan_jobs
from pipeline.spectrograms import read_sources

VIEW = params.load(SHIPPED).spectrograms["mel"]
DIGEST = view_digest(VIEW, 1, "synthetic")
QUANTIZER = Quantizer(VIEW.dtype, *value_range(VIEW))
LAYOUT = Layout.of(VIEW, QUANTIZER)
MEAN_S, LOG_SIGMA = 54.0, 0.9  # log-normal durations: 15,000 hours in a million recordings
NEW_SHARE = 0.01


def write_project(folder: Path, recordings: int) -> None:
    """Write folder/old.csv, folder/all.csv with 1 % more recordings, and folder/pool, which holds the old ones."""
    rng = np.random.default_rng(recordings)
    count = recordings + round(recordings * NEW_SHARE)
    digests = [row.tobytes().hex() for row in rng.integers(0, 256, (count, 32), np.uint8)]
    paths = [f"data/xeno-canto/train_audio/species{number % 10_000:04d}/XC{number}.ogg" for number in range(count)]
    seconds = np.clip(rng.lognormal(np.log(MEAN_S) - LOG_SIGMA**2 / 2, LOG_SIGMA, count), 0.5, 7200).round(2)
    table = pd.DataFrame({Col.SHA256: digests, Col.PATH: paths, Col.DURATION_S: seconds, Col.READ_AS: ""})
    AUDIO.at(folder / "all.csv").write(table)
    old = AUDIO.at(folder / "old.csv")
    old.write(table[:recordings])
    pool = LocalPool(folder / "pool", DIGEST)
    for job in plan_jobs(read_sources(old), VIEW, DIGEST, pool):
        _write_part(folder / "pool" / DIGEST[:DIGEST_DIGITS] / part_address(job.keys), job)


def _write_part(folder: Path, job: PartJob) -> None:
    """Write a finished part whose shard is a sparse file: of the right size, but without data."""
    frames = [VIEW.frames(source.duration_s) for source in job.sources]
    (folder / SHARD).parent.mkdir(parents=True)
    write_metadata(folder, sum(frames), LAYOUT)
    stride = LAYOUT.chunk_bytes + CHECKSUM_BYTES
    with (folder / SHARD).open("wb") as file:
        file.truncate(chunks_of(sum(frames)) * stride + index_bytes(sum(frames)))
    files = {
        name.as_posix(): {"bytes": (folder / name).stat().st_size, "sha256": sha256_hex(f"{job.name}{name}".encode())}
        for name in (METADATA, SHARD)
    }
    rows = {"keys": list(job.keys), "frames": frames, "files": files}
    (folder / ROWS).write_bytes(checksummed_json(rows, canonical=True))
