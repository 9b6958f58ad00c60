"""Epochs over a store of BirdCLEF's size: 28,000 recordings, 280 hours, 206 species with a long tail.

The store holds made-up values, which take as long to read as real ones, and needs 16 GB as float16, 8 GB as uint8, in
--folder. Each backbone trains some batches from each placement; `epoch_s` extrapolates to 28,000 clips. The baseline is
a DataLoader whose workers decode songs written for it. Meant for a GPU; with a smaller --hours it runs anywhere.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import building, songs
from benchmarks.laps import Lap, device_name, start, train_lap
from benchmarks.on_the_fly import OnTheFlyBatches
from benchmarks.stores import write_store
from benchmarks.timing import SHIPPED, parser_of, report
from birdcache.params import load as parameters
from birdcache.params.model import Params
from birdcache.params.recipe import resolve_recipe
from birdcache.params.views import MelView
from cache.store import Store
from train.data.examples import Examples
from train.data.frames import open_frames
from train.data.member import ResolvedMember
from train.loop.distributed import ALONE
from train.loop.split import TrainingSplit
from train.model.classifier import choose_device

CLASSES, RECORDINGS, HOURS = 206, 28_000, 280.0
TAIL = 1.1  # exponent of the classes' sizes: from 1,500 recordings down to 5
PLACEMENTS = ("device", "host", "stream")
SONGS, SONG_S = 64, 60


def main() -> None:
    """Measure, print a table, write JSON if asked."""
    arguments = parse_arguments()
    params = parameters.load(SHIPPED)
    device = choose_device("auto")
    numbers: dict[str, Any] = {"device": device_name(device), "hours": arguments.hours}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        for backbone in arguments.backbones:
            numbers |= loader_epoch(folder / backbone, params, backbone, device, arguments)
        for dtype in ("float16", "uint8"):
            view = params.views["mel"].model_copy(update={"dtype": dtype})
            megabytes = arguments.hours * 3600 * view.sample_rate_hz / view.hop * view.n_mels / 1e6
            (folder / dtype).mkdir()
            store = write_store(folder / dtype, view, "none", megabytes * (2 if dtype == "float16" else 1))
            for backbone, placement in itertools.product(arguments.backbones, PLACEMENTS):
                found = placement_epoch(store, params, backbone, placement, device, arguments)
                numbers |= {f"{backbone}_{dtype}_{placement}_{key}": value for key, value in found.items()}
    report(numbers, arguments.json)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = parser_of(__doc__ or "")
    parser.add_argument("--hours", type=float, default=HOURS, help="hours of audio in the store")
    parser.add_argument("--folder", type=Path, default=None, help="folder for the stores; default: a temporary one")
    parser.add_argument("--backbones", nargs="+", default=["efficientnet_b0", "efficientnet_b3"])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--batches", type=int, default=100, help="batches per round")
    parser.add_argument("--workers", type=int, default=8, help="workers of the DataLoader that decodes on the fly")
    arguments: argparse.Namespace = parser.parse_args()
    return arguments


def placement_epoch(
    store: Store, params: Params, backbone: str, placement: str, device: torch.device, arguments: argparse.Namespace
) -> dict[str, float]:
    """Clips per second, seconds per epoch, share of time spent waiting, and GPU utilisation, for one placement."""
    machine = params.machine.model_copy(update={"placement": placement})
    begin = time.perf_counter()
    frames, _ = open_frames(store, device, machine)
    opened_s = time.perf_counter() - begin
    training_step, batches = start(split_of(store, params, backbone, frames, device, arguments))
    train_lap(training_step, itertools.islice(batches.epoch(0), 10), device)
    with utilisation(device) as busy:
        laps = [
            train_lap(training_step, itertools.islice(batches.epoch(number), arguments.batches), device)
            for number in range(1, arguments.rounds + 1)
        ]
    return {"open_s": opened_s, **epoch_of(laps), "gpu_busy": float(np.mean(busy)) if busy else float("nan")}


def loader_epoch(
    folder: Path, params: Params, backbone: str, device: torch.device, arguments: argparse.Namespace
) -> dict[str, float]:
    """The same training, fed by a DataLoader that decodes on the fly."""
    view = params.views["mel"]
    assert isinstance(view, MelView)
    folder.mkdir()
    sources = songs.write_many(folder / "songs", SONGS, SONG_S, view.sample_rate_hz)
    store = building.build(folder, sources, view, arguments.workers)
    frames, _ = open_frames(store, device, params.machine)
    training_step, ours = start(split_of(store, params, backbone, frames, device, arguments))
    rows = store.rows_of([source.sha256 for source in sources]).tolist()
    paths = {row: Path(source.path) for row, source in zip(rows, sources, strict=True)}
    loader = OnTheFlyBatches(ours, paths, view, "tuned", arguments.workers)
    laps = []
    for number in range(arguments.rounds + 1):
        laps.append(train_lap(training_step, itertools.islice(loader.epoch(number), arguments.batches), device))
    return {f"{backbone}_tuned_loader_{key}": value for key, value in epoch_of(laps[1:]).items()}


def split_of(
    store: Store, params: Params, backbone: str, frames: Any, device: torch.device, arguments: argparse.Namespace
) -> TrainingSplit:
    """Training data: the shipped recipe on made-up labels with a long tail."""
    member = params.members["base"].model_copy(update={"backbone": backbone})
    sampling = {"clips_per_epoch": arguments.batch * (arguments.batches + 1)}
    recipe = resolve_recipe(params.recipe_of("base"), {"batch_size": arguments.batch, "sampling": sampling})
    resolved = ResolvedMember(
        name="base", member=member, recipe=recipe, view=store.view, store_digest=store.digest, weights_sha256=None
    )
    examples = labelled(store)
    return TrainingSplit(resolved, 0, examples, examples, frames, device, ALONE)


def labelled(store: Store) -> Examples:
    """The recordings of a store with made-up labels: the largest of 206 classes has hundreds of times the smallest."""
    count = len(store)
    weights = np.arange(1, CLASSES + 1) ** -TAIL
    primary = np.random.default_rng(5).choice(CLASSES, count, p=weights / weights.sum())
    labels = tuple(f"bird{number}" for number in range(CLASSES))
    names, rows = tuple(f"XC{number}.ogg" for number in range(count)), np.arange(count)
    secondary = np.zeros((count, CLASSES), bool)
    first, rating = np.zeros(count, np.int64), np.zeros(count)
    return Examples(labels, names, rows, store.part[rows], first, store.frames[rows], primary, secondary, rating)


def epoch_of(laps: list[Lap]) -> dict[str, float]:
    """Medians over the rounds; an epoch has one clip of each of 28,000 recordings."""
    rate = float(np.median([each.clips / each.seconds for each in laps]))
    waiting = float(np.median([each.waited_s / each.seconds for each in laps]))
    return {"clips_per_s": rate, "epoch_s": RECORDINGS / rate, "waiting": waiting}


@contextmanager
def utilisation(device: torch.device) -> Iterator[list[float]]:
    """Shares of time that the GPU was busy, sampled from nvidia-smi twice a second; empty on a CPU."""
    samples: list[float] = []
    done = threading.Event()

    def sample() -> None:
        command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        while device.type == "cuda" and not done.wait(0.5):
            answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            samples.append(float(answer.splitlines()[device.index or 0]) / 100)

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        done.set()
        thread.join()


if __name__ == "__main__":
    main()
