"""The spectrogram that the page shows: decoded as by the stages, as one byte a value. T frame, M mel bin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from birdcache.arrays import Bytes, Floats32
from birdcache.audio.decoder import Decoder
from birdcache.params.views import MelView
from birdcache.serve.brightness import brightness
from cache.mel_axis import mel_places

MOST_COLUMNS = 6000  # of a picture: more than screens are wide
VIEW = MelView(
    kind="mel",
    sample_rate_hz=32_000,
    n_fft=2048,
    hop=512,
    n_mels=128,
    mel_scale="slaney",
    fmin_hz=20.0,
    fmax_hz=16_000.0,
    dtype="float16",
    compression="none",
)


PITCH_HZ = (500.0, 1000.0, 2000.0, 4000.0, 8000.0)  # written beside the picture


@dataclass(frozen=True)
class Spectrum:
    """A picture: (T, M) bytes from 0, quiet, to 255, loud; low frequencies first."""

    values: Bytes


def read_spectrum(decoder: Decoder, path: Path, duration_s: float, advance: Callable[[], object]) -> Spectrum:
    """Decode a recording into a picture; neighbouring frames of a long one are shown by their loudest values.

    Parameters
    ----------
    advance : called with each block; what it raises ends the decoding.

    Raises
    ------
    Refusal
        If it cannot be decoded.
    """
    group = max(1, -(-VIEW.frames(duration_s) // MOST_COLUMNS))
    columns: list[Floats32] = []
    rest = np.empty((0, VIEW.n_mels), np.float32)
    for quantized in decoder.quantized(path, VIEW, duration_s, silence=True):
        advance()
        block = np.concatenate([rest, quantized.astype(np.float32)])
        whole = len(block) // group * group
        columns.append(loudest(block[:whole], group))
        rest = block[whole:]
    if len(rest):
        columns.append(rest.max(axis=0, keepdims=True))
    return Spectrum(as_bytes(np.concatenate(columns)))


def pitch_marks() -> list[tuple[float, float]]:
    """Frequencies in hertz, and where in a picture they lie: 0 at its lower edge, 1 at its upper."""
    heights = (mel_places(np.array(PITCH_HZ), VIEW) + 0.5) / VIEW.n_mels
    return list(zip(PITCH_HZ, heights.round(4).tolist(), strict=True))


def loudest(values_TM: Floats32, group: int) -> Floats32:
    """Maxima of groups of neighbouring frames: (T / group, M)."""
    return np.asarray(values_TM.reshape(-1, group, values_TM.shape[1]).max(axis=1))


def as_bytes(values_TM: Floats32) -> Bytes:
    """Decibels as bytes."""
    return np.asarray(np.rint(255 * brightness(values_TM)), np.uint8)
