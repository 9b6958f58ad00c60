"""What has to hold on a GPU: the same clips, images and losses as on a CPU, no wait of the host, no memory kept."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.laps import everything, graphed, start, synchronise
from benchmarks.splits import made_up_split
from birdcache.arrays import Ints
from birdcache.params.model import Params
from birdcache.params.views import PcenView
from cache.store import Store
from train.augment.batch import StepInputs
from train.data.frames import DeviceFrames, Frames, HostFrames, StreamFrames
from train.loop.graph import WARM_UP, recorder_for
from train.loop.split import TrainingSplit
from train.loop.trainer import Trainer

CPU = torch.device("cpu")
PLACEMENTS: dict[str, Callable[[Store, torch.device], Frames]] = {
    "device": DeviceFrames,
    "host": HostFrames,
    "stream": partial(StreamFrames, budget_bytes=10**9),
}
OTHERS: dict[str, dict[str, Any]] = {  # recipes whose images need no check of their own
    "padding": {"short": "pad", "clip_s": 20.0},
    "float16": {"precision": "float16", "optimiser": {"clip_norm": 1.0}},
    "running mean": {"optimiser": {"ema_decay": 0.99, "clip_norm": 1.0}},
}
STEPS = 5  # of one check
LARGEST_DIFFERENCE = 2e-4  # of images, which have deviation 1: other sums and another logarithm
LARGEST_OF_LOSSES = 5e-3  # relative, after some steps with another order of sums

Check = Callable[[str, bool, str], None]


class Checks:
    """The checks on one device; each tells its name, whether it holds, and figures."""

    def __init__(self, store: Store, params: Params, device: torch.device, tell: Check, backbone: str) -> None:
        self._store, self._params, self._device, self._tell, self._backbone = store, params, device, tell, backbone

    @property
    def _dtype(self) -> str:
        return self._store.quantizer.dtype

    def of_data(self) -> dict[str, Callable[[], None]]:
        """What depends on the store."""
        images: dict[str, Callable[[], None]]
        images = {f"images of {name}": partial(self.images, name) for name in self._recipes()}
        return {"placements": self.placements, **images}

    def of_training(self) -> dict[str, Callable[[], None]]:
        """What does not."""
        checks: dict[str, Callable[[], None]] = {"losses": self.losses, "memory": self.memory}
        if self._device.type == "cuda":
            waits = {f"no wait in steps of {name}": partial(self.waits, name) for name in self._recipes() | OTHERS}
            checks |= {"graph": self.graph, "float16": self.scaler, **waits}
        return checks

    def placements(self) -> None:
        """The clips of every placement, with padding, are those of mapped files on the CPU."""
        rng = np.random.default_rng(0)
        row_B = rng.integers(0, len(self._store), 32)
        position_BT = rng.integers(-20, self._store.frames[row_B] - 20)[:, None] + np.arange(313)
        position_BT[position_BT >= self._store.frames[row_B][:, None]] = -1
        wanted = clips(HostFrames(self._store, CPU), row_B, position_BT.clip(-1))
        for name, make in PLACEMENTS.items():
            found = clips(make(self._store, self._device), row_B, position_BT.clip(-1))
            self._tell(
                f"the same clips from placement {name}", torch.equal(found, wanted), f"{wanted.numel():,} values"
            )

    def _recipes(self) -> dict[str, dict[str, Any]]:
        pcen = self._params.spectrograms["pcen"]
        assert isinstance(pcen, PcenView)
        channels = {"channels": ["level", "pcen", "slope"], "pcen": pcen.pcen.model_dump()}
        return {
            "the shipped recipe": {},
            "all augmentations": {"augment": everything("bird0")},
            "three channels": channels,
        }

    def images(self, name: str) -> None:
        """Images of a batch are those that torch makes on the CPU, from every placement."""
        changes = {"precision": "float32", **self._recipes()[name]}
        wanted = self._images(CPU, HostFrames, changes)
        for placement in ("device", "host"):
            found = self._images(self._device, PLACEMENTS[placement], changes)
            largest = float((found - wanted).abs().max())
            self._tell(
                f"images of {name}, {self._dtype}, {placement}",
                largest <= LARGEST_DIFFERENCE,
                f"largest difference {largest:.1e}",
            )

    def _images(
        self, device: torch.device, make: Callable[[Store, torch.device], Frames], changes: Mapping[str, Any]
    ) -> torch.Tensor:
        split = self._split(make(self._store, device), device, changes)
        batches = split.batches(split.model())
        made = batches.transform(next(batches.inputs(0))[0]).clips.float().cpu()
        if device.type == "cuda" and not batches._uses_kernel:  # it is left for good when it fails
            raise RuntimeError("the kernel made no images")
        return made

    def losses(self) -> None:
        """Some steps in float32 have the losses of the same steps on the CPU."""
        found, wanted = self._losses(self._device), self._losses(CPU)
        largest = max(abs(one - other) / other for one, other in zip(found, wanted, strict=True))
        told = " ".join(f"{one:.4f}/{other:.4f}" for one, other in zip(found, wanted, strict=True))
        self._tell(f"losses of {STEPS} float32 steps, as on the CPU", largest <= LARGEST_OF_LOSSES, told)

    def _losses(self, device: torch.device) -> list[float]:
        optimiser = {"warmup_epochs": 0, "lr": 1e-3}
        split = self._split(HostFrames(self._store, device), device, {"precision": "float32", "optimiser": optimiser})
        step, batches = start(split)
        for module in step.kept.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0  # draws differ by device
        return [float(step.step(batches.transform(each))) for each, _ in itertools.islice(batches.inputs(0), STEPS)]

    def waits(self, name: str) -> None:
        """The host waits for nothing in any step, with a graph and without, said by torch itself."""
        changes = (self._recipes() | OTHERS)[name]
        for placement, mode in itertools.product(("device", "host"), ("auto", "off")):
            split = self._split(PLACEMENTS[placement](self._store, self._device), self._device, changes)
            take, coming = self._steps(split, mode)
            for each, _ in itertools.islice(coming, WARM_UP + 1):  # what is made once may wait
                take(each)
            torch.cuda.set_sync_debug_mode("error")
            try:
                for each, _ in itertools.islice(coming, STEPS):
                    take(each)
            finally:
                torch.cuda.set_sync_debug_mode("default")
            told = f"{STEPS} steps {'by a graph' if mode == 'auto' else 'without a graph'}"
            self._tell(f"no wait in steps of {name}, {placement}, graph {mode}", True, told)

    def graph(self) -> None:
        """Steps by a CUDA graph, dropout included, have the losses of the same steps without."""
        losses: list[list[float]] = []
        changes = {"precision": "float32", "optimiser": {"warmup_epochs": 0, "lr": 1e-3}}
        for mode in ("auto", "off"):
            split = self._split(DeviceFrames(self._store, self._device), self._device, changes)
            take, coming = self._steps(split, mode)
            losses.append([])
            for number, (each, _) in enumerate(itertools.islice(coming, WARM_UP + STEPS)):
                torch.manual_seed(number)
                losses[-1].append(float(take(each)))
        largest = max(abs(one - other) / other for one, other in zip(*losses, strict=True))
        told = " ".join(f"{one:.4f}/{other:.4f}" for one, other in zip(*losses, strict=True))
        self._tell("losses by a CUDA graph, as without", largest <= LARGEST_OF_LOSSES, told)

    def _steps(
        self, split: TrainingSplit, mode: str
    ) -> tuple[Callable[[StepInputs], torch.Tensor], Iterator[tuple[StepInputs, float]]]:
        """What takes a step, by a graph or without, and the inputs of an epoch."""
        step, batches = start(split)
        by_graph = graphed(split, self._params.machine.model_copy(update={"cuda_graph": mode}), step, batches)
        if mode == "auto" and by_graph is None:
            raise RuntimeError("no graph holds this step")
        return by_graph or (lambda inputs: step.step(batches.transform(inputs))), batches.inputs(0)

    def scaler(self) -> None:
        """float16 with a loss scaler trains: losses end up finite, and the factor is adjusted or kept."""
        frames = HostFrames(self._store, self._device)
        step, batches = start(self._split(frames, self._device, {"precision": "float16"}))
        coming = itertools.islice(batches.inputs(0), 4 * STEPS)
        losses = [float(step.step(batches.transform(each))) for each, _ in coming]
        scale = step.scale()
        told = f"loss {losses[0]:.3f} to {losses[-1]:.3f}, scale {scale:g}"
        self._tell("float16 with a loss scaler", bool(np.isfinite(losses[-1]) and scale), told)

    def memory(self) -> None:
        """A finished training leaves no tensor behind, though the collector of cycles never ran."""
        self._train()  # libraries keep some memory of their first use
        gc.collect()
        gc.disable()
        try:
            before = self._bytes()
            self._train()
            left = self._bytes() - before
        finally:
            gc.enable()
        self._tell("memory after a training as before it", left <= 0, f"{left:,} bytes more")

    def _train(self) -> None:
        changes = {"epochs": 1, "optimiser": {"warmup_epochs": 0}}
        split = self._split(DeviceFrames(self._store, self._device), self._device, changes)
        model = split.model()
        recipe, batches = split.member.recipe, split.batches(model)
        recorder = recorder_for(recipe, self._params.machine, self._device, split.ranks)
        trainer = Trainer(model, batches, recipe, self._device, recorder=recorder)
        for _ in trainer.run(split.validation()):
            pass

    def _bytes(self) -> int:
        """Bytes that tensors take on the device."""
        synchronise(self._device)
        if self._device.type == "cuda":
            return torch.cuda.memory_allocated(self._device)
        tensors = [each for each in gc.get_objects() if issubclass(type(each), torch.Tensor)]
        return sum(
            storage.nbytes() for storage in {each.data_ptr(): each.untyped_storage() for each in tensors}.values()
        )

    def _split(self, frames: Frames, device: torch.device, changes: Mapping[str, Any]) -> TrainingSplit:
        wanted = {"batch_size": 16, "sampling": {"clips_per_epoch": 16 * 8 * STEPS}, **changes}
        if device.type == "cpu":
            wanted["sampling"] = {"clips_per_epoch": 16 * STEPS}
        return made_up_split(self._store, frames, self._params, device, wanted, self._backbone)


def rows_beyond_2_31(store: Store, device: torch.device, tell: Check) -> None:
    """The last recordings of a large store, whose elements a number of 32 bits cannot count."""
    row_B = np.flatnonzero(store.frames > 400)[-8:]
    position_BT = np.zeros((len(row_B), 1), np.int64) + np.arange(313)
    found = [clips(make(store, device), row_B, position_BT) for make in (DeviceFrames, HostFrames)]
    elements = store.manifest.frames * store.view.n_mels
    tell("the last rows from device and host", torch.equal(*found), f"of {elements / 2**31:.2f} x 2^31 elements")


def clips(frames: Frames, row_B: Ints, position_BT: Ints) -> torch.Tensor:
    """Values of clips, in host memory."""
    return frames.finish(frames.stage(row_B, position_BT)).cpu()
