"""Mean and deviation of each mel bin over the clips of a training fold, for `normalise: bins`.

T frame, M mel bin.
"""

from __future__ import annotations

import numpy as np
import torch

from birdcache.params.recipe import Recipe
from birdcache.params.views import AnyView
from train.augment.normalise import BinStatistics, presented_
from train.data.examples import Examples
from train.data.frames import Frames
from train.data.random import Purpose, uniform
from train.data.sampling import clip_positions, clip_starts

MOST_CLIPS = 2048  # more would move the figures by less than a hundredth of a deviation
BATCH = 64


@torch.no_grad()
def bin_statistics(examples: Examples, frames: Frames, view: AnyView, recipe: Recipe) -> BinStatistics:
    """Statistics of an unaugmented clip of each recording, of `MOST_CLIPS` recordings at most: (C, M) on the device."""
    step = max(1, -(-len(examples) // MOST_CLIPS))
    sums: list[torch.Tensor] = []
    count = 0
    for begin in range(0, len(examples), step * BATCH):
        chosen = np.arange(begin, min(begin + step * BATCH, len(examples)), step)
        length, loop, clip_frames = examples.frames[chosen], recipe.short == "loop", view.frames(recipe.clip_s)
        draw = uniform(recipe.seed, 0, chosen, Purpose.STATISTICS)[:, 0]
        start = clip_starts(length, clip_frames, loop, draw)
        position = clip_positions(start, length, clip_frames, loop, examples.first[chosen])
        values = frames.finish(frames.stage(examples.rows[chosen], position), position)
        clips = presented_(values, view, recipe).double()
        sums.append(torch.stack([clips.sum(dim=(0, 2)), clips.square().sum(dim=(0, 2))]))
        count += clips.shape[0] * clips.shape[2]
    mean, square = torch.stack(sums).sum(dim=0) / count
    return BinStatistics(mean.float(), (square - mean.square()).clamp_min(0).sqrt().float())
