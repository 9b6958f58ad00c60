"""A bank of noise as the front end would show it: power of mel bins, from which clips take spans at random.

N frame of the bank, M mel bin.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from birdcache.params.views import MelView, PcenView
from cache.mel import mel_edges_hz, mel_frequencies_hz

BANK_SPANS = 4096  # places where a span may begin

Floats = npt.NDArray[np.float64]
AnyView = MelView | PcenView
Colour = Literal["white", "pink"]


def noise_bank(view: AnyView, colour: Colour, clip_frames: int, seed: int) -> npt.NDArray[np.float32]:
    """Power of stationary Gaussian noise: (N, M), with room for a clip behind each of `BANK_SPANS` places.

    An FFT bin of Gaussian noise holds exponentially distributed power, and a mel bin is a weighted sum of such bins:
    nearly gamma distributed, with a mean by the noise's colour and a shape by the mel bin's width. Frames and mel bins
    are drawn independently, although those of a real front end overlap and so resemble their neighbours.
    """
    generator = np.random.default_rng(seed)
    shape_M = bin_shapes(view)
    unit_NM = generator.gamma(shape_M, size=(BANK_SPANS + clip_frames, view.n_mels)) / shape_M
    return (unit_NM * levels(view, colour)).astype(np.float32)


def levels(view: AnyView, colour: Colour) -> Floats:
    """Mean power of each mel bin: (M,). The filters have unit area, so white noise is as loud in all of them."""
    return np.ones(view.n_mels) if colour == "white" else 1 / mel_frequencies_hz(view)


def bin_shapes(view: AnyView) -> Floats:
    """Shape of the gamma distribution of noise power in each mel bin, squared mean over variance: (M,).

    A triangle that reaches over h FFT bins to either side of its peak is worth 3/2 h equal ones. Under a Hann window a
    bin shares 4/9 of its power's variations with the next one and 1/36 with the one after that, which leaves 18/35 of
    them: 27/35 h independent bins. A narrow filter still holds one.
    """
    edges_hz = mel_edges_hz(view)
    half_width_M = (edges_hz[2:] - edges_hz[:-2]) / 2 * view.n_fft / view.sample_rate_hz
    return np.hypot(1, 27 / 35 * half_width_M)
