"""Time that training waits for data. Run it after `dvc repro`; it uses the first member with a mel view, on fold 0.

All arms take turns in one process, on the device that training uses; ratios are medians over the rounds.

`keep_ratio`: clips per second in real training / in the same steps on one batch that stays in memory.
`keep_ratio_error`: standard error of its mean over the rounds.
`stall_share`: share of training time that is spent waiting for data.
`headroom`: batches per second of the data path alone / of training.
`augment_cost`: time of a training step with all augmentations / with none, with the backbone --large.
`epoch_ratio_tuned`, `epoch_ratio_librosa`: time of an epoch decoded on the fly by a DataLoader / from the store.
`paid_after_epochs_...`: number of epochs after which decoding everything once has saved time.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import building
from benchmarks.laps import Lap, changed, data_lap, device_name, everything, start, train_lap
from benchmarks.on_the_fly import Kind, OnTheFlyBatches
from benchmarks.timing import parser_of, report
from birdcache.params import load as params
from birdcache.params.views import MelView, each_of
from cache import tables
from cache.tables import Col
from pipeline.spectrograms import read_sources
from train.augment.batch import Batch
from train.augment.training_batches import TrainingBatches
from train.data.dataset import open_stores
from train.data.member import read_member
from train.loop.split import TrainingSplit, open_split
from train.loop.step import TrainingStep
from train.model.classifier import choose_device

PLAIN: Mapping[str, Any] = {
    "gain_db": 0.0,
    "time_shift_s": 0.0,
    "mixup": {"probability": 0.0},
    "sumix": {"probability": 0.0},
    "cutmix": {"probability": 0.0},
    "eq": {"probability": 0.0},
    "background": {"probability": 0.0},
    "noise": {"probability": 0.0},
    "spec_augment": {"mel_masks": 0, "time_masks": 0},
}
KEEP_ROUNDS = 4  # times as many rounds, since a difference of 1 % hides in the noise of a shared machine


def main() -> None:
    """Measure, print a table, write JSON if asked."""
    arguments = parse_arguments()
    split = changed(read_split(), {"sampling": {"clips_per_epoch": arguments.clips}})
    numbers: dict[str, Any] = {"device": device_name(split.device), "backbone": split.member.member.backbone}
    numbers |= keep_numbers(split, KEEP_ROUNDS * arguments.rounds)
    numbers |= augment_numbers(changed(split, {}, arguments.large), arguments.rounds)
    numbers |= loader_numbers(split, arguments.rounds, arguments.workers)
    report(numbers, arguments.json)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = parser_of(__doc__ or "")
    parser.add_argument("--clips", type=int, default=160, help="clips per epoch")
    parser.add_argument("--large", default="tf_efficientnet_lite0", help="backbone for augment_cost")
    parser.add_argument("--workers", type=int, default=2, help="workers of the loaders and of decoding")
    arguments: argparse.Namespace = parser.parse_args()
    return arguments


def read_split() -> TrainingSplit:
    """The first member with a mel view, on fold 0."""
    loaded = params.load()
    name = next(each for each, member in loaded.members.items() if isinstance(loaded.views[member.view], MelView))
    return open_split(read_member(name), 0, loaded.machine, choose_device(loaded.machine.device))


def keep_numbers(split: TrainingSplit, rounds: int) -> dict[str, float]:
    """Cost of the data path from the store to the model, relative to the model's own."""
    training_step, batches = start(split)
    kept = next(iter(batches.epoch(0)))
    every = [one_round(training_step, batches, kept, number, split.device) for number in range(rounds + 1)][1:]
    shares = [rate(real) / rate(resident) for real, resident, _ in every]
    return {
        "clips_per_s": median(real.clips / real.seconds for real, _, _ in every),
        "keep_ratio": median(shares),
        "keep_ratio_error": float(np.std(shares, ddof=1) / len(shares) ** 0.5),
        "stall_share": median(real.waited_s / real.seconds for real, _, _ in every),
        "headroom": median(real.seconds / data.seconds for real, _, data in every),
    }


def one_round(
    training_step: TrainingStep, batches: TrainingBatches, kept: tuple[Batch, float], epoch: int, device: torch.device
) -> tuple[Lap, Lap, Lap]:
    """An epoch of training, the same number of steps on a kept batch, and the epoch's data alone."""
    real = train_lap(training_step, batches.epoch(epoch), device)
    resident = train_lap(training_step, itertools.repeat(kept, len(batches)), device)
    return real, resident, data_lap(batches.epoch(epoch), device)


def augment_numbers(split: TrainingSplit, rounds: int) -> dict[str, float]:
    """Cost of augmentation with a backbone of realistic size."""
    label = split.trained.labels[split.trained.primary[0]]
    arms = [start(changed(split, {"augment": changes})) for changes in (everything(label), PLAIN)]
    laps = [
        [
            train_lap(training_step, itertools.islice(batches.epoch(number), 4), split.device)
            for training_step, batches in arms
        ]
        for number in range(rounds + 1)
    ][1:]
    return {"augment_cost": median(rate(plain) / rate(augmented) for augmented, plain in laps)}


def loader_numbers(split: TrainingSplit, rounds: int, workers: int) -> dict[str, float]:
    """Epochs decoded on the fly beside epochs from the store, and the break-even of decoding once."""
    training_step, ours = start(split)
    kinds: tuple[Kind, ...] = ("tuned", "librosa")
    arms: dict[str, Any] = {"ours": ours} | {kind: loader(split, ours, kind, workers) for kind in kinds}
    laps: dict[str, list[Lap]] = {name: [] for name in arms}
    for number in range(rounds + 1):
        for name, batches in arms.items():
            laps[name].append(train_lap(training_step, batches.epoch(number), split.device))
    seconds = {name: [each.seconds for each in every[1:]] for name, every in laps.items()}
    decoding_s = decode_once_s(split, workers)
    per_clip = len(split.trained) / laps["ours"][0].clips  # an epoch of the whole fold
    numbers = {"decoding_once_s": decoding_s}
    for kind in kinds:
        numbers[f"epoch_ratio_{kind}"] = median(
            theirs / own for theirs, own in zip(seconds[kind], seconds["ours"], strict=True)
        )
        lost_s = (np.median(seconds[kind]) - np.median(seconds["ours"])) * per_clip
        numbers[f"paid_after_epochs_{kind}"] = float(decoding_s / lost_s)
    return numbers


def loader(split: TrainingSplit, ours: TrainingBatches, kind: Kind, workers: int) -> OnTheFlyBatches:
    """The same batches, decoded by the workers of a DataLoader."""
    view = split.member.view
    assert isinstance(view, MelView)
    return OnTheFlyBatches(ours, paths_of(split), view, kind, workers)


def paths_of(split: TrainingSplit) -> dict[int, Path]:
    """The audio file of each row of the store."""
    table = tables.AUDIO.read()
    rows = open_stores(split.member)[0].rows_of(list(table[Col.SHA256]))
    return {int(row): Path(path) for row, path in zip(rows, table[Col.PATH], strict=True)}


def decode_once_s(split: TrainingSplit, workers: int) -> float:
    """Seconds to build the member's store from nothing."""
    sources, view = read_sources(tables.AUDIO), each_of(split.member.view)[0]
    with tempfile.TemporaryDirectory() as folder:
        building.build(Path(folder), sources[:8], view, workers)  # starts the worker processes
        begin = time.perf_counter()
        building.build(Path(folder), sources, view, workers)
        return time.perf_counter() - begin


def rate(one: Lap) -> float:
    """Clips per second."""
    return one.clips / one.seconds


def median(values: Iterable[float] | Iterator[float]) -> float:
    """Median over the rounds."""
    return float(np.median(list(values)))


if __name__ == "__main__":
    main()
