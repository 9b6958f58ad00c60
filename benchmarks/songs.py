"""Recordings for benchmarks: chirps in noise, and many files of different content that are cheap to make."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
import soxr

from birdcache.audio.read import RESAMPLER_QUALITY, content_sha256, read_info
from pipeline.builder.plan import Source
from pipeline.synthetic.ogg import with_serial

READ_SAMPLES = 2**16


def write_song(path: Path, seconds: int, rate_hz: int, seed: int = 1) -> Path:
    """Write chirps in noise, a second at a time, in the format of the file's extension."""
    rng = np.random.default_rng(seed)
    time_S = np.arange(rate_hz) / rate_hz
    subtype = {".ogg": "VORBIS", ".wav": "PCM_16"}[path.suffix]
    with soundfile.SoundFile(path, "w", rate_hz, 1, subtype) as file:
        for second in range(seconds):
            phase_S = 2 * np.pi * (3000 * time_S + 200 * np.sin(5 * (time_S + second)))
            song_S = 0.2 * np.sin(phase_S) + 0.02 * rng.standard_normal(rate_hz)
            file.write(song_S.astype(np.float32))
    return path


def write_many(folder: Path, count: int, seconds: int, rate_hz: int) -> list[Source]:
    """Write files that differ in content (their Ogg serial number) but are equally costly to decode."""
    folder.mkdir()
    whole = write_song(folder / "song.ogg", seconds, rate_hz)
    content = whole.read_bytes()
    whole.unlink()
    paths = [folder / f"XC{number}.ogg" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(with_serial(content, number))
    return listed(paths)


def decode(path: Path) -> None:
    """Decode with soundfile, block by block."""
    with soundfile.SoundFile(path) as file:
        while len(file.read(READ_SAMPLES, dtype="float32")):
            pass


def decode_and_resample(path: Path, rate_hz: int = 32000) -> None:
    """Decode and resample with soundfile and soxr, block by block."""
    with soundfile.SoundFile(path) as file:
        stream = soxr.ResampleStream(file.samplerate, rate_hz, 1, dtype="float32", quality=RESAMPLER_QUALITY)
        while len(block_S := file.read(READ_SAMPLES, dtype="float32")):
            stream.resample_chunk(block_S)
        stream.resample_chunk(block_S, last=True)


def listed(paths: Sequence[Path]) -> list[Source]:
    """Files as stage `recordings` lists them."""
    return [Source(content_sha256(path), str(path), read_info(path).duration_s) for path in paths]
