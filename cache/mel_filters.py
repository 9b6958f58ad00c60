"""Triangular mel filters; librosa is the oracle in the tests.

M mel bin, F frequency bin of the FFT.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from birdcache.params.views import MelView, PcenView
from cache.mel_axis import mel_edges_hz

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
    edges_hz = mel_edges_hz(view)
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
