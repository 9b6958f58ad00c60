"""Pieces of recordings as sounds within the page: Ogg Vorbis, at the rate that the models hear. S sample."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
import soundfile

from birdcache.audio.read import waveform_blocks
from birdcache.storage import place
from commands.report.images import data_uri
from commands.report.results import Audio
from pipeline.synthetic.ogg import SERIAL, with_serial

Floats = npt.NDArray[np.float32]

COMPRESSION = 0.7  # 0 = best, 1 = smallest: about 45 kbit/s of a mono sound at 32 kHz
FADE_S = 0.005
LOUDEST = 0.8  # of full scale; every piece is made so loud, and Vorbis may overshoot


def sound(audio: Audio, start_s: float, seconds: float, sample_rate_hz: int) -> str:
    """A piece of an audio file as a data URI.

    Raises
    ------
    PipelineError
        If the file cannot be read, or is no longer what stage `recordings` has seen.
    """
    piece_S = read_piece(audio, start_s, seconds, sample_rate_hz)
    return data_uri("audio/ogg", encoded(faded(piece_S, sample_rate_hz), sample_rate_hz))


def read_piece(audio: Audio, start_s: float, seconds: float, sample_rate_hz: int) -> Floats:
    """Decode up to the end of the piece, and keep the piece: (S,)."""
    start, end = round(start_s * sample_rate_hz), round((start_s + seconds) * sample_rate_hz)
    kept, done = [], 0
    for block_S in waveform_blocks(place(audio.path), sample_rate_hz, audio.sha256):
        kept.append(block_S[max(start - done, 0) : max(end - done, 0)])
        done += len(block_S)
        if done >= end:
            break
    return np.concatenate(kept)


def faded(piece_S: Floats, sample_rate_hz: int) -> Floats:
    """As loud as can be, its ends faded so that they do not click."""
    ramp = np.minimum(1, (np.arange(len(piece_S)) + 1) / (FADE_S * sample_rate_hz))
    peak = float(np.abs(piece_S).max(initial=0))
    scale = LOUDEST / peak if peak > 0 else 1.0
    return (piece_S * scale * ramp * ramp[::-1]).astype(np.float32)


def encoded(piece_S: Floats, sample_rate_hz: int) -> bytes:
    """Ogg Vorbis, the same bytes for the same sound."""
    file = io.BytesIO()
    with soundfile.SoundFile(
        file, "w", sample_rate_hz, 1, format="OGG", subtype="VORBIS", compression_level=COMPRESSION
    ) as ogg:
        for start in range(0, len(piece_S), sample_rate_hz):  # libsndfile overflows its stack on one long write
            ogg.write(piece_S[start : start + sample_rate_hz])
    return with_serial(file.getvalue(), SERIAL)
