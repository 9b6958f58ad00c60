"""Audio files: header, content hash, and the waveform at one sample rate.

Axes: S sample, C channel. Everything here names the file, the rule and the way out when a file is unusable.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from pipeline.errors import PipelineError

FloatArray = npt.NDArray[np.float32]

AUDIO_EXTENSIONS = (".ogg", ".wav", ".flac", ".mp3")
BLOCK_S = 10  # bounds the memory of a decoded block; the waveform does not depend on it
RESAMPLER_QUALITY = "HQ"
DECODER_VERSION = (
    f"libsndfile {soundfile.__libsndfile_version__}, "
    f"soxr {soxr.__libsoxr_version__} {RESAMPLER_QUALITY}, mean of channels"
)
_OGG_LONGEST_PAGE_BYTES = 27 + 255 + 255 * 255


@dataclass(frozen=True)
class Header:
    """What an audio file says about itself."""

    duration_s: float
    sample_rate_hz: int
    channels: int
    frames: int


def read_header(path: Path) -> Header:
    """Duration, sample rate and channels of an audio file, without decoding it.

    Raises
    ------
    PipelineError
        If the file cannot be read, is empty, is not audio, or holds no samples.
    """
    try:
        if path.stat().st_size == 0:
            raise PipelineError(f"{path}: is empty (0 bytes); fetch the file again or remove it from the data set")
        with path.open("rb") as file, _open_audio(file, path) as audio:
            return _header(audio, path)
    except OSError as error:
        raise PipelineError(_unreadable(path, error)) from error


def content_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits.

    Raises
    ------
    PipelineError
        If the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise PipelineError(_unreadable(path, error)) from error


def is_cut_short(path: Path) -> bool:
    """Whether an Ogg file lacks its end, as after a broken download: it decodes without an error, but too short.

    The last page of a whole Ogg stream carries the end-of-stream flag and all its bytes. Other formats, which
    report a missing end themselves or cannot know, give False.

    Source: RFC 3533, section 6.
    """
    with path.open("rb") as file:
        if file.read(4) != b"OggS":
            return False
        file.seek(max(0, path.stat().st_size - _OGG_LONGEST_PAGE_BYTES))
        tail = file.read()
    start = tail.rfind(b"OggS")
    if start < 0 or len(tail) < start + 27:
        return True
    segments = tail[start + 26]
    lengths = tail[start + 27 : start + 27 + segments]
    is_last, is_whole = tail[start + 5] & 4, len(tail) >= start + 27 + segments + sum(lengths)
    return not (is_last and len(lengths) == segments and is_whole)


def read_waveform(path: Path, sample_rate_hz: int, sha256: str | None = None) -> FloatArray:
    """Decode a whole file, mix its channels to one (mean) and resample it.

    Parameters
    ----------
    path
        An audio file; its bytes are read once, so what is hashed is what is decoded.
    sample_rate_hz
        The rate to resample to (soxr, high quality).
    sha256
        The content that stage `recordings` saw, or None to accept any.

    Returns
    -------
    (S,) float32, nominally within +-1; S = round(frames * sample_rate_hz / the file's rate).

    Raises
    ------
    PipelineError
        If the file cannot be read, has changed, is not audio, ends before its header says, or holds a
        sample that is not finite.
    """
    content = _read_bytes(path)
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise PipelineError(f"{path}: has changed since stage `recordings` read it; run `dvc repro`")
    with _open_audio(io.BytesIO(content), path) as audio:
        header = _header(audio, path)
        waveform_S = _resampled(_mono_blocks(audio, header, path), header, sample_rate_hz)
    if not np.isfinite(waveform_S).all():
        raise PipelineError(f"{path}: holds samples that are not finite numbers; mend the file or remove it")
    return waveform_S


def resampled_length(frames: int, rate_hz: int, sample_rate_hz: int) -> int:
    """Number of samples of `frames` samples at `rate_hz` once resampled: rounded to the nearest, at least one."""
    return max(1, (2 * frames * sample_rate_hz + rate_hz) // (2 * rate_hz))


def _resampled(blocks: Iterator[FloatArray], header: Header, sample_rate_hz: int) -> FloatArray:
    if header.sample_rate_hz == sample_rate_hz:
        return np.concatenate(list(blocks))
    stream = soxr.ResampleStream(header.sample_rate_hz, sample_rate_hz, 1, dtype="float32", quality=RESAMPLER_QUALITY)
    parts = [stream.resample_chunk(block_S) for block_S in blocks]
    parts.append(stream.resample_chunk(np.empty(0, np.float32), last=True))
    waveform_S: FloatArray = np.concatenate(parts)
    length = resampled_length(header.frames, header.sample_rate_hz, sample_rate_hz)
    return np.pad(waveform_S[:length], (0, max(0, length - len(waveform_S))))


def _mono_blocks(audio: Any, header: Header, path: Path) -> Iterator[FloatArray]:
    """Yield (S,) blocks of about `BLOCK_S` seconds, and check that they add up to the header's length."""
    decoded = 0
    try:
        while len(block_SC := audio.read(BLOCK_S * header.sample_rate_hz, dtype="float32", always_2d=True)):
            decoded += len(block_SC)
            yield block_SC.mean(axis=1, dtype=np.float32)
    except soundfile.SoundFileError as error:
        raise PipelineError(
            f"{path}: breaks off while decoding ({_reason(error)}); fetch it again or remove it"
        ) from error
    if decoded != header.frames:
        raise PipelineError(
            f"{path}: its header promises {header.frames} samples but {decoded} decode; fetch it again or remove it"
        )


def _open_audio(file: Any, path: Path) -> Any:
    try:
        return soundfile.SoundFile(file)
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: headerless samples, known by the name only
        raise PipelineError(
            f"{path}: is not audio that libsndfile can read ({_reason(error)}); "
            f"use {', '.join(AUDIO_EXTENSIONS)}, fetch it again, or remove it"
        ) from error


def _header(audio: Any, path: Path) -> Header:
    frames, rate_hz = int(audio.frames), int(audio.samplerate)
    if frames <= 0:
        raise PipelineError(f"{path}: holds no samples; fetch it again or remove it from the data set")
    return Header(frames / rate_hz, rate_hz, int(audio.channels), frames)


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PipelineError(_unreadable(path, error)) from error


def _unreadable(path: Path, error: OSError) -> str:
    return (
        f"{path}: cannot be read ({error.strerror}); restore the file or its permissions, or remove it from the table"
    )


def _reason(error: Exception) -> str:
    return str(getattr(error, "error_string", error)).strip().rstrip(".")
