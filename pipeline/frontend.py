"""The front end: waveform -> mel power -> dB, or PCEN. Pure arrays; librosa is the oracle in the tests.

S sample, M mel bin, T frame, F frequency bin of the FFT. Waveforms are float32 in [-1, 1].
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.signal

from params import MelView, PcenParams, PcenView

FRONTEND_VERSION = 2  # part of every content key: raise it when the numbers change
POWER_FLOOR = 1e-10  # -100 dB: below the quantisation noise of 16-bit audio in one mel bin
PCEN_SCALE = 2.0**31  # PCEN's constants are made for integer audio (librosa.pcen)
BLOCK_FRAMES = 64  # a block's frames, spectra and power stay in the processor's cache

FloatArray = npt.NDArray[np.float32]


def spectrogram(waveform_S: FloatArray, view: MelView | PcenView) -> FloatArray:
    """Compute what the store of `view` holds for one recording.

    Parameters
    ----------
    waveform_S : (S,) float32 in [-1, 1] at view.sample_rate_hz.

    Returns
    -------
    (T, M) float32 with T = 1 + S // hop: dB of mel power for kind mel, PCEN's dimensionless energy for kind pcen.

    Raises
    ------
    ValueError
        If the view has mel bins that no FFT bin falls into.
    """
    power_TM = mel_power(waveform_S, view)
    if isinstance(view, PcenView):
        return pcen(power_TM * np.float32(PCEN_SCALE**2), view.pcen, view.sample_rate_hz / view.hop)
    return power_to_db(power_TM)


def mel_power(waveform_S: FloatArray, view: MelView | PcenView) -> FloatArray:
    """Mel power as `librosa.feature.melspectrogram(y, power=2, center=True, pad_mode="constant")`.

    Spectra are of float32: a mel bin's amplitude (root of its power) is exact to 5e-7 (-126 dB) of the loudest one in
    its frame, so beside a sound that is 60 dB louder its power is exact to 1e-3.

    Returns
    -------
    (T, M) float32, non-negative.
    """
    filters_FM = _filters(view)
    window = scipy.signal.get_window("hann", view.n_fft, fftbins=True).astype(np.float32)
    half = view.n_fft // 2
    padded = np.pad(waveform_S, (half, half))
    frames_TN = np.lib.stride_tricks.sliding_window_view(padded, view.n_fft)[:: view.hop]
    power_TM = np.empty((len(frames_TN), view.n_mels), np.float32)
    for start in range(0, len(frames_TN), BLOCK_FRAMES):
        block = slice(start, start + BLOCK_FRAMES)
        spectrum_TF = scipy.fft.rfft(frames_TN[block] * window, axis=1, overwrite_x=True)
        energy_TF = np.square(spectrum_TF.real)
        energy_TF += np.square(spectrum_TF.imag)
        np.matmul(energy_TF, filters_FM, out=power_TM[block])
    return power_TM


def power_to_db(power: FloatArray) -> FloatArray:
    """10 log10 of power, floored at -100 dB. No reference, no `top_db`: recordings stay comparable."""
    decibel: FloatArray = np.log10(np.maximum(power, np.float32(POWER_FLOOR)))
    decibel *= np.float32(10)
    return decibel


def pcen(energy_TM: FloatArray, params: PcenParams, frames_per_s: float) -> FloatArray:
    """Divide each mel bin by its own recent past, then compress: stationary noise and loudness vanish.

    Parameters
    ----------
    energy_TM : (T, M) float32, mel power of audio scaled to +-2**31.
    frames_per_s : frames per second, which turns `time_constant_s` into the smoother's coefficient.

    Returns
    -------
    (T, M) float32, non-negative.

    Raises
    ------
    ValueError
        If the energy holds a negative value.

    Source: Wang et al. 2017, "Trainable frontend for robust and far-field keyword spotting"; smoother as librosa.pcen.
    """
    if energy_TM.size and energy_TM.min() < 0:
        raise ValueError("pcen: energy must not be negative; give mel power, not dB")
    smooth_TM = _smooth(energy_TM, smoothing_coefficient(params.time_constant_s * frames_per_s))
    smooth_TM += np.float32(params.eps)
    np.log(smooth_TM, out=smooth_TM)
    smooth_TM *= np.float32(-params.gain)
    np.exp(smooth_TM, out=smooth_TM)
    smooth_TM *= energy_TM
    return _compressed(smooth_TM, params)


def _compressed(ratio_TM: FloatArray, params: PcenParams) -> FloatArray:
    """(ratio + bias) ** power - bias ** power, in place, without losing the digits of small ratios."""
    if params.power == 0:  # the limit of (... - bias ** power) / power, as in librosa.pcen
        return np.log1p(ratio_TM, out=ratio_TM)
    if params.bias == 0:
        return np.power(ratio_TM, np.float32(params.power), out=ratio_TM)
    ratio_TM /= np.float32(params.bias)
    np.log1p(ratio_TM, out=ratio_TM)
    ratio_TM *= np.float32(params.power)
    np.expm1(ratio_TM, out=ratio_TM)
    ratio_TM *= np.float32(params.bias**params.power)
    return ratio_TM


def value_range(view: MelView | PcenView) -> tuple[float, float]:
    """Lowest and highest value that audio in [-1, 1] gives under a view; a store's uint8 codes spread over it.

    By Parseval's theorem the FFT bins between 0 and Nyquist hold at most 3/16 n_fft**2: half of n_fft times the energy
    3/8 n_fft of a Hann window. A filter passes at most its peak's share. PCEN peaks where that starts out of silence.
    """
    loudest = 3 / 16 * view.n_fft**2 * float(_filters(view).max())
    if isinstance(view, MelView):
        return 10 * math.log10(POWER_FLOOR), float(math.ceil(10 * math.log10(loudest)))
    peak = _onset_ratio(loudest * PCEN_SCALE**2, view.pcen, view.sample_rate_hz / view.hop)
    if view.pcen.power == 0:
        return 0.0, float(math.ceil(math.log1p(peak)))
    return 0.0, float(math.ceil((peak + view.pcen.bias) ** view.pcen.power - view.pcen.bias**view.pcen.power))


def _onset_ratio(loudest: float, params: PcenParams, frames_per_s: float) -> float:
    """Largest energy / (eps + smooth) ** gain: the smoother holds at least its share of the frame itself.

    Up to gain 1 the quotient grows with the energy; above, it is largest at eps / (smoothing * (gain - 1)).
    """
    smoothing = smoothing_coefficient(params.time_constant_s * frames_per_s)
    energy = loudest if params.gain <= 1 else min(loudest, params.eps / (smoothing * (params.gain - 1)))
    return float(energy / (params.eps + smoothing * energy) ** params.gain)


def smoothing_coefficient(time_constant_frames: float) -> float:
    """Coefficient b of the smoother m[t] = (1 - b) m[t-1] + b e[t] (as librosa.pcen derives it)."""
    square = time_constant_frames**2
    return (math.sqrt(1 + 4 * square) - 1) / (2 * square)


def _smooth(energy_TM: FloatArray, coefficient: float) -> FloatArray:
    start = np.full((1, energy_TM.shape[1]), 1 - coefficient, np.float32)
    taps = np.asarray([coefficient], np.float32), np.asarray([1, coefficient - 1], np.float32)
    smooth_TM, _ = scipy.signal.lfilter(*taps, energy_TM, axis=0, zi=start)
    return np.asarray(smooth_TM, np.float32)


@lru_cache(maxsize=4)
def _filters(view: MelView | PcenView) -> FloatArray:
    return mel_filters(view)


def mel_filters(view: MelView | PcenView) -> FloatArray:
    """Triangular mel filters of unit area, as `librosa.filters.mel(norm="slaney")`.

    Returns
    -------
    (F, M) float32 with F = n_fft // 2 + 1.

    Raises
    ------
    ValueError
        If a filter is so narrow that it holds no FFT bin.
    """
    htk = view.mel_scale == "htk"
    low, high = hz_to_mel(np.array([view.fmin_hz, view.fmax_hz]), htk)
    edges_hz = mel_to_hz(np.linspace(low, high, view.n_mels + 2), htk)
    bins_hz = np.fft.rfftfreq(view.n_fft, 1 / view.sample_rate_hz)
    rising = (bins_hz[:, None] - edges_hz[:-2]) / np.diff(edges_hz)[:-1]
    falling = (edges_hz[2:] - bins_hz[:, None]) / np.diff(edges_hz)[1:]
    filters_FM = np.maximum(0, np.minimum(rising, falling)) * (2 / (edges_hz[2:] - edges_hz[:-2]))
    empty = np.flatnonzero(filters_FM.max(axis=0) == 0)
    if len(empty):
        raise ValueError(
            f"{len(empty)} of {view.n_mels} mel bins (first: {empty[0]}) hold no FFT bin; "
            f"raise n_fft or fmin_hz, or lower n_mels"
        )
    return filters_FM.astype(np.float32)


_LINEAR_HZ, _KNEE_HZ, _STEP = 200 / 3, 1000.0, math.log(6.4) / 27  # Slaney's Auditory Toolbox


def hz_to_mel(hz: npt.NDArray[np.float64], htk: bool) -> npt.NDArray[np.float64]:
    """Hertz to mel: Slaney's scale (linear to 1 kHz, then logarithmic) or HTK's."""
    if htk:
        return np.asarray(2595 * np.log10(1 + hz / 700))
    return np.where(
        hz < _KNEE_HZ, hz / _LINEAR_HZ, _KNEE_HZ / _LINEAR_HZ + np.log(np.maximum(hz, _KNEE_HZ) / _KNEE_HZ) / _STEP
    )


def mel_to_hz(mel: npt.NDArray[np.float64], htk: bool) -> npt.NDArray[np.float64]:
    """Inverse of `hz_to_mel`."""
    if htk:
        return np.asarray(700 * (10 ** (mel / 2595) - 1))
    knee = _KNEE_HZ / _LINEAR_HZ
    return np.where(mel < knee, mel * _LINEAR_HZ, _KNEE_HZ * np.exp(_STEP * (np.maximum(mel, knee) - knee)))
