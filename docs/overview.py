"""Draw docs/overview.png from a finished demo: `python -m docs.overview` in the project's folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

from birdcache.figures import BLUE, ORANGE, figure
from cache.store import Store

RECORDING_S, SOUNDSCAPE = 8.0, 0


def main() -> None:
    """Three panels: the recording as it is, as it is cached, and what the ensemble hears in a soundscape."""
    store = Store(Path("data/cache/mel.zarr"))
    recordings = pd.read_csv("data/tables/recordings.csv")
    chosen = recordings[recordings["rating"] == recordings["rating"].max()].iloc[0]
    path = pd.read_csv("data/tables/audio.csv").set_index("sha256")["path"][chosen["sha256"]]
    with figure(Path("docs/overview.png"), 12, 3.4) as drawn:
        wave, cached, heard = drawn.subplots(1, 3, width_ratios=(1, 1.1, 1.4))
        draw_wave(wave, path)
        draw_cached(cached, store, chosen["sha256"])
        draw_heard(heard)


def draw_wave(axis, path: str) -> None:  # type: ignore[no-untyped-def]
    """The waveform of a recording."""
    waveform, rate_hz = soundfile.read(path, dtype="float32")
    waveform = waveform[: round(RECORDING_S * rate_hz)]
    axis.plot(np.arange(len(waveform)) / rate_hz, waveform, color=BLUE, linewidth=0.3)
    axis.set(title="1  an OGG recording", xlabel="s", yticks=[])
    axis.grid(visible=False)


def draw_cached(axis, store: Store, sha256: str) -> None:  # type: ignore[no-untyped-def]
    """Its spectrogram, out of the store."""
    frames_per_s = store.view.sample_rate_hz / store.view.hop
    values_MT = store.read(int(store.rows_of([sha256])[0]))[: round(RECORDING_S * frames_per_s)].T
    low, high = np.percentile(values_MT, [10, 99.8])
    extent = (0, values_MT.shape[1] / frames_per_s, 0, store.view.n_mels)
    axis.imshow(values_MT, origin="lower", aspect="auto", extent=extent, vmin=low, vmax=high, cmap="magma")
    axis.set(title="2  cached once, read every epoch", xlabel="s", ylabel="mel bin")
    axis.grid(visible=False)


def draw_heard(axis) -> None:  # type: ignore[no-untyped-def]
    """Scores over time in a soundscape, with rings where the truth says that a species sings."""
    scores = pd.read_csv("reports/submission.csv").set_index("row_id")
    truth = pd.read_csv("data/tables/soundscape_truth.csv", keep_default_na=False).set_index("row_id")["labels"]
    names = scores.index.str.rpartition("_").get_level_values(0)
    shown = scores[names == names.unique()[SOUNDSCAPE]]
    axis.imshow(shown.T.to_numpy(), aspect="auto", cmap="Blues", vmin=0, vmax=1)
    for window, row_id in enumerate(shown.index):
        for label in truth[row_id].split():
            place = (window, shown.columns.get_loc(label))
            axis.scatter(*place, s=40, facecolors="none", edgecolors=ORANGE, linewidths=1.5)
    axis.set_yticks(range(shown.shape[1]), shown.columns, fontsize=7)
    axis.set_xticks(range(0, len(shown), 2), [row_id.rpartition("_")[2] for row_id in shown.index[::2]])
    axis.set(title="3  scores in a soundscape (ring: sings)", xlabel="window's end, s")
    axis.grid(visible=False)


if __name__ == "__main__":
    main()
