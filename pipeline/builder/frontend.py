"""The front end: waveform -> mel power -> dB, or PCEN. Pure arrays; librosa is the oracle in the tests.

S sample, N sample of a window, M mel bin, T frame, C place in the packed spectrum.
Waveforms are float32 in [-1, 1]. A recording passes in blocks, so that memory does not grow with its length.
"""

import math
from collections.abc import Iterable, Iterator
from functools import lru_cache

import numpy as np
import scipy.fftpack

from birdcache.arrays import Floats32
from birdcache.params.views import MelView, PcenParams, PcenView
from cache.mel import PCEN_SCALE, POWER_FLOOR, mel_filters, smoothing_coefficient

FRONTEND_VERSION = 4  # part of every content key: raise it when the numbers change
BLOCK_FRAMES = 240  # a block's frames and spectra take 2 MB, whatever the recording's length
GRAIN_FRAMES = 48  # blocks are whole grains, so that the numbers do not depend on how the waveform was cut: OpenBLAS
# multiplies 4, 8, 12 or 16 rows at once, by processor, and the rest of a block otherwise
WIDEST_BAND, NARROWEST_BAND = 32, 4  # neighbouring mel filters see the same FFT bins: small dense products of them ...
BAND_FFT_BINS = 80  # ... that look at about so many bins each, instead of one large product of mostly zeros

Band = tuple[slice, slice, Floats32]  # places in the packed spectrum, mel bins, weights between them


def spectrogram_blocks(waveform: Iterable[Floats32], view: MelView | PcenView) -> Iterator[Floats32]:
    """Compute what the store of `view` holds for one recording, whose waveform arrives in pieces.

    A ValueError if the view has mel bins that no FFT bin falls into.

    Parameters
    ----------
    waveform : pieces (room(view) + S,) of any length, float32 in [-1, 1] at view.sample_rate_hz; what lies in the room
        before their samples is overwritten.

    Yields
    ------
    (T, M) float32 blocks in order, 1 + S // hop frames in all: dB of mel power for kind mel, PCEN's dimensionless
    energy for kind pcen.
    """
    power = mel_power_blocks(waveform, view)
    if isinstance(view, MelView):
        return (power_to_db(as_power(block_TM, view)) for block_TM in power)
    energy = (block_TM * np.float32(PCEN_SCALE**2) for block_TM in power)
    return pcen_blocks(energy, view.pcen, view.sample_rate_hz / view.hop)


def room(view: MelView | PcenView) -> int:
    """Unused samples that each piece must have in front, for those of the piece before that are still needed."""
    return GRAIN_FRAMES * view.hop + view.n_fft


def mel_power_blocks(waveform: Iterable[Floats32], view: MelView | PcenView) -> Iterator[Floats32]:
    """Mel power as `librosa.feature.melspectrogram(y, power=2, center=True, pad_mode="constant")`: (T, M) blocks.

    Mel magnitude instead (power=1) for a view with `power: 1.0`.

    Spectra are of float32: a mel bin's amplitude (root of its power) is exact to 5e-7 (-126 dB) of the loudest one in
    its frame, so beside a sound that is 60 dB louder its power is exact to 1e-3. Blocks are of `BLOCK_FRAMES` frames.
    """
    bands, window_N = _bands(view), _window(view.n_fft, view.window)
    windowed_TN = np.empty((BLOCK_FRAMES, view.n_fft), np.float32)
    for frames_TN in _frames(waveform, view):
        count = len(frames_TN)
        np.multiply(frames_TN, window_N, out=windowed_TN[:count])
        spectrum_TC = scipy.fftpack.rfft(windowed_TN[:count], axis=1, overwrite_x=True)
        np.square(spectrum_TC, out=spectrum_TC)
        if isinstance(view, MelView) and view.power == 1:  # of all bins but the first and the last
            real_TF, imaginary_TF = spectrum_TC[:, 1:-1:2], spectrum_TC[:, 2:-1:2]
            real_TF += imaginary_TF
            np.sqrt(real_TF, out=real_TF)
            imaginary_TF[:] = 0
        power_TM = np.empty((count, view.n_mels), np.float32)
        for parts, mel_bins, weights_CM in bands:
            np.matmul(spectrum_TC[:, parts], weights_CM, out=power_TM[:, mel_bins])
        yield power_TM


def _frames(waveform: Iterable[Floats32], view: MelView | PcenView) -> Iterator[Floats32]:
    """Views (T, N) of the centred windows, in blocks; half a window of zeros goes before and after the waveform."""
    margin_S = np.zeros(view.n_fft // 2, np.float32)
    carried_S = margin_S
    for piece_S in waveform:
        samples_S = piece_S[room(view) - len(carried_S) :]
        samples_S[: len(carried_S)] = carried_S
        frames_TN = _windows(samples_S, view)
        whole = len(frames_TN) // GRAIN_FRAMES * GRAIN_FRAMES
        yield from _blocks(frames_TN[:whole])
        carried_S = samples_S[whole * view.hop :]
    yield from _blocks(_windows(np.concatenate([carried_S, margin_S]), view))


def _windows(samples_S: Floats32, view: MelView | PcenView) -> Floats32:
    frames = max(0, 1 + (len(samples_S) - view.n_fft) // view.hop)
    strides = view.hop * samples_S.itemsize, samples_S.itemsize
    return np.ndarray((frames, view.n_fft), np.float32, samples_S, 0, strides)


def _blocks(frames_TN: Floats32) -> Iterator[Floats32]:
    return (frames_TN[first : first + BLOCK_FRAMES] for first in range(0, len(frames_TN), BLOCK_FRAMES))


def as_power(mel_TM: Floats32, view: MelView) -> Floats32:
    """Mel power, or the square of mel magnitude, once the offset of the logarithm is added; overwrites `mel_TM`."""
    if view.log_offset:
        mel_TM += np.float32(view.log_offset)
    return mel_TM if view.power == 2 else np.square(mel_TM, out=mel_TM)


def power_to_db(power: Floats32) -> Floats32:
    """10 log10 of power, floored at -100 dB. No reference, no `top_db`: recordings stay comparable."""
    decibel: Floats32 = np.maximum(power, np.float32(POWER_FLOOR))
    np.log10(decibel, out=decibel)
    decibel *= np.float32(10)
    return decibel


def pcen_blocks(energy: Iterable[Floats32], params: PcenParams, frames_per_s: float) -> Iterator[Floats32]:
    """Divide each mel bin by its own recent past, then compress: stationary noise and loudness vanish.

    A ValueError if the energy holds a negative value.

    Parameters
    ----------
    energy : (T, M) float32 blocks of mel power of audio scaled to +-2**31; the smoother goes on from one to the next.
    frames_per_s : frames per second, which turns `time_constant_s` into the smoother's coefficient.

    Source: Wang et al. 2017, "Trainable frontend for robust and far-field keyword spotting"; smoother as librosa.pcen.
    """
    from scipy.signal import lfilter  # a second of imports, which no other view needs

    coefficient = smoothing_coefficient(params.time_constant_s * frames_per_s)
    taps = np.asarray([coefficient], np.float32), np.asarray([1, coefficient - 1], np.float32)
    state_M: Floats32 | None = None
    for energy_TM in energy:
        if energy_TM.size and energy_TM.min() < 0:
            raise ValueError("pcen: energy must not be negative; give mel power, not dB")
        if state_M is None:
            state_M = np.full((1, energy_TM.shape[1]), 1 - coefficient, np.float32)
        smooth_TM, state_M = lfilter(*taps, energy_TM, axis=0, zi=state_M)
        smooth_TM += np.float32(params.eps)  # and from here on becomes, in place, energy / smooth ** gain
        np.log(smooth_TM, out=smooth_TM)
        smooth_TM *= np.float32(-params.gain)
        np.exp(smooth_TM, out=smooth_TM)
        smooth_TM *= energy_TM
        yield _compressed(smooth_TM, params)


def _compressed(ratio_TM: Floats32, params: PcenParams) -> Floats32:
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

    By Parseval's theorem the FFT bins between 0 and Nyquist hold at most 3/16 n_fft * window: half of n_fft times the
    energy 3/8 window of a Hann window. A filter passes at most its peak's share of power; of magnitude, by the
    inequality of Cauchy and Schwarz, the root of that power times its own. PCEN peaks where that starts out of silence.
    """
    filters_FM, power = mel_filters(view), 3 / 16 * view.n_fft * view.window
    loudest = power * float(filters_FM.max())
    if isinstance(view, MelView):
        if view.power == 1:
            loudest = math.sqrt(power * float(np.square(filters_FM).sum(axis=0).max()))
        ends = (max((mel + view.log_offset) ** (2 / view.power), POWER_FLOOR) for mel in (0.0, loudest))
        low, high = (10 * math.log10(each) for each in ends)
        return low, float(math.ceil(high))
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


@lru_cache(maxsize=4)
def _window(n_fft: int, length: int) -> Floats32:
    before = (n_fft - length) // 2
    return np.pad(np.asarray(np.hanning(length + 1)[:-1], np.float32), (before, n_fft - length - before))


@lru_cache(maxsize=4)
def _bands(view: MelView | PcenView) -> list[Band]:
    """The filters in groups of neighbours, each with the span of the packed spectrum that it looks at.

    Bin f stands at 2 f - 1 (real part) and 2 f (imaginary part), so each weight stands there twice. The first and the
    last bin, which are real, lie on the feet of triangles: their weight is zero but for rounding.
    """
    filters_FM = mel_filters(view)
    filters_FM[[0, -1]] = 0
    bands = []
    for start in range(0, view.n_mels, WIDEST_BAND):
        for mel_bins in _halved(filters_FM, start, min(start + WIDEST_BAND, view.n_mels)):
            low, high = _span(filters_FM[:, mel_bins])
            weights_CM = np.repeat(filters_FM[low : high + 1, mel_bins], 2, axis=0)
            bands.append((slice(2 * low - 1, 2 * high + 1), mel_bins, weights_CM))
    return bands


def _halved(filters_FM: Floats32, start: int, end: int) -> list[slice]:
    """Mel bins `start` to `end`, halved until each group looks at few FFT bins or is narrow."""
    low, high = _span(filters_FM[:, start:end])
    if high - low < BAND_FFT_BINS or end - start <= NARROWEST_BAND:
        return [slice(start, end)]
    middle = (start + end) // 2
    return _halved(filters_FM, start, middle) + _halved(filters_FM, middle, end)


def _span(filters_FM: Floats32) -> tuple[int, int]:
    """First and last FFT bin that any of the filters looks at."""
    seen = np.flatnonzero(filters_FM.any(axis=1))
    return int(seen[0]), int(seen[-1])
