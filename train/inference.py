"""Scores of clips and of windows, from one model. B batch, T frame, K class, N clip."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from params import MelView, PcenView, Recipe
from train.batches import as_images, normalised
from train.draws import Ints
from train.losses import scores
from train.model import autocast_dtype
from train.residence import Frames
from train.sampling import clip_positions, covering_starts

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ClipList:
    """Fixed clips to score: the store's row of each, its recording's frames, its start, and whom it belongs to."""

    row: Ints
    frames: Ints
    start: Ints
    owner: Ints


def covering_clips(row_N: Ints, frames_N: Ints, clip_frames: int) -> ClipList:
    """Clips that cover whole recordings; `owner` is the recording's number."""
    starts = [covering_starts(int(frames), clip_frames) for frames in frames_N]
    counts = [len(each) for each in starts]
    owner = np.repeat(np.arange(len(row_N)), counts)
    start = np.concatenate([np.empty(0, np.int64), *starts])
    return ClipList(row_N[owner], frames_N[owner], start, owner)


def windows_in(duration_s: float, window_s: float) -> int:
    """How many windows follow each other in a recording; a rest of over a tenth of a window counts as one."""
    return max(1, math.ceil(duration_s / window_s - 0.1))


def window_clips(
    row: int, frames: int, windows: int, view: MelView | PcenView, window_s: float, clip_frames: int
) -> ClipList:
    """Clips centred on the windows of one long recording, moved inside it at its ends; `owner` numbers the windows."""
    frames_per_s = view.sample_rate_hz / view.hop
    middle = (np.arange(windows) + 0.5) * window_s * frames_per_s
    start = np.clip(np.rint(middle - clip_frames / 2), 0, max(frames - clip_frames, 0)).astype(np.int64)
    return ClipList(np.full(windows, row), np.full(windows, frames), start, np.arange(windows))


class Scorer:
    """A model with all that it needs to score clips of a store."""

    def __init__(
        self, model: nn.Module, frames: Frames, view: MelView | PcenView, recipe: Recipe, device: torch.device
    ) -> None:
        self._model, self._frames, self._recipe, self._device = model, frames, recipe, device
        self._clip_frames = view.frames(recipe.clip_s)

    @torch.no_grad()
    def logits(self, clips: ClipList, batch_size: int) -> Iterator[Tensor]:
        """Logits of the clips, batch after batch: (B, K) float32 on the device."""
        self._model.eval()
        for begin in range(0, len(clips.row), batch_size):
            chosen = slice(begin, begin + batch_size)
            position = clip_positions(
                clips.start[chosen], clips.frames[chosen], self._clip_frames, self._recipe.short == "loop"
            )
            staged = self._frames.stage(clips.row[chosen], position)
            images = as_images(normalised(self._frames.finish(staged, position), self._recipe))
            dtype = autocast_dtype(self._recipe.precision, self._device)
            with torch.autocast(self._device.type, dtype, enabled=dtype is not None):
                logits_BK = self._model(images.contiguous(memory_format=torch.channels_last))
            yield logits_BK.float()

    def scores(self, clips: ClipList, batch_size: int) -> Floats:
        """Scores of the clips: (N, K) float32."""
        parts = [scores(logits_BK, self._recipe.loss.kind).cpu() for logits_BK in self.logits(clips, batch_size)]
        return np.asarray(torch.cat(parts).numpy(), np.float32)


def mean_by_owner(values_NK: Floats, owner_N: Ints, owners: int) -> Floats:
    """Mean of the rows of each owner: (owners, K)."""
    sums = np.zeros((owners, values_NK.shape[1]), np.float64)
    np.add.at(sums, owner_N, values_NK)
    return (sums / np.bincount(owner_N, minlength=owners)[:, None]).astype(np.float32)
