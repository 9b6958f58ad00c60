"""The mel scale, its filters, and the constants that front end and trainer share. M mel bin, F bin of the FFT.

librosa gives frequencies and filters. Its import takes 0.3 s and 60 MB, so it comes late, and a stage hands the filters
to its workers and their decoders (`packed_view`, `unpacked_view`) instead of having each import librosa.
"""

import base64
import json
import math
import warnings
import zlib
from functools import lru_cache
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from birdcache.arrays import Floats32, Floats64
from birdcache.params.views import View

POWER_FLOOR = 1e-10  # -100 dB: below the quantisation noise of 16-bit audio in one mel bin
PCEN_SCALE = 2.0**31  # PCEN's constants are made for integer audio (librosa.pcen)

ANY_VIEW: TypeAdapter[View] = TypeAdapter(View)

_filters: dict[View, Floats32] = {}


def smoothing_coefficient(time_constant_frames: float) -> float:
    """Coefficient b of PCEN's smoother m[t] = (1 - b) m[t-1] + b e[t] (as librosa.pcen derives it)."""
    square = time_constant_frames**2
    return (math.sqrt(1 + 4 * square) - 1) / (2 * square)


def mel_edges_hz(view: View) -> Floats64:
    """Ends and centres of the mel bins: (M + 2,), evenly spaced in mel; bin m reaches from edge m to edge m + 2."""
    from librosa import mel_frequencies

    htk = view.mel_scale == "htk"
    return np.asarray(mel_frequencies(view.n_mels + 2, fmin=view.fmin_hz, fmax=view.fmax_hz, htk=htk))


def mel_places(hz: Floats64, view: View) -> Floats64:
    """Places of frequencies on the axis of mel bins, where the centre of bin m is at m."""
    from librosa import hz_to_mel

    htk = view.mel_scale == "htk"
    low, high = hz_to_mel([view.fmin_hz, view.fmax_hz], htk=htk)
    return np.asarray((hz_to_mel(hz, htk=htk) - low) / (high - low) * (view.n_mels + 1) - 1)


def mel_filters(view: View) -> Floats32:
    """Triangular mel filters of unit area (`librosa.filters.mel`, norm slaney), or of height 1 (norm None).

    A ValueError if a filter is so narrow that it holds no FFT bin.

    Returns
    -------
    (F, M) float32 with F = n_fft // 2 + 1, the caller's own.
    """
    if view in _filters:
        return _filters[view].copy()
    from librosa.filters import mel

    facts: Any = {"sr": view.sample_rate_hz, "n_fft": view.n_fft, "n_mels": view.n_mels}
    facts |= {"htk": view.mel_scale == "htk", "norm": view.mel_norm if view.mel_norm != "none" else None}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Empty filters detected")  # refused below
        # float64, then rounded once: the bits that stores have been built with
        filters_MF = mel(**facts, fmin=view.fmin_hz, fmax=view.fmax_hz, dtype=np.float64)
    empty = np.flatnonzero(filters_MF.max(axis=1) == 0)
    if len(empty):
        raise ValueError(
            f"{len(empty)} of {view.n_mels} mel bins (first: {empty[0]}) hold no FFT bin; "
            f"raise n_fft or fmin_hz, or lower n_mels"
        )
    _filters[view] = np.ascontiguousarray(filters_MF.T, np.float32)
    return _filters[view].copy()


@lru_cache(maxsize=16)
def packed_view(view: View) -> str:
    """A view and its filters as text of 10 to 130 kB, for `unpacked_view` in another process."""
    filters = base64.b85encode(zlib.compress(mel_filters(view).astype("<f4").tobytes()))
    return json.dumps([view.model_dump(mode="json"), filters.decode()])


@lru_cache(maxsize=16)
def unpacked_view(packed: str) -> View:
    """The view; `mel_filters` of this process then gives what the other one has computed."""
    facts, filters = json.loads(packed)
    view: View = ANY_VIEW.validate_python(facts)
    if view not in _filters:
        values = np.frombuffer(zlib.decompress(base64.b85decode(filters)), "<f4")
        _filters[view] = values.reshape(-1, view.n_mels).astype(np.float32)
    return view
