"""Scores of clips, from one model. B batch, T frame, K class, N clip, S shift."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from birdcache.arrays import Floats32, Floats64, Ints
from birdcache.params.recipe import Recipe
from birdcache.params.views import AnyView
from train.augment.normalise import Normaliser, as_images
from train.data.examples import Examples
from train.data.frames import Frames
from train.data.loader import staged_ahead
from train.data.sampling import clip_positions, covering_starts
from train.model.classifier import Classifier, Logits, autocast_dtype, features_and_logits
from train.model.losses import scores


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


@dataclass(frozen=True)
class ClipBatch:
    """Rows of the store and their frames that are staged together."""

    row: Ints  # (B,)
    position: Ints  # (B, T), -1 = padding


def covering_clips(examples: Examples, clip_frames: int) -> ClipList:
    """Clips that cover all that is used of recordings; `owner` is the recording's number."""
    starts = [covering_starts(int(frames), clip_frames) for frames in examples.frames]
    owner = np.repeat(np.arange(len(examples)), [len(each) for each in starts])
    start = np.concatenate([np.empty(0, np.int64), *starts])
    return ClipList(examples.rows[owner], examples.first[owner], examples.frames[owner], start, owner)


def window_clips(row: int, frames: int, windows: int, view: AnyView, window_s: float, clip_frames: int) -> ClipList:
    """Clips centred on the windows of one long recording, moved inside it at its ends; `owner` numbers the windows."""
    middle_s = (np.arange(windows, dtype=np.float64) + 0.5) * window_s
    return clips_at(middle_s, row, frames, view, clip_frames)


def clips_at(middle_s: Floats64, row: int, frames: int, view: AnyView, clip_frames: int) -> ClipList:
    """Clips around middles (N,) in one long recording, moved inside it at its ends; `owner` numbers them."""
    middle = middle_s * (view.sample_rate_hz / view.hop)
    start = np.clip(np.rint(middle - clip_frames / 2), 0, max(frames - clip_frames, 0)).astype(np.int64)
    clips = len(middle_s)
    return ClipList(
        np.full(clips, row), np.zeros(clips, np.int64), np.full(clips, frames), start, np.arange(clips, dtype=np.int64)
    )


class Scorer:
    """A model with all that it needs to score clips of a store."""

    def __init__(self, model: Classifier, frames: Frames, view: AnyView, recipe: Recipe, device: torch.device) -> None:
        self._frames, self._view, self._recipe, self._device = frames, view, recipe, device
        self._layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
        self._model = model.to(memory_format=self._layout)
        self._clip_frames = view.frames(recipe.clip_s)
        self._normaliser = Normaliser(view, recipe, model.statistics)

    @torch.no_grad()
    def logits(self, clips: ClipList, batch_size: int) -> Iterator[Logits]:
        """Logits of the clips, batch after batch, on the device; later batches are read meanwhile."""
        dtype = autocast_dtype(self._recipe.precision, self._device)
        for images in self._images(clips, batch_size):
            with torch.autocast(self._device.type, dtype, enabled=dtype is not None):
                logits: Logits = self._model(images)
            yield logits

    @torch.no_grad()
    def features(self, clips: ClipList, batch_size: int) -> Floats32:
        """Pooled features of the clips, which embed them: (N, E) float32."""
        images = self._images(clips, batch_size)
        parts = [features_and_logits(self._model, each)[0].float().cpu() for each in images]
        return np.asarray(torch.cat(parts).numpy(), np.float32)

    def _images(self, clips: ClipList, batch_size: int) -> Iterator[Tensor]:
        self._model.eval()
        for (batch, staged), _ in staged_ahead(self._batches(clips, batch_size), self._frames):
            images = as_images(self._normaliser(self._frames.finish(staged, batch.position)))
            yield images.contiguous(memory_format=self._layout)

    def _batches(self, clips: ClipList, batch_size: int) -> Iterator[ClipBatch]:
        loop = self._recipe.short == "loop"
        for begin in range(0, len(clips), batch_size):
            each = clips.subset(slice(begin, begin + batch_size))
            yield ClipBatch(each.row, clip_positions(each.start, each.frames, self._clip_frames, loop, each.first))

    def scores(self, clips: ClipList, batch_size: int) -> Floats32:
        """Scores of the clips: (N, K) float32."""
        parts = [scores(logits.clip, self._recipe.loss).cpu() for logits in self.logits(clips, batch_size)]
        return np.asarray(torch.cat(parts).numpy(), np.float32)

    def scores_around(self, middle_SN: Floats64, row: int, frames: int, batch_size: int) -> Floats32:
        """Scores of clips around middles, in seconds, of one long recording: (S, N, K) float32."""
        clips = clips_at(middle_SN.ravel(), row, frames, self._view, self._clip_frames)
        return self.scores(clips, batch_size).reshape(*middle_SN.shape, -1)
