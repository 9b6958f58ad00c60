"""Spectrograms and sounds of the page as data URIs. T frame, M mel bin, S sample."""

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from PIL import Image

from birdcache.arrays import Bytes, Floats32
from birdcache.audio.read import waveform_blocks
from birdcache.errors import PipelineError
from birdcache.params.views import MelView, PcenView
from birdcache.storage import place
from cache.mel import mel_places
from commands.report.results import AudioFile
from pipeline.synthetic.ogg import ogg_vorbis

WIDEST, TALLEST = 1200, 160  # pixels
QUALITY = 70  # of WebP
SHOWN_PERCENT = (10.0, 99.8)  # of the values, from the darkest to the brightest; as on the page of `birdcache page`
TICKS_HZ = (125, 250, 500, 1000, 2000, 4000, 8000, 16000, 32000, 64000, 128000)
STEPS_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0)
LEAST_APART = 0.13  # of the height, between two ticks
TICKS_AT_MOST = 6  # in seconds

COMPRESSION = 0.7  # 0 = best, 1 = smallest: about 45 kbit/s of a mono sound at 32 kHz
HIGHEST_HEARD_HZ = 48_000  # rate of sounds: Vorbis and browsers end far below those of bats
FADE_S = 0.005
LOUDEST = 0.8  # of full scale: peak of every piece, since Vorbis may overshoot


Piece = Mapping[str, Any]  # what a template shows by its names; `bytes` is the size of its pictures and sound


@dataclass(frozen=True)
class Tick:
    """A position on an axis, as a share of its length, with its text."""

    place: float
    text: str


@dataclass(frozen=True)
class Picture:
    """A spectrogram: `uri` holds the image, `alt` describes it, `ticks` are between 0 and 1."""

    uri: str
    alt: str
    caption: str
    ticks_s: tuple[Tick, ...]
    ticks_hz: tuple[Tick, ...]


def picture(values_TM: Floats32, view: MelView | PcenView, start_s: float, alt: str, caption: str = "") -> Picture:
    """Draw a piece of a spectrogram that starts `start_s` seconds into its recording."""
    seconds = len(values_TM) * view.hop / view.sample_rate_hz
    return Picture(webp(values_TM), alt, caption, ticks_s(start_s, seconds), ticks_hz(view))


def as_bytes(values_TM: Floats32) -> Bytes:
    """From 0, dark, to 255, bright: what is quieter or louder than `SHOWN_PERCENT` of all is shown like these."""
    low, high = np.percentile(values_TM, SHOWN_PERCENT)
    shares_TM = ((values_TM - low) / max(high - low, 1e-6)).clip(0, 1)
    return np.asarray(np.rint(255 * shares_TM), np.uint8)


def webp(values_TM: Floats32) -> str:
    """The image as a data URI, low mel bins at the bottom; long images are narrowed."""
    levels = Image.fromarray(as_bytes(values_TM).T[::-1])
    size = min(levels.width, WIDEST), min(levels.height, TALLEST)
    levels = levels.resize(size, Image.Resampling.BOX)
    colours = mpl.colormaps["magma"](np.asarray(levels), bytes=True)[:, :, :3]
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(colours)).save(file, "WEBP", quality=QUALITY, method=4)
    return data_uri("image/webp", file.getvalue())


def data_uri(kind: str, content: bytes) -> str:
    """Bytes as a URI that contains them."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def ticks_s(start_s: float, seconds: float) -> tuple[Tick, ...]:
    """Ticks at round seconds, for a piece that starts at `start_s`."""
    step = next((each for each in STEPS_S if seconds / each <= TICKS_AT_MOST), STEPS_S[-1])
    first, last = np.ceil(start_s / step - 1e-6), np.floor((start_s + seconds) / step + 1e-6)
    times = [number * step for number in range(int(first), int(last) + 1)]
    return tuple(Tick((time - start_s) / seconds, f"{time:g}") for time in times)


def ticks_hz(view: MelView | PcenView) -> tuple[Tick, ...]:
    """Ticks at round frequencies, not too close together, in rising order."""
    inside = np.array([hz for hz in TICKS_HZ if view.fmin_hz <= hz <= view.fmax_hz], float)
    places = (mel_places(inside, view) + 0.5) / view.n_mels
    kept: list[Tick] = []
    for hz, at in reversed(list(zip(inside.tolist(), np.clip(places, 0, 1).tolist(), strict=True))):
        if not kept or kept[-1].place - at >= LEAST_APART:
            kept.append(Tick(at, f"{hz:,.0f}"))
    return tuple(reversed(kept))


def sound(audio: AudioFile, start_s: float, seconds: float, sample_rate_hz: int) -> tuple[str | None, str]:
    """A piece of an audio file as a data URI, or else the reason why it cannot be read, such as a change since."""
    heard_hz = min(sample_rate_hz, HIGHEST_HEARD_HZ)
    try:
        piece_S = read_piece(audio, start_s, seconds, heard_hz)
    except PipelineError as error:
        return None, str(error)
    ogg = ogg_vorbis(faded(piece_S, heard_hz), heard_hz, compression_level=COMPRESSION)
    return data_uri("audio/ogg", ogg), ""


def read_piece(audio: AudioFile, start_s: float, seconds: float, sample_rate_hz: int) -> Floats32:
    """Decode up to the end of a piece, and return the piece: (S,)."""
    start, end = round(start_s * sample_rate_hz), round((start_s + seconds) * sample_rate_hz)
    kept, done = [], 0
    for block_S in waveform_blocks(place(audio.path), sample_rate_hz, audio.sha256, read_as=audio.read_as):
        kept.append(block_S[max(start - done, 0) : max(end - done, 0)])
        done += len(block_S)
        if done >= end:
            break
    return np.concatenate(kept)


def faded(piece_S: Floats32, sample_rate_hz: int) -> Floats32:
    """Normalise the loudness, and fade both ends so that they do not click."""
    ramp = np.minimum(1, (np.arange(len(piece_S)) + 1) / (FADE_S * sample_rate_hz))
    peak = float(np.abs(piece_S).max(initial=0))
    scale = LOUDEST / peak if peak > 0 else 1.0
    return (piece_S * scale * ramp * ramp[::-1]).astype(np.float32)
