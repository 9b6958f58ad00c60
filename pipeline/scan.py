"""Header and content hash of many audio files at once, and which of them cannot be used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import joblib
import pandas as pd

from params import DataParams
from pipeline.audio import content_sha256, is_cut_short, read_header
from pipeline.errors import PipelineError
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


def scan_files(paths: Sequence[str], data: DataParams, workers: int, what: str) -> pd.DataFrame:
    """Scan files in parallel processes.

    Parameters
    ----------
    paths
        The files, as openable from here.
    data
        Its shortest_s and longest_s bound what is usable.
    workers
        Processes; 0 = one per core. The result does not depend on it.
    what
        The title of the progress bar.

    Returns
    -------
    One row per path, in their order, with the fields of `Scan` as columns.
    """
    if not paths:
        return pd.DataFrame(columns=list(Scan.__dataclass_fields__))
    batches = [paths[start : start + BATCH_FILES] for start in range(0, len(paths), BATCH_FILES)]
    processes = min(workers or joblib.cpu_count(), len(batches))
    scans: list[Scan] = []
    with Progress(len(paths), what, "files") as progress:
        run = joblib.Parallel(n_jobs=processes, return_as="generator")
        limits = data.shortest_s, data.longest_s
        for batch in run(joblib.delayed(_scan_batch)(paths, *limits) for paths in batches):
            scans += batch
            progress.update(len(batch))
    return pd.DataFrame([asdict(scan) for scan in scans])


def _scan_batch(paths: Sequence[str], shortest_s: float, longest_s: float) -> list[Scan]:
    return [scan_file(Path(path), shortest_s, longest_s) for path in paths]


def scan_file(path: Path, shortest_s: float, longest_s: float) -> Scan:
    """Scan one file; a file that cannot be used gives a `Scan` with its problem, never an exception."""
    try:
        header = read_header(path)
        if not shortest_s <= header.duration_s <= longest_s:
            return Scan(problem=_length_problem(header.duration_s, shortest_s, longest_s))
        return Scan(content_sha256(path), header.duration_s, header.sample_rate_hz, header.channels, is_cut_short(path))
    except PipelineError as error:
        return Scan(problem=str(error).removeprefix(f"{path}: "))


def _length_problem(duration_s: float, shortest_s: float, longest_s: float) -> str:
    if duration_s < shortest_s:
        return f"lasts {duration_s:.3g} s, less than data.shortest_s ({shortest_s:g} s); lower that or remove it"
    return f"lasts {duration_s:.6g} s, more than data.longest_s ({longest_s:g} s); raise that or cut the file"
