"""Augmentation of whole batches: draw parameters by counter, then apply them on the device.

B batch, M mel bin, T frame. Every `draw_*` returns arrays with one row per example; every `apply` is vectorised.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from params import AugmentParams, MixupParams
from train.draws import Floats, Ints, Purpose, beta, uniform

DB_PER_NEPER = 10 / math.log(10)  # power = exp(dB / DB_PER_NEPER)


@dataclass(frozen=True)
class Masks:
    """Spans to blank along one axis: (B, J) starts and widths, width 0 for none."""

    start: Ints
    width: Ints


def draw_gain_db(seed: int, epoch: int, example_B: Ints, gain_db: float, purpose: Purpose) -> Floats:
    """Volume change of each clip, uniform within +-gain_db: (B,)."""
    return (2 * uniform(seed, epoch, example_B, purpose)[:, 0] - 1) * gain_db


def draw_shift(seed: int, epoch: int, example_B: Ints, most: int) -> Ints:
    """Frames to roll each clip by, uniform within +-most: (B,)."""
    return np.floor(uniform(seed, epoch, example_B, Purpose.SHIFT)[:, 0] * (2 * most + 1)).astype(np.int64) - most


def draw_lambda(seed: int, epoch: int, example_B: Ints, mixup: MixupParams) -> Floats:
    """Share of the clip itself in its mixture, from Beta(alpha, alpha): (B,); 1 for clips that are not mixed."""
    mixes_B = uniform(seed, epoch, example_B, Purpose.MIX)[:, 0] < mixup.probability
    share_B = beta(mixup.alpha, uniform(seed, epoch, example_B, Purpose.LAMBDA)[:, 0])
    return np.where(mixes_B, share_B, 1.0)


def draw_masks(
    seed: int, epoch: int, example_B: Ints, purpose: Purpose, count: int, widest: int, size: int, probability: float
) -> Masks:
    """SpecAugment's masks: widths uniform in 0..widest, anywhere within `size`, each with a probability."""
    draws = uniform(seed, epoch, example_B, purpose, 3 * count).reshape(len(example_B), count, 3)
    width = np.floor(draws[..., 0] * (widest + 1)).astype(np.int64)
    start = np.floor(draws[..., 1] * (size - width + 1)).astype(np.int64)
    return Masks(start, np.where(draws[..., 2] < probability, width, 0))


@dataclass(frozen=True)
class BatchDraws:
    """All random choices that are applied to a batch on the device."""

    share: Floats  # (B,) of the clip itself, 1 = not mixed
    gain_db: Floats  # (B,)
    partner_gain_db: Floats  # (B,)
    shift: Ints  # (B,) frames
    mel: Masks
    time: Masks


def draw_batch(
    seed: int, epoch: int, example_B: Ints, augment: AugmentParams, mel_bins: int, frames: int, shift_frames: int
) -> BatchDraws:
    """Draw everything for the examples of a batch; `frames` is the clip's length."""
    spec = augment.spec_augment
    return BatchDraws(
        share=draw_lambda(seed, epoch, example_B, augment.mixup),
        gain_db=draw_gain_db(seed, epoch, example_B, augment.gain_db, Purpose.GAIN),
        partner_gain_db=draw_gain_db(seed, epoch, example_B, augment.gain_db, Purpose.PARTNER_GAIN),
        shift=draw_shift(seed, epoch, example_B, shift_frames),
        mel=draw_masks(
            seed, epoch, example_B, Purpose.MEL_MASK, spec.mel_masks, spec.mel_width, mel_bins, spec.probability
        ),
        time=draw_masks(
            seed, epoch, example_B, Purpose.TIME_MASK, spec.time_masks, spec.time_width, frames, spec.probability
        ),
    )


def roll_frames(values_BTM: Tensor, shift_B: Tensor) -> Tensor:
    """Roll each clip along time by its own number of frames."""
    frames = values_BTM.shape[1]
    source_BT = (torch.arange(frames, device=values_BTM.device) - shift_B[:, None]) % frames
    return torch.gather(values_BTM, 1, source_BT[:, :, None].expand_as(values_BTM))


def mix_power(first_db: Tensor, second_db: Tensor, share_B: Tensor) -> Tensor:
    """Mix two clips as sounds mix: weighted sum of powers, given and returned in dB.

    Parameters
    ----------
    first_db, second_db : (B, T, M) in dB.
    share_B : (B,) weight of the first; the second gets the rest.

    Source: mixup (Zhang et al. 2018), on power as BirdCLEF's winners do it, instead of on decibels.
    """
    share = share_B[:, None, None]
    first, second = first_db / DB_PER_NEPER + share.log(), second_db / DB_PER_NEPER + (1 - share).log()
    return torch.logaddexp(first, second) * DB_PER_NEPER


def mix_values(first: Tensor, second: Tensor, share_B: Tensor) -> Tensor:
    """Mix two clips linearly (PCEN, which is compressed energy): (B, T, M)."""
    share = share_B[:, None, None]
    return share * first + (1 - share) * second


def mix_targets(first_BK: Tensor, second_BK: Tensor, share_B: Tensor, rule: str) -> Tensor:
    """Targets of a mixture: weighted like the sound (`lambda`), or both sounds fully present (`max`)."""
    if rule == "max":
        return torch.maximum(first_BK, second_BK)
    return share_B[:, None] * first_BK + (1 - share_B[:, None]) * second_BK


def mask_spans(size: int, start_BJ: Tensor, width_BJ: Tensor) -> Tensor:
    """True inside any of an example's masks: (B, size)."""
    place = torch.arange(size, device=start_BJ.device)
    inside = (place >= start_BJ[..., None]) & (place < (start_BJ + width_BJ)[..., None])
    return inside.any(dim=1)


def apply_masks(values_BTM: Tensor, mel_BM: Tensor, time_BT: Tensor, fill_B: Tensor) -> Tensor:
    """Replace masked mel bins and frames by each clip's own fill value.

    Source: SpecAugment (Park et al. 2019), with the clip's mean as fill.
    """
    masked = mel_BM[:, None, :] | time_BT[:, :, None]
    return torch.where(masked, fill_B[:, None, None], values_BTM)


def to_device(array: npt.NDArray[np.generic], device: torch.device) -> Tensor:
    """A small array as a tensor on the device; floats become float32."""
    tensor = torch.from_numpy(array)
    return (tensor.float() if tensor.is_floating_point() else tensor).to(device, non_blocking=True)
