"""Header and content hash of many audio files at once, and which of them cannot be used."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from cache.places import Place, absolute
from params import DataParams, MachineParams
from pipeline.audio import content_sha256, fetched, is_cut_short, read_header
from pipeline.errors import PipelineError
from pipeline.workers import run_unordered
from progress import Progress

BATCH_FILES = 64  # per task of a worker: a file takes a millisecond, a task's way there and back several


@dataclass(frozen=True)
class Scan:
    """What one file holds; `problem` says why it cannot be used, "" if it can, then the rest holds."""

    sha256: str = ""
    duration_s: float = 0.0
    sample_rate_hz: int = 0
    channels: int = 0
    cut_short: bool = False
    problem: str = ""


def scan_files(paths: Sequence[str], data: DataParams, machine: MachineParams, what: str) -> pd.DataFrame:
    """Scan files in parallel processes.

    Parameters
    ----------
    paths
        The files or URLs, as openable from here.
    data
        Its shortest_s and longest_s bound what is usable.
    machine
        Its workers, backend and scheduler. The result does not depend on them.
    what
        The title of the progress bar.

    Returns
    -------
    One row per path, in their order, with the fields of `Scan` as columns.
    """
    if not paths:
        return pd.DataFrame(columns=list(Scan.__dataclass_fields__))
    base = os.fspath(Path.cwd())
    starts = range(0, len(paths), BATCH_FILES)
    limits = data.shortest_s, data.longest_s
    tasks = ((_scan_batch, (start, paths[start : start + BATCH_FILES], base, *limits)) for start in starts)
    scans: dict[int, list[Scan]] = {}
    with Progress(len(paths), what, "files") as progress:
        for start, batch in run_unordered(tasks, machine):
            scans[start] = batch
            progress.update(len(batch))
    return pd.DataFrame([asdict(scan) for start in starts for scan in scans[start]])


def _scan_batch(
    start: int, paths: Sequence[str], base: str, shortest_s: float, longest_s: float
) -> tuple[int, list[Scan]]:
    return start, [scan_file(absolute(path, base), shortest_s, longest_s) for path in paths]


def scan_file(path: Place, shortest_s: float, longest_s: float) -> Scan:
    """Scan one file; one that cannot be used gives a `Scan` with its problem, never an exception.

    Raises
    ------
    StoreError
        If a remote file's service cannot be reached, which says nothing about the file.
    """
    local = path  # errors begin with the name of what was being read
    try:
        with fetched(path) as local:
            header = read_header(local)
            if not shortest_s <= header.duration_s <= longest_s:
                return Scan(problem=_length_problem(header.duration_s, shortest_s, longest_s))
            facts = header.duration_s, header.sample_rate_hz, header.channels
            return Scan(content_sha256(local), *facts, is_cut_short(local))
    except PipelineError as error:
        return Scan(problem=str(error).removeprefix(f"{local}: "))


def _length_problem(duration_s: float, shortest_s: float, longest_s: float) -> str:
    if duration_s < shortest_s:
        return f"lasts {duration_s:.3g} s, less than data.shortest_s ({shortest_s:g} s); lower that or remove it"
    return f"lasts {duration_s:.6g} s, more than data.longest_s ({longest_s:g} s); raise that or cut the file"
