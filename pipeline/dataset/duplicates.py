"""Files that hold the same sound: one recording in another container, with other tags, under another name.

Same means sample by sample, after decoding: a FLAC file of a WAV file, an Ogg file with another serial number, a
stereo file of two equal channels. What was encoded anew with losses, resampled, cut or made louder is another sound.

Only files that could be the same are decoded: those of equal length and rate, first their openings, and of those
whose openings agree the rest. Recordings of a library mostly differ in length by some sample, so that few are.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from birdcache.audio.decoder import decoder, with_second_try
from birdcache.audio.rejected import RejectedAudio
from birdcache.params.sections import MachineParams
from birdcache.progress import Progress
from birdcache.storage import absolute
from cache.tables import Col
from pipeline.builder.parallel import run_unordered

OPENINGS = (2**12, 2**17)  # samples: 0.1 s and 4 s at 32 kHz; few files agree in the first, and few of these differ
BATCH_FILES = 16  # per task of a worker
FACTS = [Col.PATH, Col.SHA256, Col.DURATION_S, Col.SAMPLE_RATE_HZ, Col.READ_AS]
Suspect = tuple[str, float, str, str]  # path, duration in seconds, how it is read, SHA-256 of the file's bytes


def with_sounds(tables: Sequence[pd.DataFrame], machine: MachineParams) -> list[pd.DataFrame]:
    """The tables with a column `sound` (`same_sounds`, over all of them), "" for files that were refused.

    Parameters
    ----------
    tables : of scanned files, with path and the columns of `pipeline.dataset.scan.Scan`.
    """
    files = pd.concat([table.loc[table[Col.CODE] == "", FACTS] for table in tables], ignore_index=True)
    sounds = iter(same_sounds(files, machine))
    return [table.assign(sound=[next(sounds) if code == "" else "" for code in table[Col.CODE]]) for table in tables]


def same_sounds(files: pd.DataFrame, machine: MachineParams) -> pd.Series[str]:
    """SHA-256 of the first file, in order of SHA-256, that holds the same sound as each file.

    Parameters
    ----------
    files : files that can be used: path, sha256, duration_s, sample_rate_hz.
    machine : its workers decode. The result does not depend on them.

    Returns
    -------
    The file's own SHA-256 for most, also for one that does not decode: it is refused when it is stored.
    """
    contents = files.drop_duplicates(Col.SHA256).set_index(Col.SHA256)
    duration = contents[Col.DURATION_S].astype(float).map(float.hex).astype(str)
    key = contents[Col.SAMPLE_RATE_HZ].astype(str) + " " + duration
    for samples in (*OPENINGS, None):
        suspects = contents[key.duplicated(keep=False)]
        sounds = _sounds(suspects, samples, machine)
        key = key.where(~key.index.isin(suspects.index), key + " " + sounds)
    first = key.index.to_series().groupby(key).transform("min")
    return files[Col.SHA256].map(first).astype(str)


def _sounds(suspects: pd.DataFrame, samples: int | None, machine: MachineParams) -> pd.Series[str]:
    """Digest of the sound of each file, by its SHA-256."""
    found: dict[str, str] = {}
    if len(suspects):
        columns = (suspects[name] for name in (Col.PATH, Col.DURATION_S, Col.READ_AS))
        files = list(zip(*columns, suspects.index, strict=True))
        base = os.fspath(Path.cwd())
        starts = range(0, len(files), BATCH_FILES)
        tasks = ((_batch_sounds, (files[start : start + BATCH_FILES], samples, base)) for start in starts)
        with Progress(len(files), "compare openings" if samples else "compare sounds", "files") as progress:
            for batch in run_unordered(tasks, machine, decoding=True):
                found |= batch
                progress.update(len(batch))
    return pd.Series(found, index=suspects.index, dtype=str)


def _batch_sounds(files: Sequence[Suspect], samples: int | None, base: str) -> dict[str, str]:
    return {file[-1]: _sound(file, samples, base) for file in files}


def _sound(file: Suspect, samples: int | None, base: str) -> str:
    path, duration_s, read_as, sha256 = file
    try:
        return with_second_try(partial(decoder().sound, absolute(path, base), duration_s, sha256, samples, read_as))
    except RejectedAudio:
        return sha256
