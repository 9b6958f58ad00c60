"""Files that hold the same sound: one recording in another container, with other tags, under another name.

Same means sample by sample, after decoding: a FLAC file of a WAV file, an Ogg file with another serial number, a
stereo file of two equal channels. What was encoded anew with losses, resampled, cut or made louder is another sound.

Only files that could be the same are decoded: those of equal length and rate, first their beginnings, and of those
whose beginnings agree the rest. Recordings of a library mostly differ in length by some sample, so that few are.
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

BEGINNING_BLOCKS = 1  # of `birdcache.audio.read.BLOCK_SAMPLES`: 4 s at 32 kHz
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
    key = contents[Col.SAMPLE_RATE_HZ].astype(str) + " " + contents[Col.DURATION_S].astype(float).map(float.hex)
    for blocks, what in ((BEGINNING_BLOCKS, "compare openings"), (None, "compare sounds")):
        suspects = contents[key.duplicated(keep=False)]
        sounds = _sounds(suspects, blocks, machine, what)
        key = key.where(~key.index.isin(suspects.index), key + " " + sounds)
    first = key.index.to_series().groupby(key).transform("min")
    return files[Col.SHA256].map(first).astype(str)


def _sounds(suspects: pd.DataFrame, blocks: int | None, machine: MachineParams, what: str) -> pd.Series[str]:
    """Digest of the sound of each file, by its SHA-256."""
    found: dict[str, str] = {}
    if len(suspects):
        files = list(
            zip(suspects[Col.PATH], suspects[Col.DURATION_S], suspects[Col.READ_AS], suspects.index, strict=True)
        )
        base = os.fspath(Path.cwd())
        batches = (files[start : start + BATCH_FILES] for start in range(0, len(files), BATCH_FILES))
        with Progress(len(files), what, "files") as progress:
            for batch in run_unordered(((_batch_sounds, (batch, blocks, base)) for batch in batches), machine):
                found |= batch
                progress.update(len(batch))
    return pd.Series(found, index=suspects.index, dtype=str)


def _batch_sounds(files: Sequence[Suspect], blocks: int | None, base: str) -> dict[str, str]:
    return {file[-1]: _sound(file, blocks, base) for file in files}


def _sound(file: Suspect, blocks: int | None, base: str) -> str:
    path, duration_s, read_as, sha256 = file
    try:
        return with_second_try(partial(decoder().sound, absolute(path, base), duration_s, sha256, blocks, read_as))
    except RejectedAudio:
        return sha256
