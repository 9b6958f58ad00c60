"""The spectrogram on the page: power over linear frequency, as Raven and Audacity show it. T frame, F bin, S sample.

The report's spectrograms are as bright.
"""

from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np

from birdcache.arrays import Bytes, Floats32
from birdcache.audio.decoder import Decoder

RATE_HZ, N_FFT, HOP = 32_000, 2048, 512
BINS = 128  # rows of the picture; each is the mean power of N_FFT / 2 / BINS bins of the transform
MOST_COLUMNS = 6000  # more than screens are wide
PITCH_HZ = (2000.0, 4000.0, 6000.0, 8000.0, 10_000.0, 12_000.0, 14_000.0)  # written beside the picture
WINDOW_S = np.hanning(N_FFT + 1)[:-1].astype(np.float32)
FLOOR = 1e-10  # of power: -100 dB
SHOWN_PERCENT = (10.0, 99.8)  # of the values, from the darkest to the brightest


def read_spectrum(decoder: Decoder, path: Path, duration_s: float, advance: Callable[[], object]) -> Bytes:
    """Decode a recording into a picture; each column of a long one shows the loudest of neighbouring frames.

    Parameters
    ----------
    advance : called with each block; what it raises ends the decoding.

    Returns
    -------
    (T, F) from 0, quiet, to 255, loud; low frequencies first.
    """
    frames = 1 + int(duration_s * RATE_HZ) // HOP
    group = max(1, -(-frames // MOST_COLUMNS))
    columns: list[Floats32] = []
    rest = np.empty((0, BINS), np.float32)
    for block_TF in decibels(decoder.waveform(path, RATE_HZ, duration_s, silence=True)):
        advance()
        block_TF = np.concatenate([rest, block_TF])
        whole = len(block_TF) // group * group
        columns.append(block_TF[:whole].reshape(-1, group, BINS).max(axis=1))
        rest = block_TF[whole:]
    if len(rest):
        columns.append(rest.max(axis=0, keepdims=True))
    return as_bytes(np.concatenate(columns))


def decibels(pieces: Iterator[Floats32]) -> Iterator[Floats32]:
    """Power in dB, (T, BINS) for each piece (S,): frame t has its middle at sample t * HOP, silence lies around."""
    held = around = np.zeros(N_FFT // 2, np.float32)
    for piece in chain(pieces, [around]):
        held = np.concatenate([held, piece])
        frames = max(0, 1 + (len(held) - N_FFT) // HOP)
        if frames:
            windows = np.lib.stride_tricks.sliding_window_view(held, N_FFT)[: frames * HOP : HOP]
            spectrum = np.fft.rfft(windows * WINDOW_S)[:, :-1]
            power_TF = (spectrum.real**2 + spectrum.imag**2).reshape(frames, BINS, -1).mean(axis=2)
            yield np.asarray(10 * np.log10(np.maximum(power_TF, FLOOR)), np.float32)
        held = held[frames * HOP :]


def as_bytes(values_TF: Floats32) -> Bytes:
    """From 0, dark, to 255, bright: what is quieter or louder than `SHOWN_PERCENT` of all is shown like these."""
    low, high = np.percentile(values_TF, SHOWN_PERCENT)
    shares_TF = ((values_TF - low) / max(high - low, 1e-6)).clip(0, 1)
    return np.asarray(np.rint(255 * shares_TF), np.uint8)
