"""The audio files that stage `spectrograms` will read, as far as known before stage `recordings` runs."""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from birdcache.arrays import spread
from birdcache.audio.decoder import decoder
from birdcache.errors import PipelineError
from birdcache.params.sections import DataParams
from birdcache.storage import AnyPath, place, reaching, remote
from cache import tables
from cache.csv_files import CsvTable
from cache.report_tables import REFUSED
from cache.tables import Col
from pipeline.builder.plan import Source
from pipeline.dataset.metadata import Metadata
from pipeline.dataset.scan import scan_file
from pipeline.dataset.sources import SAME_SOUND, roots
from pipeline.recordings import SUMMARY
from pipeline.spectrograms import read_sources

SAMPLE_FILES = 64  # headers from which the hours of all files are estimated
CHANGEABLE = {"too-short", "too-long", "no-end", "unreadable"}  # by params.yaml and rights, without another file
SCANNED_BYTES = 2 * 10**9  # up to this size, new files are hashed; above, estimated


@dataclass(frozen=True)
class FileStat:
    """Size of a file, and its time of writing in seconds since 1970."""

    bytes: int
    written_s: float


@dataclass(frozen=True)
class UnknownFiles:
    """Files of unknown content: estimated number and duration of usable ones, and the sample behind the estimate."""

    files: int = 0
    duration_s: float = 0.0
    sample: tuple[str, ...] = ()


@dataclass(frozen=True)
class StoreAudio:
    """The audio of one store."""

    sources: tuple[Source, ...]  # files of known content, each content once
    unknown: UnknownFiles = UnknownFiles()  # the other files
    # new and gone: names of files that are new or changed, and of missing ones, since the last run of stage
    # `recordings`; empty if it never ran
    new: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()


def listed_audio() -> dict[str, StoreAudio]:
    """Recordings and soundscapes in the tables of stage `recordings`."""
    listed = {"recordings": tables.AUDIO, "soundscapes": tables.SOUNDSCAPES}
    return {store: StoreAudio(tuple(read_sources(table))) for store, table in listed.items()}


def expected_audio(data: DataParams, metadata: Metadata) -> dict[str, StoreAudio]:
    """Recordings and soundscapes that stage `recordings` will find in its next run.

    Files in its tables that are older than these count as unchanged. A few new files are scanned; the duration of many
    is estimated from the headers of some.
    """
    recordings = dict(zip(metadata.recordings[Col.RECORDING], metadata.recordings[Col.PATH], strict=True))
    soundscapes = {name: path.as_posix() for name, path in metadata.soundscapes.items()}
    paths = [*recordings.values(), *soundscapes.values()]
    files = {path: facts for root in roots(data).values() for path, facts in list_files(place(root), paths).items()}
    return {
        "recordings": _expected(recordings, tables.RECORDINGS, Col.RECORDING, data, files),
        "soundscapes": _expected(soundscapes, tables.SOUNDSCAPES, Col.SOUNDSCAPE, data, files),
    }


def list_files(root: AnyPath, paths: Iterable[str]) -> dict[str, FileStat]:
    """Size and time of all existing files; those below a remote root come from a single listing."""
    if isinstance(root, Path):
        there = {path: Path(path).stat() for path in paths if Path(path).exists()}
        return {path: FileStat(facts.st_size, facts.st_mtime) for path, facts in there.items()}
    service: Any = root.fs
    with reaching(root):
        found = service.find(root.path, detail=True)
    facts_of = {path: found[remote(path).path] for path in paths if remote(path).path in found}
    return {path: FileStat(int(facts["size"]), _written_s(facts)) for path, facts in facts_of.items()}


def _written_s(facts: Mapping[str, Any]) -> float:
    """Time of writing of a remote file, in seconds since 1970; its key depends on the service, and 0 means unknown."""
    times = (facts.get(name) for name in ("LastModified", "last_modified", "mtime", "created"))
    time = next((time for time in times if time is not None), 0.0)
    return time.timestamp() if isinstance(time, datetime) else float(time)


def _expected(
    paths: Mapping[str, str], table: CsvTable, name_column: str, data: DataParams, files: Mapping[str, FileStat]
) -> StoreAudio:
    """Divide the files {name: path} of a data set into known and new ones by the table of the last run."""
    known, since = _read_known(table, name_column, data), table.path.exists()
    written_s = table.path.stat().st_mtime if since else 0.0
    barred = _without_end(name_column) if known and data.no_end == "refuse" else frozenset()
    there = {name: path for name, path in paths.items() if path in files}  # stage `recordings` leaves out the others
    gone = tuple(name for name in known if name not in there)
    left_out = _left_out(gone) if since else frozenset()
    seen = {name for name, path in there.items() if files[path].written_s <= written_s}
    new = {name: path for name, path in there.items() if name not in seen or not (name in known or path in left_out)}
    unchanged = known.keys() - new.keys() - barred
    sources = [replace(known[name], path=path) for name, path in there.items() if name in unchanged]
    sources = [each for each in sources if data.shortest_s <= each.duration_s <= data.longest_s]
    sizes = {path: files[path].bytes for path in new.values()}
    is_many = len(new) > SAMPLE_FILES or sum(sizes.values()) > SCANNED_BYTES
    scanned = {} if is_many else {name: scan_file(place(path), data) for name, path in new.items()}
    usable = {
        name: Source(scan.sha256, new[name], scan.duration_s, read_as=scan.read_as)
        for name, scan in scanned.items()
        if not scan.code
    }
    distinct = {source.sha256: source for source in (*sources, *usable.values())}
    unknown = _estimate(sizes, data) if is_many else UnknownFiles()
    changed = tuple(new if is_many else usable) if since else ()
    return StoreAudio(tuple(distinct.values()), unknown, changed, gone)


def _read_known(table: CsvTable, name_column: str, data: DataParams) -> dict[str, Source]:
    """The content of each file in a table of the last run, but for those of other roots; empty without a table."""
    contents = tables.AUDIO if table is tables.RECORDINGS else table
    if not (table.path.exists() and contents.path.exists()):
        return {}
    folders = tuple(f"{place(root).as_posix()}/" for root in roots(data).values())
    here = {source.sha256: source for source in read_sources(contents) if source.path.startswith(folders)}
    rows = table.read(name_column, Col.SHA256).itertuples(index=False, name=None)
    return {name: here[sha256] for name, sha256 in rows if sha256 in here}


def _left_out(gone: Collection[str]) -> frozenset[str]:
    """Files that the last run left out and the next one will: not for limits and rights, or the sound of one `gone`."""
    if not REFUSED.path.exists():
        return frozenset()
    rows = REFUSED.read(Col.FILE, Col.CODE, Col.DETAIL)
    is_open = rows[Col.CODE].isin(CHANGEABLE) | rows[Col.DETAIL].isin([f"{SAME_SOUND} {name}" for name in gone])
    return frozenset(rows.loc[~is_open, Col.FILE])


def _without_end(name_column: str) -> frozenset[str]:
    """Files of the last run without an end mark; empty if that is unknown."""
    try:
        summary = json.loads(SUMMARY.read_text(encoding="utf-8"))
        return frozenset(summary["no_end"] if name_column == Col.RECORDING else summary["soundscapes"]["no_end"])
    except (OSError, ValueError, KeyError):
        return frozenset()


def _estimate(sizes: Mapping[str, int], data: DataParams) -> UnknownFiles:
    """Estimate the duration of many files {path: bytes} from the seconds per byte of a sample."""
    paths = list(sizes)
    sample = spread(paths, SAMPLE_FILES)
    durations_s = {path: _duration_s(path, data) for path in sample}
    usable = {path: duration_s for path, duration_s in durations_s.items() if duration_s is not None}
    all_bytes, sample_bytes = (sum(sizes[path] for path in each) for each in (paths, sample))
    return UnknownFiles(
        round(len(paths) * len(usable) / len(sample)),
        sum(usable.values()) * all_bytes / max(sample_bytes, 1),
        tuple(usable),
    )


def _duration_s(path: str, data: DataParams) -> float | None:
    try:
        duration_s = decoder().info(place(path)).duration_s
    except PipelineError:
        return None
    return duration_s if data.shortest_s <= duration_s <= data.longest_s else None
