"""Planning and looking up for a million recordings, by the fast code, against slow and obvious references."""

from __future__ import annotations

import os
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from benchmarks import scale
from benchmarks.synthetic import DIGEST, QUANTIZER, VIEW, write_project
from cache import keys
from cache.keys import content_key, part_bits, part_name
from cache.pool import LocalPool
from cache.store import Store
from cache.store_writer import NamedPart, commit_store
from cache.tables import AUDIO
from pipeline.builder.plan import PartJob, Source, StoredRows, finished_rows, plan_jobs
from pipeline.spectrograms import read_sources

RECORDINGS = 3000


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic project of 3,000 recordings, all of them in its pool, and 30 new ones."""
    folder = tmp_path_factory.mktemp("synthetic")
    write_project(folder, RECORDINGS)
    return folder


def slow_plan(sources: Sequence[Source], finished: Mapping[str, StoredRows], bits: int) -> list[PartJob]:
    """Each recording by itself into the part that its key names."""
    parts: defaultdict[str, list[tuple[str, Source]]] = defaultdict(list)
    for source in sources:
        key = content_key(source.sha256, DIGEST)
        parts[part_name(key, bits)].append((key, source))
    jobs = []
    for name in sorted(parts):
        members = sorted(parts[name], key=lambda member: member[0])
        reuse = {key: finished[key] for key, _ in members if key in finished}
        jobs.append(PartJob(name, tuple(key for key, _ in members), tuple(source for _, source in members), reuse))
    return jobs


@pytest.mark.parametrize("bits", [1, 3, 8, 12])
def test_plan_is_that_of_one_recording_after_another(project: Path, bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "FEWEST_PART_BITS", bits)
    monkeypatch.setattr(keys, "MOST_PART_BITS", bits)
    pool = LocalPool(project / "pool", DIGEST)
    sources = read_sources(AUDIO.at(project / "all.csv"))
    random.Random(1).shuffle(sources)
    planned = plan_jobs(sources, VIEW, DIGEST, pool)
    assert planned == slow_plan(sources, finished_rows(pool.parts()), bits)
    assert sum(len(job.new) for job in planned) == len(sources) - RECORDINGS
    assert sum(len(job.keys) for job in planned) == len(sources)


def test_size_of_the_store_decides_how_many_parts_it_has(project: Path, tmp_path: Path) -> None:
    sources = read_sources(AUDIO.at(project / "old.csv"))
    frames = sum(VIEW.frames(source.duration_s) for source in sources)
    names = {job.name for job in plan_jobs(sources, VIEW, DIGEST, LocalPool(tmp_path, DIGEST))}
    assert len(names) == 2 ** part_bits(frames * VIEW.n_mels * 2)


def test_no_recordings_need_no_parts(tmp_path: Path) -> None:
    assert plan_jobs([], VIEW, DIGEST, LocalPool(tmp_path, DIGEST)) == []


def test_finished_rows_follow_each_other_in_their_part(project: Path) -> None:
    parts = LocalPool(project / "pool", DIGEST).parts()
    finished = finished_rows(parts)
    assert len(finished) == RECORDINGS
    for part in parts:
        start = 0
        for key, frames in zip(part.keys, part.frames, strict=True):
            rows = finished[key]
            assert (rows.old.folder, rows.start, rows.frames) == (part.folder, start, frames)
            start += frames


def test_rows_are_found_as_one_by_one(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    pool = LocalPool(project / "pool", DIGEST)
    for part in pool.parts():
        pool.trust(part)
    jobs = plan_jobs(read_sources(AUDIO.at(project / "old.csv")), VIEW, DIGEST, pool)
    found = [(job, pool.find(job.keys)) for job in jobs]
    parts = [NamedPart(job.name, part, tuple(each.sha256 for each in job.sources)) for job, part in found if part]
    commit_store(project / "mel.zarr", VIEW, DIGEST, QUANTIZER, parts)
    store = Store(project / "mel.zarr")
    order = [source.sha256 for job in jobs for source in job.sources]
    asked = [source.sha256 for source in read_sources(AUDIO.at(project / "all.csv"))] * 2
    asked += ["0" * 64, "f" * 64, order[0][:-2] + "00", ""]
    random.Random(1).shuffle(asked)
    row_of = {sha256: row for row, sha256 in enumerate(order)}
    assert store.rows_of(asked).tolist() == [row_of.get(sha256, -1) for sha256 in asked]
    assert store.rows_of([]).tolist() == []
    frames = [VIEW.frames(source.duration_s) for job in jobs for source in job.sources]
    assert store.frames.tolist() == frames
    assert store.first_frame.tolist() == (np.cumsum(frames) - frames).tolist()


def test_benchmark_measures_every_phase(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    numbers = {name: value for phase in scale.PHASES.values() for name, value in phase().items()}
    assert numbers["to_decode"] == RECORDINGS + RECORDINGS // 100
    assert numbers["to_decode_on_top"] == RECORDINGS // 100
    assert numbers["found"] == RECORDINGS
    assert min(value for name, value in numbers.items() if name.endswith("_s")) > 0
    ratios = scale.growth({"10k": 1.0, "100k": 11.0, "1m": 99.0})
    assert ratios == {"cpu_100k_vs_10k": 11.0, "cpu_1m_vs_100k": 9.0, "linear": 11.0}
    assert scale.growth({"10k": 1.0}) == {}
