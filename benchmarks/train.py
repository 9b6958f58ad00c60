"""Does the device wait for data? Real training against the same steps on batches that already lie in memory.

`keep_ratio` near 1 means that reading, mixing and masking cost nothing beside the model. Run after `dvc repro`.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import numpy as np
import torch

import params
from benchmarks.timing import parse_arguments, report
from train import fit, members
from train.batches import Batch, TrainingBatches
from train.examples import read_examples, read_labels
from train.loop import Trainer
from train.model import build_model, choose_device
from train.residence import open_frames

WARM_UP = 1


def main() -> None:
    """Measure the first member of params.yaml on fold 0, print a table, write JSON if asked."""
    arguments = parse_arguments(__doc__ or "")
    loaded = params.load()
    name = next(iter(loaded.members))
    member = members.read_member(name)
    device = choose_device(loaded.machine.device)
    store, labels = fit.open_store(member), read_labels()
    examples, folds = read_examples(store, labels)
    frames, _ = open_frames(store, device, loaded.machine)
    batches = TrainingBatches(examples.subset(folds != 0), frames, member.view, member.recipe, device)
    model = build_model(member.member, len(labels), pretrained=False).to(device).train()
    trainer = Trainer(model, batches, member.recipe, device)
    kept = [batch for batch, _ in batches.epoch(0)]
    rounds = [one_round(trainer, batches, kept, number, device) for number in range(WARM_UP + arguments.rounds)]
    real, resident, data, waited = np.array(rounds[WARM_UP:]).T
    clips = sum(len(batch.clips) for batch in kept)
    numbers = {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else f"cpu, {torch.get_num_threads()} threads",
        "backbone": member.member.backbone,
        "clips_per_s": float(clips / np.median(real)),
        "keep_ratio": float(np.median(resident / real)),
        "stall_share": float(np.median(waited / real)),
        "headroom": float(np.median(real / data)),
    }
    report(numbers, arguments.json)


def one_round(
    trainer: Trainer, batches: TrainingBatches, kept: list[Batch], epoch: int, device: torch.device
) -> tuple[float, float, float, float]:
    """Seconds of an epoch of training, of the same steps on kept batches, of the data alone, and spent waiting."""
    real, waited = timed_steps(trainer, batches.epoch(epoch), device)
    resident, _ = timed_steps(trainer, zip(kept, itertools.repeat(0.0), strict=False), device)
    begin = time.perf_counter()
    for _ in batches.epoch(epoch):
        pass
    return real, resident, time.perf_counter() - begin, waited


def timed_steps(trainer: Trainer, batches: Iterator[tuple[Batch, float]], device: torch.device) -> tuple[float, float]:
    """Seconds of one training step per batch, and those of them spent waiting for data."""
    begin, waited_s = time.perf_counter(), 0.0
    for batch, batch_waited_s in batches:
        trainer.step(batch)
        waited_s += batch_waited_s
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin, waited_s


if __name__ == "__main__":
    main()
