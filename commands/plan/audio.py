"""The audio files that stage `spectrograms` will be given, as known before stage `recordings` has run."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from birdcache.audio.decoder import decoder
from birdcache.errors import PipelineError
from birdcache.params.sections import DataParams
from birdcache.storage import AnyPath, place, reaching, remote
from cache import tables
from cache.csv_files import CsvTable
from cache.tables import Col
from pipeline.build.plan import Source
from pipeline.dataset.metadata import read_metadata
from pipeline.dataset.scan import scan_file
from pipeline.recordings import SUMMARY
from pipeline.spectrograms import read_sources

SAMPLE_FILES = 64  # so many headers tell the hours of all files
SCANNED_BYTES = 2 * 10**9  # so much is hashed to know exactly what is new; more is estimated
T = TypeVar("T")


@dataclass(frozen=True)
class File:
    """Size of a file, and when it was written, in seconds since 1970."""

    bytes: int
    written_s: float


@dataclass(frozen=True)
class Unseen:
    """Files whose content is not known yet: how many can be used, their seconds by a sample, and that sample."""

    files: int = 0
    duration_s: float = 0.0
    sample: tuple[str, ...] = ()


@dataclass(frozen=True)
class Audio:
    """The audio of one store.

    Attributes
    ----------
    sources
        Files of known content, each content once.
    unseen
        The others.
    new, gone
        Names of files that are new or changed, and of those that are no longer there, since stage `recordings` ran;
        none if it never ran.
    """

    sources: tuple[Source, ...]
    unseen: Unseen = Unseen()
    new: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()


def listed_audio() -> dict[str, Audio]:
    """Recordings and soundscapes of the tables that stage `recordings` wrote."""
    return {
        "recordings": Audio(tuple(read_sources(tables.AUDIO))),
        "soundscapes": Audio(tuple(read_sources(tables.SOUNDSCAPES))),
    }


def expected_audio(data: DataParams) -> dict[str, Audio]:
    """Recordings and soundscapes that stage `recordings` will find when it runs.

    Files that its tables name and that are older than these are taken to be as they were. New ones are scanned if
    they are few; else their hours follow from the headers of some.

    Raises
    ------
    PipelineError
        If the data set's own tables cannot be read, as stage `recordings` would.
    """
    metadata = read_metadata(data)
    recordings = dict(zip(metadata.recordings[Col.RECORDING], metadata.recordings[Col.PATH], strict=True))
    soundscapes = {path.stem: path.as_posix() for path in metadata.soundscapes}
    files = list_files(place(data.root), [*recordings.values(), *soundscapes.values()])
    return {
        "recordings": _expected(recordings, tables.RECORDINGS, Col.RECORDING, data, files),
        "soundscapes": _expected(soundscapes, tables.SOUNDSCAPES, Col.SOUNDSCAPE, data, files),
    }


def list_files(root: AnyPath, paths: Iterable[str]) -> dict[str, File]:
    """Size and time of those of the files that are there; below a remote root all come by a single listing."""
    if isinstance(root, Path):
        return {path: File(facts.st_size, facts.st_mtime) for path in paths if (facts := _stat(path)) is not None}
    service: Any = root.fs
    with reaching(root):
        found = service.find(root.path, detail=True)
    facts_of = {path: found[remote(path).path] for path in paths if remote(path).path in found}
    return {path: File(int(facts["size"]), _written_s(facts)) for path, facts in facts_of.items()}


def _stat(path: str) -> os.stat_result | None:
    try:
        return Path(path).stat()
    except OSError:
        return None


def _written_s(facts: Mapping[str, Any]) -> float:
    """When a remote file was written, in seconds since 1970; services name it differently, and some do not say."""
    times = (facts.get(name) for name in ("LastModified", "last_modified", "mtime", "created"))
    time = next((time for time in times if time is not None), 0.0)
    return time.timestamp() if isinstance(time, datetime) else float(time)


def spread(items: Sequence[T], count: int) -> list[T]:
    """At most `count` of the items, evenly spread from the first to the last."""
    places = np.linspace(0, len(items) - 1, min(count, len(items)))
    return [items[round(place)] for place in places]


def _expected(
    paths: Mapping[str, str], table: CsvTable, name_column: str, data: DataParams, files: Mapping[str, File]
) -> Audio:
    """Sort the files {name: path} of a data set into known and new ones by the table of the last run."""
    known = _read_known(table, name_column)
    written_s = table.path.stat().st_mtime if known else 0.0
    barred = _without_end(name_column) if known and data.no_end == "refuse" else frozenset()
    there = {name: path for name, path in paths.items() if path in files}  # stage `recordings` leaves the others out
    new = {name: path for name, path in there.items() if name not in known or files[path].written_s > written_s}
    sources = [
        Source(known[name][0], path, known[name][1])
        for name, path in there.items()
        if name not in new and name not in barred and data.shortest_s <= known[name][1] <= data.longest_s
    ]
    gone, since = tuple(name for name in known if name not in there), table.path.exists()
    if len(new) > SAMPLE_FILES or sum(files[path].bytes for path in new.values()) > SCANNED_BYTES:
        unseen = _estimate({path: files[path].bytes for path in new.values()}, data)
        return Audio(_distinct(sources), unseen, tuple(new) if since else (), gone)
    scanned = {name: _scan(path, data) for name, path in new.items()}
    usable = {name: source for name, source in scanned.items() if source is not None}
    return Audio(_distinct([*sources, *usable.values()]), new=tuple(usable) if since else (), gone=gone)


def _read_known(table: CsvTable, name_column: str) -> dict[str, tuple[str, float]]:
    """SHA-256 and duration in seconds of each file that a table of the last run names; none if there is no table."""
    if not table.path.exists():
        return {}
    rows = table.read(name_column, Col.SHA256, Col.DURATION_S)
    return dict(zip(rows[name_column], zip(rows[Col.SHA256], rows[Col.DURATION_S], strict=True), strict=True))


def _without_end(name_column: str) -> frozenset[str]:
    """Files of the last run that do not say where they end; none if nothing tells."""
    try:
        told = json.loads(SUMMARY.read_text(encoding="utf-8"))
        return frozenset(told["no_end"] if name_column == Col.RECORDING else told["soundscapes"]["no_end"])
    except (OSError, ValueError, KeyError):
        return frozenset()


def _distinct(sources: Sequence[Source]) -> tuple[Source, ...]:
    return tuple({source.sha256: source for source in sources}.values())


def _scan(path: str, data: DataParams) -> Source | None:
    scan = scan_file(place(path), data)
    return None if scan.code else Source(scan.sha256, path, scan.duration_s)


def _estimate(sizes: Mapping[str, int], data: DataParams) -> Unseen:
    """Seconds of many files {path: bytes} by the headers of some: those of a byte of the sample times all bytes."""
    paths = list(sizes)
    looked_at = spread(paths, SAMPLE_FILES)
    durations_s = {path: _duration_s(path, data) for path in looked_at}
    usable = {path: duration_s for path, duration_s in durations_s.items() if duration_s is not None}
    all_bytes, looked_at_bytes = (sum(sizes[path] for path in each) for each in (paths, looked_at))
    return Unseen(
        round(len(paths) * len(usable) / len(looked_at)),
        sum(usable.values()) * all_bytes / max(looked_at_bytes, 1),
        tuple(usable),
    )


def _duration_s(path: str, data: DataParams) -> float | None:
    try:
        duration_s = decoder().info(place(path)).duration_s
    except PipelineError:
        return None
    return duration_s if data.shortest_s <= duration_s <= data.longest_s else None
