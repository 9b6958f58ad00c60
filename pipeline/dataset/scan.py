"""Headers and content hashes of many audio files, and the reasons why some cannot be used."""

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from birdcache.audio.decoder import decoder, with_second_try
from birdcache.audio.notes import Note
from birdcache.audio.read import AudioInfo, content_sha256, fetched
from birdcache.audio.rejected import HINTS, RejectedAudio, costing_one_file
from birdcache.params.sections import DataParams, MachineParams
from birdcache.progress import Progress
from birdcache.storage import AnyPath, absolute
from pipeline.builder.parallel import run_unordered

BATCH_FILES = 32  # per task of a worker: a file takes a millisecond, a task's way to a cluster and back several


@dataclass(frozen=True)
class Scan:
    """Facts of one file, or the reason for its refusal: `code` is a key of `birdcache.audio.rejected.HINTS`, or ""."""

    sha256: str = ""
    duration_s: float = 0.0
    sample_rate_hz: int = 0
    channels: int = 0
    no_end: bool = False
    code: str = ""
    detail: str = ""
    hint: str = ""
    notes: tuple[Note, ...] = ()
    read_as: str = ""
    comment: str = ""


MISSING = Scan(code="unreadable", detail=f"cannot be read ({os.strerror(errno.ENOENT)})", hint=HINTS["unreadable"])


def scan_files(paths: Sequence[str], data: DataParams, machine: MachineParams, what: str) -> pd.DataFrame:
    """Scan files in parallel processes.

    Parameters
    ----------
    paths : the files or URLs, as openable from here.
    data : its shortest_s, longest_s and no_end say what is usable.
    machine : its workers, backend and scheduler. The result does not depend on them.
    what : the title of the progress bar.

    Returns
    -------
    One row per path, in their order, with the fields of `Scan` as columns.
    """
    if not paths:
        return pd.DataFrame(columns=list(Scan.__dataclass_fields__))
    base = os.fspath(Path.cwd())
    starts = range(0, len(paths), BATCH_FILES)
    tasks = ((_scan_batch, (start, paths[start : start + BATCH_FILES], base, data)) for start in starts)
    scans: dict[int, list[Scan]] = {}
    with Progress(len(paths), what, "files") as progress:
        for start, batch in run_unordered(tasks, machine, decoding=True):
            scans[start] = batch
            progress.update(len(batch))
    return pd.DataFrame([vars(scan) for start in starts for scan in scans[start]])


def _scan_batch(start: int, paths: Sequence[str], base: str, data: DataParams) -> tuple[int, list[Scan]]:
    return start, [scan_file(absolute(path, base), data) for path in paths]


def scan_file(path: AnyPath, data: DataParams) -> Scan:
    """Scan one file; one that cannot be used gives a `Scan` with its code, never an exception.

    A StoreError if a remote file's service cannot be reached, which says nothing about the file.
    """
    if isinstance(path, Path) and not os.path.lexists(path):  # a table may list a million of them: no decoder is asked
        return MISSING
    try:
        with costing_one_file(), fetched(path) as local:
            info = with_second_try(lambda: decoder().info(local))
            _check_choices(info, data)
            info = with_second_try(lambda: decoder().mixed(local, info))
            facts = info.duration_s, info.sample_rate_hz, info.channels
            return Scan(
                content_sha256(local), *facts, not info.ended, "", "", "", info.notes, info.read_as, info.comment
            )
    except RejectedAudio as rejected:
        return Scan(code=rejected.code, detail=rejected.detail, hint=rejected.hint)


def _check_choices(info: AudioInfo, data: DataParams) -> None:
    """Refuse what params.yaml says to leave out."""
    if not info.ended and data.no_end == "refuse":
        detail = "says nowhere that it ends here, as if the rest were missing; what is there is intact"
        raise RejectedAudio("no-end", detail)
    if info.duration_s < data.shortest_s:
        shortest = f"data.shortest_s ({data.shortest_s:g} s)"
        raise RejectedAudio("too-short", f"lasts {info.duration_s:.3g} s, less than {shortest}")
    if info.duration_s > data.longest_s:
        longest = f"data.longest_s ({data.longest_s:g} s)"
        raise RejectedAudio("too-long", f"lasts {info.duration_s:.6g} s, more than {longest}")
