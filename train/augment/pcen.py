"""PCEN on the device, of clips that were mixed as dB. `pipeline.build.frontend.pcen` is the oracle in the tests.

B batch, T frame, M mel bin, N frame of a block.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from birdcache.params.views import PcenParams
from cache.mel import PCEN_SCALE, smoothing_coefficient
from train.augment.ops import to_device, to_power_

BLOCK_FRAMES = 64  # smoothed by one product: enough for few steps on a GPU, few enough for a CPU's cache


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
        divisor = smooth_BNM.add_(params.eps).log2_().mul_(-params.gain).exp2_()
        _compress_(energy.mul_(divisor), params)
    return clips_db


def _compress_(ratio: Tensor, params: PcenParams) -> None:
    """(ratio + bias) ** power - bias ** power, in place."""
    if params.power == 0:  # the limit of (... - bias ** power) / power, as in librosa.pcen
        ratio.log1p_()
    else:  # half of pow's time on a CPU
        ratio.add_(params.bias).log2_().mul_(params.power).exp2_().sub_(params.bias**params.power)


@lru_cache(maxsize=4)
def _block_response(coefficient: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """What a block's frames add to each of its smoothed frames (N, N), and what is left of the one before it (N, 1)."""
    frame_N = np.arange(BLOCK_FRAMES)
    age_NN = np.abs(frame_N[:, None] - frame_N)
    response_NN = np.tril(coefficient * (1 - coefficient) ** age_NN)
    return to_device(response_NN, device), to_device((1 - coefficient) ** (frame_N[:, None] + 1), device)
