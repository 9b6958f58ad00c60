"""What the model sees of a clip: level, PCEN, slope, normalised. The same in training and inference.

B batch, C channel, T frame, M mel bin. Clips are overwritten on the way, since new memory costs more than the
arithmetic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from birdcache.params.recipe import Recipe
from birdcache.params.views import AnyView, MelView, PcenView, each_of
from train.augment.pcen import pcen_

SMALLEST_DEVIATION = 1e-5  # of a mel bin that never changes, which stays at 0
SLOPE_REACH = 4  # frames on either side
SMALLEST_VARIATION = 1e-5  # a clip that varies by less than this share of its mean is even, but for float32's rounding


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
    return len(each_of(view)) * len(recipe.channels)


def presented_(clips_BTM: Tensor, view: AnyView, recipe: Recipe) -> Tensor:
    """Channels before normalisation, which the statistics are made of: (B, C, T, M). Overwrites the clips (B, T, M)."""
    views = each_of(view)
    parts = torch.split(clips_BTM, view.n_mels, dim=2) if len(views) > 1 else (clips_BTM,)  # a view exports as a copy
    pairs = zip(parts, views, strict=True)
    shown = [channel for part_BTM, one in pairs for channel in _channels_(part_BTM, one, recipe)]
    return shown[0].unsqueeze(1) if len(shown) == 1 else torch.stack(shown, dim=1)


def _channels_(clips_BTM: Tensor, view: MelView | PcenView, recipe: Recipe) -> list[Tensor]:
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
