"""Audio files: header, content hash, and the waveform at one sample rate.

Axes: S sample, C channel. Everything here names the file, the rule and the way out when a file is unusable.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from cache.places import Place, reaching
from pipeline.errors import PipelineError

FloatArray = npt.NDArray[np.float32]

AUDIO_EXTENSIONS = (".ogg", ".wav", ".flac", ".mp3")
BLOCK_SAMPLES = 2**17  # decoded at a time: stays in the processor's cache; the waveform does not depend on it
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


def read_waveform(path: Place, sample_rate_hz: int, sha256: str | None = None) -> FloatArray:
    """Decode a whole file, mix its channels to one (mean) and resample it.

    Parameters
    ----------
    path
        An audio file, local or remote; it is fetched or opened once, so what is hashed is what is decoded.
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
    waveform_S = np.concatenate(list(waveform_blocks(path, sample_rate_hz, sha256)))
    if not np.isfinite(waveform_S).all():
        raise PipelineError(f"{path}: holds samples that are not finite numbers; mend the file or remove it")
    return waveform_S


def waveform_blocks(path: Place, sample_rate_hz: int, sha256: str | None = None, room: int = 0) -> Iterator[FloatArray]:
    """As `read_waveform`, in pieces of about `BLOCK_SAMPLES`, which are not looked at for finite numbers.

    Each piece is (room + S,): in front of its samples it has room for others, so that the front end need not copy it.
    An error of decoding comes where it occurs, after the good pieces before it.
    """
    with fetched(path) as local, _opened(local, path) as file:
        if sha256 is not None and hashlib.file_digest(file, "sha256").hexdigest() != sha256:
            raise PipelineError(f"{path}: has changed since stage `recordings` read it; run `dvc repro`")
        file.seek(0)
        with _open_audio(file, path) as audio:
            header = _header(audio, path)
            if header.sample_rate_hz == sample_rate_hz:
                yield from _mono_blocks(audio, path, header, room)
            else:
                blocks = _resampled(_mono_blocks(audio, path, header), header, sample_rate_hz)
                yield from (np.concatenate([np.empty(room, np.float32), block_S]) for block_S in blocks)


@contextmanager
def fetched(path: Place) -> Iterator[Path]:
    """The file on this machine: itself, or a temporary copy of a remote one, fetched whole and once.

    Raises
    ------
    PipelineError
        If there is no such remote file.
    StoreError
        If its service cannot be reached: that is no fault of the file, which must not be left out for it.
    """
    if isinstance(path, Path):
        yield path
        return
    with tempfile.NamedTemporaryFile(prefix="birdcache-", suffix=path.suffix) as copy:
        try:
            with reaching(path):
                path.fs.get_file(path.path, copy.name)
        except FileNotFoundError as error:
            raise PipelineError(_unreadable(path, error)) from error
        yield Path(copy.name)


@contextmanager
def _opened(local: Path, path: Place) -> Iterator[Any]:
    """The file, with a descriptor that libsndfile can read from; `path` is its name in errors."""
    try:
        with local.open("rb") as file:
            yield file
    except OSError as error:
        raise PipelineError(_unreadable(path, error)) from error


def resampled_length(frames: int, rate_hz: int, sample_rate_hz: int) -> int:
    """Number of samples of `frames` samples at `rate_hz` once resampled: rounded to the nearest, at least one."""
    return max(1, (2 * frames * sample_rate_hz + rate_hz) // (2 * rate_hz))


def _resampled(blocks: Iterator[FloatArray], header: Header, sample_rate_hz: int) -> Iterator[FloatArray]:
    stream = soxr.ResampleStream(header.sample_rate_hz, sample_rate_hz, 1, dtype="float32", quality=RESAMPLER_QUALITY)
    missing = resampled_length(header.frames, header.sample_rate_hz, sample_rate_hz)
    for block_S in blocks:
        piece_S = stream.resample_chunk(block_S)[:missing]
        missing -= len(piece_S)
        yield piece_S
    end_S = stream.resample_chunk(np.empty(0, np.float32), last=True)[:missing]
    yield np.pad(end_S, (0, missing - len(end_S)))


def _mono_blocks(audio: Any, path: Place, header: Header, room: int = 0) -> Iterator[FloatArray]:
    """Yield (room + S,) blocks, and check that they add up to the header's length."""
    decoded = 0
    try:
        while len(block_S := _mono_block(audio, room)) > room:
            decoded += len(block_S) - room
            yield block_S
    except soundfile.SoundFileError as error:
        raise PipelineError(
            f"{path}: breaks off while decoding ({_reason(error)}); fetch it again or remove it"
        ) from error
    if decoded != header.frames:
        raise PipelineError(
            f"{path}: its header promises {header.frames} samples but {decoded} decode; fetch it again or remove it"
        )


def _mono_block(audio: Any, room: int) -> FloatArray:
    """The next samples, the mean of their channels, behind `room` unused ones."""
    block_S = np.empty(room + BLOCK_SAMPLES, np.float32)
    if audio.channels == 1:
        return block_S[: room + len(audio.read(out=block_S[room:]))]
    samples_SC = audio.read(BLOCK_SAMPLES, dtype="float32", always_2d=True)
    samples_SC.mean(axis=1, out=block_S[room : room + len(samples_SC)])
    return block_S[: room + len(samples_SC)]


def _open_audio(file: Any, path: Place) -> Any:
    try:
        return soundfile.SoundFile(file.fileno(), closefd=False)
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: headerless samples, known by the name only
        raise PipelineError(
            f"{path}: is not audio that libsndfile can read ({_reason(error)}); "
            f"use {', '.join(AUDIO_EXTENSIONS)}, fetch it again, or remove it"
        ) from error


def _header(audio: Any, path: Place) -> Header:
    frames, rate_hz = int(audio.frames), int(audio.samplerate)
    if frames <= 0:
        raise PipelineError(f"{path}: holds no samples; fetch it again or remove it from the data set")
    return Header(frames / rate_hz, rate_hz, int(audio.channels), frames)


def _unreadable(path: Place, error: OSError) -> str:
    why = error.strerror or error
    return f"{path}: cannot be read ({why}); restore the file or its permissions, or remove it from the table"


def _reason(error: Exception) -> str:
    return str(getattr(error, "error_string", error)).strip().rstrip(".")
