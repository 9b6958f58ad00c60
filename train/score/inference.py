"""Scores of clips, from one model. B batch, T frame, K class, N clip."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from birdcache.arrays import Floats32, Floats64, Ints
from birdcache.params.recipe import Recipe
from birdcache.params.views import AnyView
from train.augment.normalise import Normaliser, as_images
from train.data.examples import Examples
from train.data.frames import Frames, Uploaded
from train.data.loader import ahead
from train.data.sampling import clip_positions, covering_starts
from train.model.classifier import Classifier, Logits, autocast_dtype
from train.model.losses import scores

GPU_BATCHES = 4  # times as many clips are scored together on a GPU, which a smaller batch leaves idle


@dataclass(frozen=True)
class ClipList:
    """Fixed clips to score: the store's row of each, its recording's used frames, its start in them, and its owner."""

    row: Ints
    first: Ints
    frames: Ints
    start: Ints
    owner: Ints

    def __len__(self) -> int:
        return len(self.row)

    def subset(self, chosen: slice) -> ClipList:
        """Clips that follow each other in the list."""
        return ClipList(*(column[chosen] for column in (self.row, self.first, self.frames, self.start, self.owner)))


def covering_clips(examples: Examples, clip_frames: int, most: int = 0) -> ClipList:
    """Clips that cover all that is used of recordings; `owner` is the recording's number.

    Parameters
    ----------
    most : clips of a recording, spread evenly over it; 0 = all.
    """
    starts = [covering_starts(int(frames), clip_frames) for frames in examples.frames]
    if most:
        odd = 2 * np.arange(most) + 1  # of twice as many equal parts, these end in the middles
        starts = [each if len(each) <= most else each[odd * len(each) // (2 * most)] for each in starts]
    owner = np.repeat(np.arange(len(examples)), [len(each) for each in starts])
    start = np.concatenate([np.empty(0, np.int64), *starts])
    return ClipList(examples.rows[owner], examples.first[owner], examples.frames[owner], start, owner)


def clips_at(middle_N: Floats64, row: int | Ints, frames: int | Ints, view: AnyView, clip_frames: int) -> ClipList:
    """Clips around middles, in seconds, moved inside their recordings at its ends; `owner` numbers them.

    Parameters
    ----------
    row, frames : of one long recording, or (N,) of the recording of each clip.
    """
    middle = middle_N * (view.sample_rate_hz / view.hop)
    start = np.clip(np.rint(middle - clip_frames / 2), 0, np.maximum(frames - clip_frames, 0)).astype(np.int64)
    owner = np.arange(len(start), dtype=np.int64)
    return ClipList(np.full_like(start, row), np.zeros_like(start), np.full_like(start, frames), start, owner)


def rolled(images: Tensor, rolls: int) -> Iterator[Tensor]:
    """Images (B, C, M, T) as they are, and rolled on in time by equal parts of their frames; `rolls` in all."""
    yield images
    for number in range(1, rolls):
        yield torch.roll(images, images.shape[-1] * number // rolls, dims=-1)


def mean_logits(found: Sequence[Logits]) -> Logits:
    """The mean of several models' or images' logits."""
    columns = (each for each in zip(*found, strict=True) if each[0] is not None)
    return Logits(*(torch.stack(each).mean(dim=0) for each in columns)) if len(found) > 1 else found[0]


class Scorer:
    """A model with all that it needs to score clips of a store; `compiled` pays off where it scores again and again."""

    def __init__(
        self,
        model: Classifier,
        frames: Frames,
        view: AnyView,
        recipe: Recipe,
        device: torch.device,
        compiled: bool = False,
    ) -> None:
        self._frames, self._view, self._recipe, self._device = frames, view, recipe, device
        self._layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
        self._model = model.to(memory_format=self._layout)
        self._compiled: Any = torch.compile(self._model, dynamic=False) if compiled else self._model
        self._clip_frames = view.frames(recipe.clip_s)
        self._normaliser = Normaliser(view, recipe, model.statistics)

    @torch.no_grad()
    def logits(self, clips: ClipList, batch_size: int) -> Iterator[Logits]:
        """Logits of the clips, batch after batch, on the device; later batches are read meanwhile."""
        dtype = autocast_dtype(self._recipe.precision, self._device)
        self._model.eval()
        for (_, staged), _ in ahead(self._staged(clips, batch_size)):
            images = as_images(self._normaliser(self._frames.finish(staged)))
            images = images.contiguous(memory_format=self._layout)
            with torch.autocast(self._device.type, dtype, enabled=dtype is not None):
                # an odd last batch is not worth being compiled
                model = self._compiled if len(images) == batch_size else self._model
                logits = mean_logits([model(each) for each in rolled(images, self._recipe.rolls)])
            yield logits

    def _staged(self, clips: ClipList, batch_size: int) -> Iterator[tuple[None, Uploaded]]:
        loop = self._recipe.short == "loop"
        for begin in range(0, len(clips), batch_size):
            each = clips.subset(slice(begin, begin + batch_size))
            position = clip_positions(each.start, each.frames, self._clip_frames, loop, each.first)
            yield None, self._frames.stage(each.row, position)

    def scores(self, clips: ClipList, batch_size: int) -> Floats32:
        """Scores of the clips: (N, K) float32."""
        return np.concatenate(list(self.batches(clips, batch_size)))

    def batches(self, clips: ClipList, batch_size: int) -> Iterator[Floats32]:
        """Scores of the clips, batch after batch; a GPU computes the next ones while the host waits for one."""
        pending: deque[ToHost] = deque()
        for logits in self.logits(clips, batch_size * (GPU_BATCHES if self._device.type == "cuda" else 1)):
            pending.append(ToHost(scores(logits.clip, self._recipe.loss).float()))
            if len(pending) > 1:
                yield pending.popleft().numpy()
        yield from (each.numpy() for each in pending)


class ToHost:
    """Values on their way to the host, which can wait for them without waiting for what the device does next."""

    def __init__(self, values: Tensor) -> None:
        self._values, self._arrived = values.to("cpu", non_blocking=True), None
        if values.device.type == "cuda":
            self._arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._arrived.record(torch.cuda.current_stream(values.device))

    def numpy(self) -> Floats32:
        """The values, once they are there."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return np.asarray(self._values.numpy(), np.float32)
