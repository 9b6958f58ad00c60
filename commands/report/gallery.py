"""Pictures of recordings in a store, with axes in seconds and kHz."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from birdcache.arrays import Floats32
from birdcache.figures import figure
from birdcache.params.views import MelView, PcenView
from cache.mel import mel_places
from cache.store import Store
from commands.report.results import AudioFile

ROWS, COLUMNS, LONGEST_S = 3, 2, 10.0
TICKS_HZ = (500, 1000, 2000, 4000, 8000, 16000, 32000)


def draw_gallery(store: Store, audio: Sequence[AudioFile], path: Path) -> None:
    """Draw up to six recordings, spread evenly over the audio files, the first ten seconds of each."""
    rows = store.rows_of([file.sha256 for file in audio])
    held = [(int(row), file) for row, file in zip(rows, audio, strict=True) if row >= 0]
    chosen = [held[number] for number in np.unique(np.linspace(0, len(held) - 1, ROWS * COLUMNS).astype(int))]
    images = [_decoded(store, row) for row, _ in chosen]
    low, high = np.percentile(np.concatenate(images, axis=1), [10, 99.8])
    with figure(path, 10, 7) as drawn:
        axes = drawn.subplots(ROWS, COLUMNS, squeeze=False).ravel()
        for axis in axes[len(chosen) :]:
            axis.set_axis_off()
        for axis, values_MT, (_, file) in zip(axes, images, chosen, strict=False):
            shown = draw_spectrogram(axis, values_MT, store.view, low, high)
            axis.set_title("/".join(Path(file.path).parts[-2:]), fontsize=8, parse_math=False)
        unit = "dB" if isinstance(store.view, MelView) else "PCEN"
        drawn.colorbar(shown, ax=list(axes), label=unit, shrink=0.6)


def _decoded(store: Store, row: int) -> Floats32:
    quantized = store.empty(min(int(store.frames[row]), store.view.frames(LONGEST_S)))
    store.copy_frames(row, 0, quantized)
    return store.quantizer.decode(quantized).T


def draw_spectrogram(axis: Any, values_MT: Floats32, view: MelView | PcenView, low: float, high: float) -> Any:
    """Draw a spectrogram (M, T) with axes in seconds and kHz; returns the image, for a colour bar."""
    seconds = values_MT.shape[1] * view.hop / view.sample_rate_hz
    extent = (0, seconds, -0.5, view.n_mels - 0.5)
    image = axis.imshow(values_MT, origin="lower", aspect="auto", extent=extent, vmin=low, vmax=high, cmap="magma")
    ticks = [hz for hz in TICKS_HZ if view.fmin_hz <= hz <= view.fmax_hz]
    axis.set_yticks(mel_places(np.array(ticks, float), view), [f"{hz / 1000:g}" for hz in ticks])
    axis.set(xlabel="s", ylabel="kHz")
    axis.grid(visible=False)
    return image
