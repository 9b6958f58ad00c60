"""Speeds of training steps on one device: from every placement, compiled, from waveforms, from a DataLoader."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.gpu_checks import PLACEMENTS
from benchmarks.laps import graphed, start, synchronise
from benchmarks.lines import Lines
from benchmarks.splits import made_up_split
from benchmarks.stores import megabytes_of
from benchmarks.waveforms import WaveformFrames
from birdcache.params.model import Params
from birdcache.params.views import MelView
from cache.store import Store
from train.augment.batch import StepInputs
from train.data.frames import Frames
from train.loop.split import TrainingSplit

WAVEFORM_HOURS = 16.0  # at most: what is held in memory; their bytes are told for --hours
SONGS, SONG_S = 32, 60  # that the DataLoader decodes
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Sizes:
    """Clips of a batch, steps of a lap, laps, and steps before the first one."""

    batch: int
    steps: int
    rounds: int
    warm: int


@dataclass(frozen=True)
class Lap:
    """Milliseconds of a step: in all, until it was launched, and of waiting for data."""

    ms: float
    launch_ms: float
    waited_ms: float


class Speeds:
    """Laps of training with one backbone or another, from one source of frames or another."""

    def __init__(self, params: Params, device: torch.device, sizes: Sizes, lines: Lines) -> None:
        self._params, self._device, self._sizes, self._lines = params, device, sizes, lines

    def placement(self, store: Store, placement: str, backbone: str) -> None:
        """Real training from a placement, and the same steps on a batch that stays."""
        begin = time.perf_counter()
        frames = PLACEMENTS[placement](store, self._device)
        synchronise(self._device)
        opened_s, size_gb = time.perf_counter() - begin, store.manifest.frames * store.layout.frame_bytes / 1e9
        name = f"{backbone} {store.quantizer.dtype} {placement}"
        self._measure(name, store, frames, backbone, {}, f"opened {size_gb:.2f} GB in {opened_s:.2f} s")

    def without_graph(self, store: Store, backbone: str) -> None:
        """As `placement` from the device's memory, with each step launched kernel by kernel."""
        frames = PLACEMENTS["device"](store, self._device)
        name = f"{backbone} {store.quantizer.dtype} device no graph"
        self._measure(name, store, frames, backbone, {}, "", cuda_graph="off")

    def compiled(self, store: Store, backbone: str) -> None:
        """As `placement`, compiled; one graph is made, whatever the batches of an epoch."""
        from torch._dynamo.utils import counters

        counters.clear()
        frames = PLACEMENTS["device"](store, self._device)
        self._measure(f"{backbone} uint8 device compiled", store, frames, backbone, {"compile": True}, "")
        graphs = counters["stats"]["unique_graphs"]
        self._lines.tell(f"{backbone} is compiled once", graphs == 1, f"{graphs} graphs")

    def waveforms(self, store: Store, hours: float, place: str, backbone: str) -> None:
        """Training from 16-bit waveforms, whose mel spectra the device computes in each step."""
        view = store.view
        assert isinstance(view, MelView)
        clip_frames = view.frames(self._params.recipe_of("base").clip_s)
        held = min(hours, WAVEFORM_HOURS)
        frames = WaveformFrames(store, self._device, clip_frames, held, resident=place == "device")
        shape = (self._sizes.batch, (clip_frames - 1) * view.hop + view.n_fft)
        samples_BS = torch.randint(-999, 999, shape, device=self._device)
        mel_ms = 1e3 * min(seconds(lambda: frames.decibels(samples_BS), self._device) for _ in range(5))
        self._lines.numbers[f"waveforms_{place}_mel_ms"] = mel_ms
        gigabytes = hours * 3600 * view.sample_rate_hz * 2 / 1e9
        ours_gb = megabytes_of(view.model_copy(update={"dtype": "uint8"}), hours) / 1e3
        told = f"{gigabytes:.1f} GB for {hours:g} h (ours as uint8 {ours_gb:.1f}); mel of a batch {mel_ms:.2f} ms"
        self._measure(f"waveforms {place} {backbone}", store, frames, backbone, {}, told)

    def loader(self, folder: Path, backbone: str) -> None:
        """Training fed by a DataLoader that decodes on the fly, relative to the same steps on a batch that stays."""
        from benchmarks import building, songs
        from benchmarks.on_the_fly import OnTheFlyBatches

        view = self._params.spectrograms["mel"]
        assert isinstance(view, MelView)
        folder.mkdir()
        sources = songs.write_many(folder / "songs", SONGS, SONG_S, view.sample_rate_hz)
        store = building.build(folder, sources, view, CORES)
        rows = store.rows_of([source.sha256 for source in sources]).tolist()
        paths = {row: Path(source.path) for row, source in zip(rows, sources, strict=True)}
        step, ours = start(self._split(store, PLACEMENTS["host"](store, self._device), backbone, {}))
        still_step = partial(step.step, next(ours.epoch(0))[0])
        self._still_lap(self._sizes.warm, still_step)
        still = [self._still_lap(self._sizes.steps, still_step) for _ in range(self._sizes.rounds)]
        for kind in ("tuned", "librosa"):
            coming = OnTheFlyBatches(ours, paths, view, kind, CORES).epoch(0)
            self._lap(itertools.islice(coming, self._sizes.warm), step.step)
            # one after another: beside other laps the workers would read ahead
            real = [self._lap(itertools.islice(coming, self._sizes.steps), step.step) for _ in still]
            self._told(f"loader {kind} {backbone}", "", real, still)

    def _split(self, store: Store, frames: Frames, backbone: str, changes: Mapping[str, Any]) -> TrainingSplit:
        clips = self._sizes.batch * (self._sizes.warm + self._sizes.steps * (self._sizes.rounds + 1))
        wanted = {"batch_size": self._sizes.batch, "sampling": {"clips_per_epoch": clips}, **changes}
        return made_up_split(store, frames, self._params, self._device, wanted, backbone)

    def _measure(
        self,
        name: str,
        store: Store,
        frames: Frames,
        backbone: str,
        changes: Mapping[str, Any],
        told: str,
        cuda_graph: str = "auto",
    ) -> None:
        """Laps of training in turns with laps of the same steps on one batch that stays.

        A graph makes that batch anew from numbers and frames that stay, since it holds this as well.
        """
        split = self._split(store, frames, backbone, changes)
        step, batches = start(split)
        machine = self._params.machine.model_copy(update={"cuda_graph": cuda_graph})
        by_graph = graphed(split, machine, step, batches)
        take = by_graph or (lambda inputs: step.step(batches.transform(inputs)))
        kept, _ = next(batches.inputs(0))
        still_step = partial(by_graph, kept) if by_graph else partial(step.step, batches.transform(kept))
        busy_ms, coming = self._busy_ms(batches.inputs(0), take), batches.inputs(0)
        self._lap(itertools.islice(coming, self._sizes.warm), take)
        real, still = [], []
        for _ in range(self._sizes.rounds):
            real.append(self._lap(itertools.islice(coming, self._sizes.steps), take))
            still.append(self._still_lap(self._sizes.steps, still_step))
        self._told(name, told, real, still, busy_ms)

    def _still_lap(self, steps: int, do: Callable[[], object]) -> Lap:
        return self._lap(itertools.repeat((None, 0.0), steps), lambda _: do())

    def _lap(self, batches: Iterable[tuple[Any, float]], take: Callable[[Any], object]) -> Lap:
        synchronise(self._device)
        begin, waited_s, steps = time.perf_counter(), 0.0, 0
        for each, batch_waited_s in batches:
            take(each)
            waited_s += batch_waited_s
            steps += 1
        launched = time.perf_counter()
        synchronise(self._device)
        return Lap(*(1e3 * each / steps for each in (time.perf_counter() - begin, launched - begin, waited_s)))

    def _busy_ms(
        self, coming: Iterator[tuple[StepInputs, float]], take: Callable[[StepInputs], object]
    ) -> float | None:
        """Milliseconds in which the GPU computes or copies in a step, by the profiler."""
        if self._device.type != "cuda":
            return None
        from torch.profiler import ProfilerActivity, profile

        self._lap(itertools.islice(coming, self._sizes.warm // 2), take)
        with profile(activities=[ProfilerActivity.CUDA]) as profiler:
            self._lap(itertools.islice(coming, 3), take)
        spent_us: list[float] = [
            each.device_time for each in profiler.events() or [] if each.device_type.name == "CUDA"
        ]
        return sum(spent_us) / 3e3

    def _told(self, name: str, told: str, real: list[Lap], still: list[Lap], busy_ms: float | None = None) -> None:
        """Medians over the laps."""
        ms = float(np.median([each.ms for each in real]))
        keep = float(np.median([there.ms / each.ms for each, there in zip(real, still, strict=True)]))
        launch_ms = float(np.median([each.launch_ms for each in real]))
        waited_ms = float(np.median([each.waited_ms for each in real]))
        busy = busy_ms / ms if busy_ms is not None else 1 - waited_ms / ms
        key = name.replace(" ", "_")
        self._lines.numbers |= {
            f"{key}_ms": ms,
            f"{key}_launch_ms": launch_ms,
            f"{key}_keep": keep,
            f"{key}_busy": busy,
        }
        rate = 1e3 * self._sizes.batch / ms
        line = f"{ms:.2f} ms a step ({launch_ms:.2f} to launch), {rate:,.0f} clips/s, keep {keep:.3f}, busy {busy:.3f}"
        self._lines.say(name, f"{line}; {told}" if told else line)


def seconds(do: Callable[[], object], device: torch.device) -> float:
    """Duration of one call."""
    synchronise(device)
    begin = time.perf_counter()
    do()
    synchronise(device)
    return time.perf_counter() - begin
