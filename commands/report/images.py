"""Pictures of spectrograms as data URIs: the image itself, and what its axes say in seconds and hertz.

T frame, M mel bin.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from PIL import Image

from birdcache.params.views import MelView, PcenView
from birdcache.serve.brightness import brightness
from cache.mel import mel_places

Floats = npt.NDArray[np.float32]

WIDEST, TALLEST = 1200, 160  # pixels
QUALITY = 70  # of WebP
TICKS_HZ = (125, 250, 500, 1000, 2000, 4000, 8000, 16000, 32000, 64000)
STEPS_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0)
LEAST_APART = 0.13  # of the height, between two ticks
TICKS_AT_MOST = 6  # in seconds


@dataclass(frozen=True)
class Tick:
    """Where along an axis, as a share of its length, and what it says."""

    place: float
    text: str


@dataclass(frozen=True)
class Picture:
    """A spectrogram: `uri` holds the image, `alt` says what can be seen, `ticks` begin at 0 and end at 1."""

    uri: str
    alt: str
    caption: str
    ticks_s: tuple[Tick, ...]
    ticks_hz: tuple[Tick, ...]

    @property
    def bytes(self) -> int:
        """What it adds to the page."""
        return len(self.uri)


def picture(values_TM: Floats, view: MelView | PcenView, start_s: float, alt: str, caption: str = "") -> Picture:
    """Draw a piece of a spectrogram that begins `start_s` seconds into its recording."""
    seconds = len(values_TM) * view.hop / view.sample_rate_hz
    return Picture(webp(values_TM), alt, caption, ticks_s(start_s, seconds), ticks_hz(view))


def webp(values_TM: Floats) -> str:
    """The image as a data URI; low mel bins are at the bottom, long ones are made narrower."""
    levels = Image.fromarray(np.rint(255 * brightness(values_TM).T[::-1]).astype(np.uint8))
    size = min(levels.width, WIDEST), min(levels.height, TALLEST)
    levels = levels.resize(size, Image.Resampling.BOX)
    colours = mpl.colormaps["magma"](np.asarray(levels), bytes=True)[:, :, :3]
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(colours)).save(file, "WEBP", quality=QUALITY, method=4)
    return data_uri("image/webp", file.getvalue())


def data_uri(kind: str, content: bytes) -> str:
    """Bytes as an address that needs no file and no network."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def ticks_s(start_s: float, seconds: float) -> tuple[Tick, ...]:
    """Round seconds of the recording, along a piece that begins at `start_s`."""
    step = next((each for each in STEPS_S if seconds / each <= TICKS_AT_MOST), STEPS_S[-1])
    first, last = np.ceil(start_s / step - 1e-6), np.floor((start_s + seconds) / step + 1e-6)
    times = [number * step for number in range(int(first), int(last) + 1)]
    return tuple(Tick((time - start_s) / seconds, f"{time:g}") for time in times)


def ticks_hz(view: MelView | PcenView) -> tuple[Tick, ...]:
    """Round frequencies that lie on the axis, not too near to each other, from the lowest up."""
    inside = np.array([hz for hz in TICKS_HZ if view.fmin_hz <= hz <= view.fmax_hz], float)
    places = (mel_places(inside, view) + 0.5) / view.n_mels
    kept: list[Tick] = []
    for hz, place in reversed(list(zip(inside.tolist(), np.clip(places, 0, 1).tolist(), strict=True))):
        if not kept or kept[-1].place - place >= LEAST_APART:
            kept.append(Tick(place, f"{hz:,.0f}"))
    return tuple(reversed(kept))


def total_bytes(pictures: Sequence[Picture]) -> int:
    """What several pictures add to the page."""
    return sum(each.bytes for each in pictures)
