"""Speed of reading clips of 5 s: each placement beside a plain memory map, zarr, and decoding on the fly.

All arms take turns in one process over a store of made-up spectrograms in the page cache, with one thread, except for
the data loader's two workers. Each arm makes numpy arrays or torch tensors in this process. `host_vs_memmap` compares
with copying each clip out of one np.memmap, `host_vs_zarr` and `host_vs_zarrs` with one zarr call per clip, and
`host_vs_on_the_fly` with a torch DataLoader that decodes 5 s of Ogg Vorbis and computes the same spectrogram. The
placement `device` is measured on the CPU. Cold starts are measured in a new process, with an empty page cache.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
import zarr
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks import cold_start, songs
from benchmarks.on_the_fly import one_thread
from benchmarks.stores import BATCH, CLIP_FRAMES, draw_batches, write_store
from benchmarks.timing import SHIPPED, interleaved, parse_arguments, ratio, report
from benchmarks.whole import spectrogram
from birdcache.params import load as params
from birdcache.params.sections import MachineParams
from birdcache.params.views import MelView, PcenView
from cache.store import Store
from train.data.frames import DeviceFrames, Frames, HostFrames, StreamFrames

STORE_MB, SONGS, SONG_S, WORKERS = 300, 8, 60, 2
SMALL_GB = 0.064  # less than the store's size
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Arm:
    """A way of reading: `read` reads `clips` clips per call."""

    clips: int
    read: Callable[[], None]


def main() -> None:
    """Measure, print a table, write JSON if asked."""
    arguments = parse_arguments(__doc__ or "")
    loaded = params.load(SHIPPED)
    view = loaded.spectrograms["mel"]
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name, threadpool_limits(1):
        folder = Path(name)
        raw, packed = (write_store(folder, view, compression, STORE_MB) for compression in ("none", "lz4"))
        numbers = cold_starts(raw, packed, loaded.machine)  # first: files mapped below stay in the page cache
        loader, on_the_fly_s = start_loader(folder, view)
        arms = {**placement_arms(raw, packed), **rival_arms(raw, folder), "on_the_fly": loader_arm(loader)}
        seconds = interleaved({name: arm.read for name, arm in arms.items()}, arguments.rounds)
    rates = {name: [arms[name].clips / each for each in seconds[name]] for name in arms}
    numbers |= {f"{name}_crops_per_s": float(np.median(each)) for name, each in rates.items()}
    rivals = ("memmap", "zarr", "zarrs", "on_the_fly")
    numbers |= {f"host_vs_{rival}": ratio(rates["host"], rates[rival]) for rival in rivals}
    report({"store_mb": STORE_MB, **numbers, "on_the_fly_cold_start_s": on_the_fly_s}, arguments.json)


def cold_starts(raw: Store, packed: Store, machine: MachineParams) -> dict[str, float]:
    """Seconds to the first batch and memory of each placement; `stream_small` has less memory than the store needs."""
    chosen: dict[str, tuple[Store, dict[str, Any]]] = {
        "device": (raw, {"placement": "device"}),
        "host": (raw, {"placement": "host"}),
        "stream": (packed, {"placement": "stream"}),
        "stream_small": (packed, {"placement": "stream", "stream_gb": SMALL_GB}),
    }
    found: dict[str, float] = {}
    for name, (store, changes) in chosen.items():
        figures = cold_start.measure(store, machine.model_copy(update=changes))
        found |= {f"{name}_{figure}": value for figure, value in figures.items()}
    return found


def placement_arms(raw: Store, packed: Store) -> dict[str, Arm]:
    """Each placement; the cache of `stream` holds the whole store, that of `stream_cold` starts empty."""
    budget_bytes = 2 * STORE_MB * 10**6
    mapped, kept = HostFrames(raw, CPU), StreamFrames(packed, CPU, budget_bytes)
    return {
        "host": staging(lambda: mapped, raw, 100),
        "device": gathering(DeviceFrames(raw, CPU), raw, 20),
        "stream": staging(lambda: kept, packed, 100),
        "stream_cold": staging(lambda: StreamFrames(packed, CPU, budget_bytes), packed, 4),
    }


def staging(open_frames: Callable[[], Frames], store: Store, count: int) -> Arm:
    """Copy batches into this process's memory."""
    batches = draw_batches(store, count)

    def read() -> None:
        frames = open_frames()
        for row_B, position_BT in batches:
            frames.stage(row_B, position_BT)

    return Arm(count * BATCH, read)


def gathering(frames: Frames, store: Store, count: int) -> Arm:
    """Gather batches on the device, as values."""
    batches = draw_batches(store, count)

    def read() -> None:
        for row_B, position_BT in batches:
            frames.finish(frames.stage(row_B, position_BT))

    return Arm(count * BATCH, read)


def rival_arms(store: Store, folder: Path) -> dict[str, Arm]:
    """One call per clip: numpy on one map of the same bytes, and zarr with each of its codec pipelines."""
    return {
        "memmap": memmap_arm(flat_copy(store, folder / "flat"), 100 * BATCH),
        "zarr": zarr_arm(store, "zarr.core.codec_pipeline.BatchedCodecPipeline", BATCH),
        "zarrs": zarr_arm(store, "zarrs.ZarrsCodecPipeline", 2 * BATCH),
    }


def flat_copy(store: Store, path: Path) -> Any:
    """A memory map of all frames, one after another in one file."""
    shape = (store.manifest.frames, store.view.n_mels)
    flat = np.memmap(path, store.quantizer.dtype, "w+", shape=shape)
    for row, first in enumerate(store.first_frame.tolist()):
        store.copy_frames(row, 0, flat[first : first + int(store.frames[row])])
    flat.flush()
    return np.memmap(path, store.quantizer.dtype, "r", shape=shape)


def memmap_arm(flat: Any, count: int) -> Arm:
    """Copy clips out of a memory map."""
    starts = np.random.default_rng(4).integers(0, len(flat) - CLIP_FRAMES, count).tolist()

    def read() -> None:
        for start in starts:
            np.array(flat[start : start + CLIP_FRAMES])

    return Arm(count, read)


def zarr_arm(store: Store, pipeline: str, count: int) -> Arm:
    """Read clips with one zarr call each."""
    with zarr.config.set({"codec_pipeline.path": pipeline}):
        group: Any = zarr.open_group(store.path / "parts", mode="r")
        parts = [group[part.name] for part in store.manifest.parts]
    clips = [clip for batch in draw_batches(store, count // BATCH) for clip in zip(*batch, strict=True)]
    spans = [(parts[store.part[row]], int(store.start[row] + position_T[0])) for row, position_T in clips]

    def read() -> None:
        for part, start in spans:
            part[start : start + CLIP_FRAMES]

    return Arm(count, read)


class OnTheFly(Dataset[Tensor]):
    """Clips decoded and turned into spectrograms on demand."""

    def __init__(self, paths: list[Path], view: MelView | PcenView) -> None:
        self._paths, self._view = paths, view

    def __getitem__(self, index: int) -> Tensor:
        """Values (T, M) of a clip from a random place in one of the files."""
        samples = CLIP_FRAMES * self._view.hop
        start = int(np.random.default_rng(index).integers(0, SONG_S * self._view.sample_rate_hz - samples))
        with soundfile.SoundFile(self._paths[index % len(self._paths)]) as file:
            file.seek(start)
            waveform_S = file.read(samples, dtype="float32")
        return torch.from_numpy(spectrogram(waveform_S, self._view)[:CLIP_FRAMES])

    def __len__(self) -> int:
        return 4 * BATCH


def start_loader(folder: Path, view: MelView | PcenView) -> tuple[DataLoader[Tensor], float]:
    """A data loader with persistent workers, and the seconds until their first batch."""
    paths = [songs.write_song(folder / f"{seed}.ogg", SONG_S, view.sample_rate_hz, seed) for seed in range(SONGS)]
    loader = DataLoader(
        OnTheFly(paths, view),
        batch_size=BATCH,
        num_workers=WORKERS,
        multiprocessing_context="spawn",  # zarrs must not be used after a fork
        persistent_workers=True,
        worker_init_fn=one_thread,
    )
    begin = time.perf_counter()
    batches = iter(loader)
    next(batches)
    first_batch_s = time.perf_counter() - begin
    for _ in batches:
        pass
    return loader, first_batch_s


def loader_arm(loader: DataLoader[Tensor]) -> Arm:
    """Read all batches of the data loader, whose workers are running already."""

    def read() -> None:
        for _ in loader:
            pass

    return Arm(len(loader) * BATCH, read)


if __name__ == "__main__":
    main()
