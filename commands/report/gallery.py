"""Pictures of recordings in a store, with axes in seconds and kHz."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from birdcache.arrays import Floats32, spread
from birdcache.figures import figure
from birdcache.params.views import MelView, PcenView
from cache.mel import mel_places
from cache.store import Store
from commands.report.results import AudioFile, piece_of

ROWS, COLUMNS, LONGEST_S = 3, 2, 10.0
TICKS_HZ = (500, 1000, 2000, 4000, 8000, 16000, 32000)


def draw_gallery(store: Store, audio: Sequence[AudioFile], path: Path) -> None:
    """Draw up to six recordings, spread evenly over the audio files, the first ten seconds of each."""
    rows = store.rows_of([file.sha256 for file in audio])
    chosen = spread([file for row, file in zip(rows, audio, strict=True) if row >= 0], ROWS * COLUMNS)
    images = [piece_of(store, file.sha256, 0.0, LONGEST_S).T for file in chosen]
    low, high = np.percentile(np.concatenate(images, axis=1), [10, 99.8])
    with figure(path, 10, 7) as drawn:
        axes = drawn.subplots(ROWS, COLUMNS, squeeze=False).ravel()
        for axis in axes[len(chosen) :]:
            axis.set_axis_off()
        for axis, values_MT, file in zip(axes, images, chosen, strict=False):
            shown = draw_spectrogram(axis, values_MT, store.view, low, high)
            axis.set_title("/".join(Path(file.path).parts[-2:]), fontsize=8, parse_math=False)
        unit = "dB" if isinstance(store.view, MelView) else "PCEN"
        drawn.colorbar(shown, ax=list(axes), label=unit, shrink=0.6)


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
