"""The front end of `pipeline.builder.frontend` as plain matrix products, without an FFT operator.

B batch, S sample, L frame of the input with its context, T frame of the clip, M mel bin, N sample of a window.
The Fourier transform of N = N1 N2 samples is two products (Cooley and Tukey 1965): of N1 samples each, with window and
twiddle factors folded in, then of N2. Compared with one product with an N x N matrix, that is a sixteenth of the
operations and a hundredth of the bytes.
"""

import math

import numpy as np
import numpy.typing as npt
import scipy.signal
import torch
from torch import Tensor, nn
from torch.nn import functional

from birdcache.bundle.format import FORGOTTEN
from birdcache.params.views import MelView, PcenParams, PcenView
from cache.mel import PCEN_SCALE, POWER_FLOOR, mel_filters, smoothing_coefficient

Doubles = npt.NDArray[np.float64]


class PowerSpectrum(nn.Module):
    """Power spectra of a waveform's frames, with frequencies in the order of the two products.

    The first product is a convolution along n1, with a channel for each n2, where sample n = n2 + N2 n1. If the hop is
    not a multiple of N2, frames are gathered instead.

    Parameters
    ----------
    hop, frames : samples between frames, and number of frames.
    first : first sample of the first frame's window.
    win_length : as of a view.
    """

    sample: Tensor  # (N2, N1, 1)
    begin: Tensor  # (L,)
    first: Tensor  # the kernel (N2 * 2 K1, 1, N1), or the matrices (N2, 2 K1, N1)
    second: Tensor  # (2 N2, 2 N2)

    def __init__(self, n_fft: int, hop: int, frames: int, first: int, win_length: int | None = None) -> None:
        super().__init__()
        n1, n2 = factors(n_fft)
        self._kept, self._n2, self._first_sample = n1 // 2 + 1, n2, first
        self._samples = (frames - 1) * hop + n_fft
        self._stride = hop // n2 if hop % n2 == 0 else 0
        if not self._stride:
            sample_N2N1 = np.arange(n2)[:, None] + n2 * np.arange(n1)
            self.register_buffer("sample", torch.from_numpy(sample_N2N1)[:, :, None])
            self.register_buffer("begin", torch.arange(frames) * hop)
        first_N2CN1 = _float32(first_factor(n_fft, win_length or n_fft))
        self.register_buffer("first", first_N2CN1.flatten(0, 1).unsqueeze(1) if self._stride else first_N2CN1)
        self.register_buffer("second", _float32(second_factor(n2)))

    def forward(self, waveform_BS: Tensor) -> Tensor:
        """Power (B, F, L), with the frequencies of `mel_rows`."""
        half = self._half(waveform_BS[:, self._first_sample : self._first_sample + self._samples])
        count = half.shape[2]
        half = half.reshape(-1, self._n2, 2, self._kept, count).permute(0, 3, 2, 1, 4)
        half = half.reshape(-1, self._kept, 2 * self._n2, count)
        real, imaginary = (self.second @ half).chunk(2, dim=2)
        power: Tensor = (real * real + imaginary * imaginary).flatten(1, 2)
        return power

    def _half(self, samples_BS: Tensor) -> Tensor:
        """Result of the first product: (B, N2 * 2 K1, L)."""
        if self._stride:
            spread = samples_BS.reshape(-1, self._samples // self._n2, self._n2).transpose(1, 2)  # (B, N2, S / N2)
            return functional.conv1d(spread, self.first, stride=self._stride, groups=self._n2)
        place = self.begin + self.sample
        frames = samples_BS.index_select(1, place.flatten()).reshape(-1, *place.shape)
        half: Tensor = (self.first @ frames).flatten(1, 2)
        return half


def factors(n_fft: int) -> tuple[int, int]:
    """Factors N1, N2 of a window's length, the first even and about twice the second."""
    smaller = [each for each in range(1, math.isqrt(n_fft // 2) + 1) if n_fft % each == 0 and n_fft // each % 2 == 0]
    return n_fft // smaller[-1], smaller[-1]


def first_factor(n_fft: int, window: int) -> Doubles:
    """Window, transform over n1 and twiddle factors for frequencies k1 <= N1 / 2: (N2, 2 K1, N1), real parts first."""
    n1, n2 = factors(n_fft)
    before = (n_fft - window) // 2
    window_N = np.pad(scipy.signal.get_window("hann", window, fftbins=True), (before, n_fft - window - before))
    sample = n2 * np.arange(n1) + np.arange(n2)[:, None, None]  # (N2, 1, N1)
    turned = np.exp(-2j * np.pi * sample * np.arange(n1 // 2 + 1)[:, None] / n_fft)
    weighted = window_N[sample] * turned
    return np.concatenate([weighted.real, weighted.imag], axis=1)


def second_factor(n2: int) -> Doubles:
    """Transform over n2 of complex numbers, all real parts before the imaginary ones: (2 N2, 2 N2)."""
    turned = np.exp(-2j * np.pi * np.outer(np.arange(n2), np.arange(n2)) / n2)
    return np.block([[turned.real, -turned.imag], [turned.imag, turned.real]])


def mel_rows(view: MelView | PcenView) -> npt.NDArray[np.float32]:
    """Mel filters with a row for each frequency in the order of the two products: (K1 N2, M).

    Frequency k = k1 + N1 k2. Frequencies above the middle mirror those below, and only count where these are missing.
    """
    filters_FM = mel_filters(view)
    filters_FM[[0, -1]] = 0  # they lie at the feet of triangles, as in pipeline.builder.frontend
    n1, n2 = factors(view.n_fft)
    frequency = (np.arange(n1 // 2 + 1)[:, None] + n1 * np.arange(n2)).ravel()
    folded = np.minimum(frequency, view.n_fft - frequency)
    rows: npt.NDArray[np.float32] = filters_FM[folded]
    rows[~np.isin(np.arange(len(folded)), np.unique(folded, return_index=True)[1])] = 0
    return rows


def decibels(mel_BTM: Tensor, view: MelView) -> Tensor:
    """Values of a `mel` view from mel power, or magnitude for `power: 1.0`, before quantisation: (B, T, M)."""
    if view.log_offset:
        mel_BTM = mel_BTM + view.log_offset
    power_BTM = mel_BTM if view.power == 2 else mel_BTM.square()
    return power_BTM.clamp(min=POWER_FLOOR).log() * (10 / math.log(10))


class Pcen(nn.Module):
    """Values of a `pcen` view from mel power, before quantisation; the smoother runs over the context first.

    The smoother m[t] = (1 - b) m[t-1] + b e[t] is a product with its impulse response. Frames outside the recording
    have no energy, so a clip at its start has the same values as in `pipeline.builder.frontend`.
    """

    response: Tensor  # (T, L)

    def __init__(self, params: PcenParams, frames_per_s: float, frames: int, context: int) -> None:
        super().__init__()
        self._params = params
        coefficient = smoothing_coefficient(params.time_constant_s * frames_per_s)
        age_TL = context + np.arange(frames)[:, None] - np.arange(context + frames)
        response_TL = np.where(age_TL >= 0, coefficient * (1 - coefficient) ** np.maximum(age_TL, 0), 0)
        self.register_buffer("response", _float32(response_TL))
        self._context = context

    def forward(self, power_BLM: Tensor, exists_BL: Tensor) -> Tensor:
        """PCEN of the clip's frames: (B, T, M)."""
        params = self._params
        energy_BLM = power_BLM * (exists_BL[:, :, None] * PCEN_SCALE**2)
        smooth_BTM = self.response @ energy_BLM
        ratio = energy_BLM[:, self._context :] * ((smooth_BTM + params.eps).log() * -params.gain).exp()
        if params.power == 0:
            return ratio.log1p()
        compressed: Tensor = (ratio + params.bias) ** params.power - params.bias**params.power
        return compressed


def context_frames(view: MelView | PcenView) -> int:
    """Number of frames before a clip that its values depend on: 0 for decibels, the smoother's memory for PCEN."""
    if isinstance(view, MelView):
        return 0
    coefficient = smoothing_coefficient(view.pcen.time_constant_s * view.sample_rate_hz / view.hop)
    return math.ceil(math.log(FORGOTTEN) / math.log1p(-coefficient))


def _float32(array: npt.NDArray[np.generic]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))
