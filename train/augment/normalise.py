"""The image that the model sees of a clip: level, PCEN, slope, normalised. The same in training and inference.

B batch, C channel, T frame, M mel bin, N frame of a block. Clips are overwritten on the way, since new memory costs
more than the arithmetic. PCEN here is for clips that were mixed in dB; `pipeline.builder.frontend` is its oracle in the
tests.
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from birdcache.params.recipe import Recipe
from birdcache.params.views import AnyView, MelView, PcenParams, each_of, stored_views
from cache.mel import PCEN_SCALE, smoothing_coefficient
from train.augment.ops import to_device, to_power_
from train.data.examples import Examples
from train.data.frames import Frames
from train.data.random import Purpose, uniform
from train.data.sampling import clip_positions, clip_starts

SMALLEST_DEVIATION = 1e-5  # of a mel bin that never changes, which stays at 0
SLOPE_REACH = 4  # frames on either side
SMALLEST_VARIATION = 1e-5  # a clip that varies by less than this share of its mean is even, but for float32's rounding
BLOCK_FRAMES = 64  # smoothed by one product: enough for few steps on a GPU, few enough for a CPU's cache
MOST_CLIPS = 2048  # more would move the figures by less than a hundredth of a deviation
BATCH = 64


@dataclass(frozen=True)
class BinStatistics:
    """Mean and standard deviation of each channel's mel bins over the training fold: (C, M) each."""

    mean: Tensor
    deviation: Tensor


class Normaliser:
    """Turns clips in dB (or PCEN values) into what the recipe shows to the model."""

    def __init__(self, view: AnyView, recipe: Recipe, statistics: BinStatistics) -> None:
        self._view, self._recipe, self._statistics = view, recipe, statistics

    def __call__(self, clips_BTM: Tensor) -> Tensor:
        """Present clips, then give each channel, of each clip or by bin of the fold, mean 0 and deviation 1.

        Parameters
        ----------
        clips_BTM : overwritten; the mel bins of several views lie one after the other.

        Returns
        -------
        (B, C, T, M), the channels of one view after those of the other.
        """
        shown_BCTM = presented_(clips_BTM, self._view, self._recipe)
        if self._recipe.normalise == "clip":
            return _standardised_(shown_BCTM)
        if self._recipe.normalise == "bins":
            mean_C1M, deviation_C1M = (each[:, None] for each in (self._statistics.mean, self._statistics.deviation))
            return shown_BCTM.sub_(mean_C1M).div_(deviation_C1M + SMALLEST_DEVIATION)
        return shown_BCTM


def channel_count(view: AnyView, recipe: Recipe) -> int:
    """Channels of the images that a model sees, C."""
    return len(stored_views(view)) * len(recipe.channels)


def bins_in_db(view: AnyView) -> list[slice]:
    """Slices of the mel bins that are in dB, of views side by side; those of PCEN views are left out."""
    starts = [number * view.n_mels for number, one in enumerate(each_of(view)) if isinstance(one, MelView)]
    return [slice(start, start + view.n_mels) for start in starts]


def presented_(clips_BTM: Tensor, view: AnyView, recipe: Recipe) -> Tensor:
    """Channels before normalisation, which the statistics are made of: (B, C, T, M). Overwrites the clips (B, T, M)."""
    views = stored_views(view)
    parts = torch.split(clips_BTM, view.n_mels, dim=2) if len(views) > 1 else (clips_BTM,)  # a view exports as a copy
    pairs = zip(parts, views, strict=True)
    shown = [channel for part_BTM, one in pairs for channel in _channels_(part_BTM, one, recipe)]
    return shown[0].unsqueeze(1) if len(shown) == 1 else torch.stack(shown, dim=1)


def _channels_(clips_BTM: Tensor, view: AnyView, recipe: Recipe) -> list[Tensor]:
    """The recipe's channels of clips of one view: (B, T, M) each."""
    shown: dict[str, Tensor] = {}
    if "pcen" in recipe.channels and recipe.pcen is not None:
        kept = clips_BTM.clone() if len(recipe.channels) > 1 else clips_BTM
        shown["pcen"] = pcen_(kept, recipe.pcen, view.sample_rate_hz / view.hop)
    if recipe.dynamic_range_db and recipe.channels != ["pcen"] and isinstance(view, MelView):
        clips_BTM.clamp_(min=clips_BTM.amax(dim=(1, 2), keepdim=True) - recipe.dynamic_range_db)
    shown["level"] = clips_BTM
    if "slope" in recipe.channels:
        shown["slope"] = slope(clips_BTM)
    return [shown[name] for name in recipe.channels]


def slope(level_BTM: Tensor) -> Tensor:
    """Change per frame of each mel bin: the line of least squares through a frame and its neighbours, (B, T, M).

    Before the first and after the last frame the level is as there. Source: `librosa.feature.delta`, mode nearest.
    """
    step_N = torch.arange(-SLOPE_REACH, SLOPE_REACH + 1, dtype=level_BTM.dtype, device=level_BTM.device)
    padded = functional.pad(level_BTM[:, None], (0, 0, SLOPE_REACH, SLOPE_REACH), mode="replicate")
    return functional.conv2d(padded, (step_N / step_N.square().sum()).view(1, 1, -1, 1))[:, 0]


def _standardised_(shown_BCTM: Tensor) -> Tensor:
    """Each channel with mean 0 and deviation 1, an even one all 0; `torch.std_mean` takes 40 times as long on a CPU."""
    mean_BC11 = shown_BCTM.mean(dim=(2, 3), keepdim=True)
    shown_BCTM.sub_(mean_BC11)
    cells = shown_BCTM[0, 0].numel()
    deviation_BC11 = torch.linalg.vector_norm(shown_BCTM, dim=(2, 3), keepdim=True) / math.sqrt(cells - 1)
    even_BC11 = deviation_BC11 <= SMALLEST_VARIATION * mean_BC11.abs()
    return shown_BCTM.mul_(deviation_BC11.reciprocal().masked_fill_(even_BC11, 0))


def as_images(shown_BCTM: Tensor) -> Tensor:
    """(B, C, T, M) as images with mel bins as rows: (B, C, M, T)."""
    return shown_BCTM.transpose(2, 3)


def pcen_(clips_db: Tensor, params: PcenParams, frames_per_s: float) -> Tensor:
    """Per-channel energy normalisation of each clip by itself, as if its first frame had gone before it for ever.

    Parameters
    ----------
    clips_db : (B, T, M) dB of mel power, overwritten.
    frames_per_s : frames per second, which turns `time_constant_s` into the smoother's coefficient.

    Returns
    -------
    (B, T, M), the same memory, non-negative but for rounding: exact to 1e-6, and to 1e-5 of the value.

    The smoother m[t] = (1 - b) m[t-1] + b e[t] goes from block to block: the product of a block's frames with b's
    impulse response, and what is left of the frame before. It begins with m[-1] = e[0]: from nothing, as at the start
    of a recording, the first half second of each clip would come out far too loud.

    Source: Wang et al. 2017, "Trainable frontend for robust and far-field keyword spotting"; smoother as librosa.pcen.
    """
    response_NN, decay_N1 = _block_response(
        smoothing_coefficient(params.time_constant_s * frames_per_s), clips_db.device
    )
    state_B1M = to_power_(clips_db[:, :1].clone()).mul_(PCEN_SCALE**2)
    for block_BNM in torch.split(clips_db, BLOCK_FRAMES, dim=1):
        batch, count, _ = block_BNM.shape
        energy = to_power_(block_BNM).mul_(PCEN_SCALE**2)
        response_BNN = response_NN[:count, :count].expand(batch, -1, -1)
        smooth_BNM = torch.baddbmm(decay_N1[:count] * state_B1M, response_BNN, energy)
        state_B1M = smooth_BNM[:, -1:].clone()
        ratio = energy.mul_(smooth_BNM.add_(params.eps).log2_().mul_(-params.gain).exp2_())
        if params.power == 0:  # the limit of (... - bias ** power) / power, as in librosa.pcen
            ratio.log1p_()
        else:  # (ratio + bias) ** power - bias ** power in half of pow's time on a CPU
            ratio.add_(params.bias).log2_().mul_(params.power).exp2_().sub_(params.bias**params.power)
    return clips_db


@cache
def _block_response(coefficient: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Shares of a block's frames in each of its smoothed frames (N, N), and of the frame before the block (N, 1)."""
    frame_N = np.arange(BLOCK_FRAMES)
    age_NN = np.abs(frame_N[:, None] - frame_N)
    response_NN = np.tril(coefficient * (1 - coefficient) ** age_NN)
    return to_device(response_NN, device), to_device((1 - coefficient) ** (frame_N[:, None] + 1), device)


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
        values = frames.finish(frames.stage(examples.rows[chosen], position))
        clips = presented_(values, view, recipe).double()
        sums.append(torch.stack([clips.sum(dim=(0, 2)), clips.square().sum(dim=(0, 2))]))
        count += clips.shape[0] * clips.shape[2]
    mean, square = torch.stack(sums).sum(dim=0) / count
    return BinStatistics(mean.float(), (square - mean.square()).clamp_min(0).sqrt().float())
