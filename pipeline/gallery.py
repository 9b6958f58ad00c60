"""A picture of what a store holds: some recordings with axes in seconds and hertz."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cache.store import Store
from figures import figure
from params import MelView, PcenView
from pipeline.jobs import Source
from pipeline.mel import FloatArray, hz_to_mel

ROWS, COLUMNS, LONGEST_S = 3, 2, 10.0
TICKS_HZ = (500, 1000, 2000, 4000, 8000, 16000, 32000)


def draw_gallery(store: Store, sources: Sequence[Source], path: Path) -> None:
    """Draw up to six recordings, spread evenly over the sources, the first ten seconds of each."""
    rows = store.rows_of([source.sha256 for source in sources])
    held = [(int(row), source) for row, source in zip(rows, sources, strict=True) if row >= 0]
    chosen = [held[number] for number in np.unique(np.linspace(0, len(held) - 1, ROWS * COLUMNS).astype(int))]
    images = [_decoded(store, row) for row, _ in chosen]
    low, high = np.percentile(np.concatenate(images, axis=1), [10, 99.8])
    with figure(path, 10, 7) as drawn:
        axes = drawn.subplots(ROWS, COLUMNS, squeeze=False).ravel()
        for axis in axes[len(chosen) :]:
            axis.set_axis_off()
        for axis, values_MT, (_, source) in zip(axes, images, chosen, strict=False):
            shown = _draw_one(axis, values_MT, store.view, low, high)
            axis.set_title("/".join(Path(source.path).parts[-2:]), fontsize=8, parse_math=False)
        unit = "dB" if isinstance(store.view, MelView) else "PCEN"
        drawn.colorbar(shown, ax=list(axes), label=unit, shrink=0.6)


def _decoded(store: Store, row: int) -> FloatArray:
    codes = store.empty(min(int(store.frames[row]), store.view.frames(LONGEST_S)))
    store.copy_frames(row, 0, codes)
    return store.codec.decode(codes).T


def _draw_one(axis: Any, values_MT: FloatArray, view: MelView | PcenView, low: float, high: float) -> Any:
    seconds = values_MT.shape[1] * view.hop / view.sample_rate_hz
    extent = (0, seconds, -0.5, view.n_mels - 0.5)
    image = axis.imshow(values_MT, origin="lower", aspect="auto", extent=extent, vmin=low, vmax=high, cmap="magma")
    ticks = [hz for hz in TICKS_HZ if view.fmin_hz <= hz <= view.fmax_hz]
    axis.set_yticks(_mel_bins(ticks, view), [f"{hz / 1000:g}" for hz in ticks])
    axis.set(xlabel="s", ylabel="kHz")
    axis.grid(visible=False)
    return image


def _mel_bins(hz: Sequence[float], view: MelView | PcenView) -> Any:
    """Place of frequencies on the axis of mel bins: bin m is centred on edge m + 1 of n_mels + 2."""
    htk = view.mel_scale == "htk"
    ends = hz_to_mel(np.array([view.fmin_hz, view.fmax_hz]), htk)
    mel = hz_to_mel(np.asarray(hz, float), htk)
    return (mel - ends[0]) / (ends[1] - ends[0]) * (view.n_mels + 1) - 1
