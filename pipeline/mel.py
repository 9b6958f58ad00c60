"""The mel scale and its triangular filters; librosa is the oracle in the tests.

M mel bin, F frequency bin of the FFT.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from params import MelView, PcenView

FloatArray = npt.NDArray[np.float32]


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
