"""Augmentations as functions of whole batches on the device. `train.data.augment_draws` draws their parameters.

B clip, P partner, Q added sound, R clip that something is mixed into, T frame, M mel bin, N frame of the bank of noise.
A function whose name ends in _ overwrites its argument, as in torch: new memory costs more than the arithmetic.
"""

import math
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from birdcache.arrays import Floats32, Floats64
from birdcache.params.views import MelView, View
from cache.mel import POWER_FLOOR, mel_edges_hz
from train.data.augment_draws import BANK_SPANS

DB_PER_DOUBLING = 10 * math.log10(2)  # base 2, since exp2 takes a third of exp's time on a CPU
SILENT_DB = 1e-3  # a mel bin whose decibels deviate less is even
Colour = Literal["white", "pink"]


def to_power_(values_db: Tensor) -> Tensor:
    """Decibels to power."""
    return values_db.mul_(1 / DB_PER_DOUBLING).exp2_()


def to_db_(power: Tensor) -> Tensor:
    """Power to decibels, at least the front end's floor of -100 dB."""
    return power.clamp_(min=POWER_FLOOR).log2_().mul_(DB_PER_DOUBLING)


def change_tone_(values_db: Tensor, tone_db: Tensor) -> Tensor:
    """Make (N, T, M) louder by so many dB for each mel bin, (N, M), or for the whole of it, (N, 1)."""
    return values_db.add_(tone_db[:, None, :])


def tones(numbers: Tensor, curves_JM: Tensor) -> Tensor:
    """Gain and bands of the equaliser, (..., 1 + J) dB, as dB of each mel bin: (..., M), or (..., 1) without bands.

    A sum and no product of matrices, which a GPU may round to ten bits.
    """
    gain, bands = numbers[..., :1], numbers[..., 1:]
    return gain + (bands[..., None] * curves_JM).sum(dim=-2) if bands.shape[-1] else gain


def filters(numbers: Tensor, mel_bins: int, smooth: bool) -> Tensor:
    """Decibels of mel bins, (..., M), of up to J bands: J + 1 points in dB, J - 1 sorted edges from 0 to 1, (..., 2 J).

    Bands begin at 0 and at each edge, in shares of the mel axis, and end at the next edge or at 1. A band has the value
    of its own point throughout; or, if smooth, it goes linearly from there to that of the next point at its upper end.

    Source: FilterAugment, types step and linear, Nam et al. 2022.
    """
    bands = numbers.shape[-1] // 2
    points, edges, zero = numbers[..., : bands + 1], numbers[..., bands + 1 :], torch.zeros_like(numbers[..., :1])
    bin_M = (torch.arange(mel_bins, device=numbers.device) + 0.5) / mel_bins
    band_M = (edges[..., None, :] <= bin_M[:, None]).sum(dim=-1)
    low_M = points.gather(-1, band_M)
    if not smooth:
        return low_M
    begin_M = torch.cat([zero, edges], dim=-1).gather(-1, band_M)
    end_M = torch.cat([edges, zero + 1], dim=-1).gather(-1, band_M)
    return low_M + (points.gather(-1, band_M + 1) - low_M) * (bin_M - begin_M) / (end_M - begin_M)


def muffling(numbers: Tensor, octave_M: Tensor, db_per_octave: float) -> Tensor:
    """Decibels of mel bins, (..., M), of a low-pass and of distance, (..., 2), as `draw_muffled` draws them.

    Parameters
    ----------
    octave_M : of the mel bins' middles above the highest frequency, so below 0.
    """
    beyond = (octave_M + numbers[..., :1]).clamp(min=0)
    return -db_per_octave * beyond - numbers[..., 1:] * (2 * octave_M).exp2()


def change_tempo(values_BTM: Tensor, faster_B1: Tensor) -> Tensor:
    """Play each clip faster by a share of its tempo, between frames linearly; where it ends, it begins again."""
    frames = values_BTM.shape[1]
    position_BT = torch.arange(frames, device=values_BTM.device) * (1 + faster_B1)
    first_BT = position_BT.floor()
    earlier_BTM, later_BTM = (
        values_BTM.gather(1, (each_BT.long() % frames)[:, :, None].expand_as(values_BTM))
        for each_BT in (first_BT, first_BT + 1)
    )
    return earlier_BTM.lerp(later_BTM, (position_BT - first_BT)[:, :, None])


def mix_styles(values_BTM: Tensor, share_B1: Tensor) -> Tensor:
    """Give each mel bin a mixture of its mean and deviation over time and those of the clip before it in the batch.

    Sources: MixStyle, Zhou et al. 2021; of frequencies, Kim et al. 2022.
    """
    deviation_BM, mean_BM = torch.std_mean(values_BTM, dim=1)
    new_mean_BM, new_deviation_BM = (each.lerp(each.roll(1, 0), share_B1) for each in (mean_BM, deviation_BM))
    scale_BM = torch.where(deviation_BM > SILENT_DB, new_deviation_BM / deviation_BM, 1.0)
    return (values_BTM - mean_BM[:, None]) * scale_BM[:, None] + new_mean_BM[:, None]


def within(start_NJ: Tensor, width_NJ: Tensor, size: int) -> Tensor:
    """True inside any of a clip's spans: (N, size)."""
    place = torch.arange(size, device=start_NJ.device)
    return ((place >= start_NJ[..., None]) & (place < (start_NJ + width_NJ)[..., None])).any(dim=1)


def frame_weights(span_N2: Tensor, weights_N2: Tensor, frames: int) -> tuple[Tensor, Tensor]:
    """Weights of clips and of their partners in each frame: (N, T) each; outside the span the clip is alone."""
    inside_NT = within(span_N2[:, :1], span_N2[:, 1:], frames)
    own_NT, other_NT = (
        torch.where(inside_NT, weights_N2[:, each, None], alone) for each, alone in ((0, 1.0), (1, 0.0))
    )
    return own_NT, other_NT


def mix_(sounds_RTM: Tensor, partners_PTM: Tensor, place_P: Tensor, own_RT: Tensor, other_PT: Tensor) -> Tensor:
    """Weigh sounds frame by frame and add to those at `place_P` their weighed partners, which are overwritten too.

    Given power, this is how sounds mix. PCEN values, which are compressed energy, are mixed likewise.

    Source: mixup (Zhang et al. 2018) and cutmix (Yun et al. 2019), on power as BirdCLEF's winners do it, not on dB.
    """
    sounds_RTM.mul_(own_RT[:, :, None])
    return sounds_RTM.index_add_(0, place_P, partners_PTM.mul_(other_PT[:, :, None]))


def add_in_ratio_(power_RTM: Tensor, added_QTM: Tensor, place_Q: Tensor, ratio_Q: Tensor) -> Tensor:
    """Add sounds to those at `place_Q`, so loud that the mean powers over the clip have the wanted ratio.

    Overwrites the added sounds too. All power is above 0, so silence stays finite.
    """
    level_Q = power_RTM.mean(dim=(1, 2)).index_select(0, place_Q)
    gain_Q = level_Q / added_QTM.mean(dim=(1, 2)) * ratio_Q
    return power_RTM.index_add_(0, place_Q, added_QTM.mul_(gain_Q[:, None, None]))


def take_spans(bank_NM: Tensor, start_Q: Tensor, into_QTM: Tensor) -> Tensor:
    """Spans of a long sound that begin at the given frames, copied into memory for them."""
    frame_QT = start_Q[:, None] + torch.arange(into_QTM.shape[1], device=start_Q.device)
    torch.index_select(bank_NM, 0, frame_QT.reshape(-1), out=into_QTM.flatten(0, 1))
    return into_QTM


def roll_frames(values_BTM: Tensor, shift_B: Tensor, into_BTM: Tensor) -> Tensor:
    """Roll each clip along time by its own number of frames, into memory for them."""
    batch, frames, _ = values_BTM.shape
    frame_T, clip_B = (torch.arange(size, device=values_BTM.device) for size in (frames, batch))
    source_BT = (frame_T - shift_B[:, None]) % frames + clip_B[:, None] * frames
    torch.index_select(values_BTM.flatten(0, 1), 0, source_BT.reshape(-1), out=into_BTM.flatten(0, 1))
    return into_BTM


def blank_(values_BCTM: Tensor, seen_mel_BM: Tensor | None, seen_time_BT: Tensor | None) -> Tensor:
    """Set masked mel bins and frames to 0; a product takes a twentieth of `masked_fill`'s time on a CPU.

    Source: SpecAugment (Park et al. 2019).
    """
    if seen_mel_BM is not None:
        values_BCTM.mul_(seen_mel_BM[:, None, None, :])
    if seen_time_BT is not None:
        values_BCTM.mul_(seen_time_BT[:, None, :, None])
    return values_BCTM


def to_device(array: npt.NDArray[np.generic], device: torch.device) -> Tensor:
    """A small array as a tensor on the device; floats become float32. The host does not wait for the copy."""
    tensor = torch.from_numpy(array)
    if tensor.is_floating_point():
        tensor = tensor.float()
    if device.type == "cuda":  # out of memory that is not pinned, the host may wait for all that the GPU has to do
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def noise_bank(view: View, colour: Colour, clip_frames: int, seed: int) -> Floats32:
    """Power of stationary Gaussian noise: (N, M), with room for a clip behind each of `BANK_SPANS` places.

    An FFT bin of Gaussian noise holds exponentially distributed power, and a mel bin is a weighted sum of such bins:
    nearly gamma distributed, with a mean by the noise's colour and a shape by the mel bin's width. Frames and mel bins
    are drawn independently, although those of a real front end overlap and so resemble their neighbours.
    """
    generator = np.random.default_rng(seed)
    shape_M = bin_shapes(view)
    unit_NM = generator.gamma(shape_M, size=(BANK_SPANS + clip_frames, view.n_mels)) / shape_M
    return (unit_NM * levels(view, colour)).astype(np.float32)


def levels(view: View, colour: Colour) -> Floats64:
    """Mean power of each mel bin: (M,). White noise is as loud in all filters of unit area; by width in others."""
    edges_hz = mel_edges_hz(view)
    power = view.power if isinstance(view, MelView) else 2
    area_M = (edges_hz[2:] - edges_hz[:-2]) ** (2 / power if view.mel_norm == "none" else 0)
    return area_M if colour == "white" else area_M / edges_hz[1:-1]


def octaves(view: View) -> Floats64:
    """Octaves of the middles of mel bins above the highest frequency, so below 0: (M,)."""
    return np.log2(mel_edges_hz(view)[1:-1] / view.fmax_hz)


def bin_shapes(view: View) -> Floats64:
    """Shape of the gamma distribution of noise power in each mel bin, squared mean over variance: (M,).

    A triangle that reaches over h FFT bins to either side of its peak is worth 3/2 h equal ones. Under a Hann window a
    bin shares 4/9 of its power's variations with the next one and 1/36 with the one after that, which leaves 18/35 of
    them: 27/35 h independent bins. A narrow filter still holds one.
    """
    edges_hz = mel_edges_hz(view)
    half_width_M = (edges_hz[2:] - edges_hz[:-2]) / 2 * view.window / view.sample_rate_hz
    return np.hypot(1, 27 / 35 * half_width_M)
