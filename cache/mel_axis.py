"""Where the mel bins of a view lie in frequency; librosa is the oracle in the tests.

M mel bin.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from birdcache.params.views import MelView, PcenView

Floats = npt.NDArray[np.float64]

_LINEAR_HZ, _KNEE_HZ, _STEP = 200 / 3, 1000.0, math.log(6.4) / 27  # Slaney's Auditory Toolbox


def hz_to_mel(hz: Floats, htk: bool) -> Floats:
    """Hertz to mel: Slaney's scale (linear to 1 kHz, then logarithmic) or HTK's."""
    if htk:
        return np.asarray(2595 * np.log10(1 + hz / 700))
    return np.where(
        hz < _KNEE_HZ, hz / _LINEAR_HZ, _KNEE_HZ / _LINEAR_HZ + np.log(np.maximum(hz, _KNEE_HZ) / _KNEE_HZ) / _STEP
    )


def mel_to_hz(mel: Floats, htk: bool) -> Floats:
    """Inverse of `hz_to_mel`."""
    if htk:
        return np.asarray(700 * (10 ** (mel / 2595) - 1))
    knee = _KNEE_HZ / _LINEAR_HZ
    return np.where(mel < knee, mel * _LINEAR_HZ, _KNEE_HZ * np.exp(_STEP * (np.maximum(mel, knee) - knee)))


def mel_edges_hz(view: MelView | PcenView) -> Floats:
    """Ends and centres of the mel bins: (M + 2,), evenly spaced in mel; bin m reaches from edge m to edge m + 2."""
    htk = view.mel_scale == "htk"
    low, high = hz_to_mel(np.array([view.fmin_hz, view.fmax_hz]), htk)
    return mel_to_hz(np.linspace(low, high, view.n_mels + 2), htk)


def mel_frequencies_hz(view: MelView | PcenView) -> Floats:
    """Centre of each mel bin: (M,)."""
    return mel_edges_hz(view)[1:-1]


def mel_places(hz: Floats, view: MelView | PcenView) -> Floats:
    """Places of frequencies on the axis of mel bins, where the centre of bin m is at m; undoes `mel_frequencies_hz`."""
    htk = view.mel_scale == "htk"
    low, high = hz_to_mel(np.array([view.fmin_hz, view.fmax_hz]), htk)
    return np.asarray((hz_to_mel(hz, htk) - low) / (high - low) * (view.n_mels + 1) - 1)
