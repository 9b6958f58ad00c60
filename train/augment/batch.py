"""Batches on the device: tone -> mix -> background -> noise -> roll -> present -> normalise -> masks.

B clip, C channel, S sound of a clip (itself, its partner, its background, a third one), X sounds of a batch, P partner,
Q background, third or noise, R clip that something is mixed into, T frame, M mel bin, J mask, K class.
Until they are presented, clips of several views lie side by side: M counts the mel bins of all views, one after the
other. So every operation on frames treats all views alike; operations that need decibels leave PCEN views out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from birdcache.params.recipe import Recipe
from birdcache.params.views import AnyView, each_of
from train.augment import ops
from train.augment.normalise import Normaliser, as_images, bins_in_db
from train.augment.ops import noise_bank, to_device
from train.data.augment_draws import Effects, band_curves
from train.data.batch_plan import BACKGROUND, PARTNER, THIRD


@dataclass(frozen=True)
class Batch:
    """The input of a training step, on the device."""

    clips: Tensor  # (B, C, M, T)
    targets: Tensor  # (B, K)
    weights: Tensor  # (B, K), 0 for cells left out of the loss
    importance: Tensor  # (B,) weight of the clip in the loss
    taught: Any = field(default=None, kw_only=True)  # (B, D) by a teacher and weights (B,), or nothing


class StepInputs(NamedTuple):
    """All that differs from batch to batch; on a GPU tensors there, of the same shapes in all batches of a training.

    X is then B for each kind of sound that the recipe has.
    """

    codes: tuple[Tensor, ...]  # of each view (X, T, M), quantised; none if the GPU's memory holds the store
    sounds: Tensor  # (B, S, 3) int64: place of the recording's used frames in the store, their number, start in them
    effects: Effects
    targets: Tensor  # (B, K)
    weights: Tensor  # (B, K), 0 for cells left out of the loss
    importance: Tensor  # (B,) weight of the clip in the loss
    teacher: Any = ()  # `train.data.teacher.Lessons`, or nothing

    @property
    def size(self) -> int:
        """Clips of the batch, B."""
        return len(self.importance)


class BatchTransform:
    """Finishes planned batches on the device.

    On a CPU only those clips are mixed that something is mixed into. On a GPU all are, at weight 0 where nothing is
    drawn (`full`), so that no shape depends on what is drawn.
    """

    def __init__(
        self,
        view: AnyView,
        recipe: Recipe,
        normaliser: Normaliser,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Images become `dtype` where the kernel makes them, since a network that computes in it would make them so."""
        self.view, self.recipe, self.device, self.dtype = view, recipe, device, dtype
        self.full = device.type == "cuda"
        self._normaliser, self._augment = normaliser, recipe.of_all_clips.augment
        self._in_db = bins_in_db(view)
        self._mean_is_zero = recipe.normalise == "clip"
        self._kept: Tensor | None = None
        noise, eq, frames = self._augment.noise, self._augment.eq, view.frames(recipe.clip_s)
        self._curves_JM = to_device(band_curves(eq.bands, view.n_mels, eq.smooth), device)
        is_muffled = self._augment.lowpass.probability or self._augment.distance.probability
        self._octave_M = to_device(ops.octaves(each_of(view)[0]), device) if is_muffled else None
        banks = [noise_bank(one, noise.colour, frames, recipe.seed) for one in each_of(view) if noise.probability]
        self.noise = to_device(np.concatenate(banks, axis=1), device) if banks else None

    def __call__(self, values: Tensor, inputs: StepInputs) -> Batch:
        """Finish a batch.

        Parameters
        ----------
        values : (X, T, M) of all clips, then of their partners, their backgrounds and the third ones, in dB or PCEN; on
            a CPU only of those that there are. Overwritten.
        """
        clips_BTM, others, effects = values[: inputs.size], values[inputs.size :], inputs.effects
        places = self._places(inputs, len(others))
        if (tone_db := self.tones(effects)).shape[2]:
            partner_P = places[0]
            for bins in self._in_db:
                ops.change_tone_(clips_BTM[:, :, bins], tone_db[:, 0])
                ops.change_tone_(others[: len(partner_P), :, bins], tone_db[partner_P, 1])
        if any(map(len, places)):
            clips_BTM = self._mixed_(clips_BTM, others, inputs, places)
        if self._augment.time_shift_s:
            clips_BTM.copy_(ops.roll_frames(clips_BTM, effects.shift, self._room(clips_BTM, inputs.size)))
        return self.present(clips_BTM, inputs)

    def present(self, clips_BTM: Tensor, inputs: StepInputs) -> Batch:
        """Make images of clips (B, T, M) that are mixed and rolled. Overwrites them."""
        effects = inputs.effects
        if effects.tempo.shape[1]:
            clips_BTM = ops.change_tempo(clips_BTM, effects.tempo)
        if effects.reverse.shape[1]:
            clips_BTM = torch.where(effects.reverse[:, :, None], clips_BTM.flip(1), clips_BTM)
        for bins in self._in_db if effects.style.shape[1] else ():
            clips_BTM[:, :, bins] = ops.mix_styles(clips_BTM[:, :, bins], effects.style)
        shown_BCTM = self._masked_(self._normaliser(clips_BTM), effects)
        return Batch(as_images(shown_BCTM), inputs.targets, inputs.weights, inputs.importance)

    def tones(self, effects: Effects) -> Tensor:
        """All that changes clips and their partners in dB of mel bins: (B, 2, M), (B, 2, 1) or (B, 2, 0)."""
        eq, tone_db = self._augment.eq, effects.tone_db
        if not eq.probability or eq.fewest_bands is None:
            found = ops.tones(tone_db, self._curves_JM)
        else:
            found = ops.filters(tone_db[..., 1:], self.view.n_mels, eq.smooth).add_(tone_db[..., :1])
        if self._octave_M is None:
            return found
        far = ops.muffling(effects.muffled, self._octave_M, self._augment.lowpass.db_per_octave)
        return found + far if found.shape[2] else far

    def _places(self, inputs: StepInputs, others: int) -> list[Tensor]:
        """Numbers of the clips that get partner, background, third, noise: if shapes are full, of all clips or none."""
        has_BS, has_noise_B = inputs.sounds[:, :, 1] > 0, inputs.effects.added[:, 1] > 0
        if not self.full:
            kinds = [has_BS[:, kind] for kind in (PARTNER, BACKGROUND, THIRD)]
            return [each.nonzero()[:, 0] for each in (*kinds, has_noise_B)]
        mixup, clip_B = self._augment.mixup, torch.arange(inputs.size, device=has_BS.device)
        background, noise, third = (
            inputs.size * bool(share)
            for share in (
                self._augment.background.probability,
                self._augment.noise.probability,
                mixup.probability * mixup.third,
            )
        )
        return [clip_B[:count] for count in (others - background - third, background, third, noise)]

    def _room(self, like_BTM: Tensor, count: int) -> Tensor:
        """Memory for so many clips; on a CPU, where new memory costs more than the work in it, it is kept."""
        if self.full:
            return like_BTM.new_empty((count, *like_BTM.shape[1:]))
        if self._kept is None or len(self._kept) < count:
            self._kept = like_BTM.new_empty((count, *like_BTM.shape[1:]))
        return self._kept[:count]

    def _mixed_(self, clips_BTM: Tensor, others: Tensor, inputs: StepInputs, places: list[Tensor]) -> Tensor:
        """Mix other sounds and noise into the clips that get any; only these are turned to power and back."""
        effects = inputs.effects
        changed_R = max(places, key=len) if self.full else torch.unique(torch.cat(places))
        partner_P, background_Q, third_Q, noise_Q = (torch.searchsorted(changed_R, place) for place in places)
        partners, backgrounds, thirds = torch.split(others, [len(place) for place in places[:3]])
        room = self._room(clips_BTM, len(changed_R) + len(noise_Q))
        sounds_RTM, noise_QTM = room[: len(changed_R)], room[len(changed_R) :]
        torch.index_select(clips_BTM, 0, changed_R, out=sounds_RTM)
        for bins in self._in_db:
            ops.to_power_(sounds_RTM[:, :, bins])
            ops.to_power_(others[:, :, bins])
        if len(partner_P):
            frames = clips_BTM.shape[1] if self._augment.cutmix.probability else 1
            own_RT, other_RT = ops.frame_weights(effects.span[changed_R], effects.weights[changed_R], frames)
            ops.mix_(sounds_RTM, partners, partner_P, own_RT, other_RT[partner_P])
        if len(third_Q):
            sounds_RTM.index_add_(0, third_Q, thirds.mul_(effects.weights[places[2], 2][:, None, None]))
        if len(background_Q):
            added_Q = effects.added[places[1], 0]
            ops.add_in_ratio_(sounds_RTM, backgrounds, background_Q, added_Q)
        if len(noise_Q):
            assert self.noise is not None
            ops.take_spans(self.noise, effects.noise_start[places[3]], noise_QTM)
            ops.add_in_ratio_(sounds_RTM, noise_QTM, noise_Q, effects.added[places[3], 1])
        for bins in self._in_db:
            ops.to_db_(sounds_RTM[:, :, bins])
        if self.full:
            is_changed_B = (inputs.sounds[:, 1:, 1] > 0).any(dim=1) | (effects.added > 0).any(dim=1)
            return torch.where(is_changed_B[:, None, None], sounds_RTM, clips_BTM)
        return clips_BTM.index_copy_(0, changed_R, sounds_RTM)

    def _masked_(self, shown_BCTM: Tensor, effects: Effects) -> Tensor:
        """Fill masked mel bins and frames with the mean of each channel of the clip."""
        axes = ((effects.mel_masks, shown_BCTM.shape[3]), (effects.time_masks, shown_BCTM.shape[2]))
        seen_mel, seen_time = (~ops.within(*masks, size) if masks.width.shape[1] else None for masks, size in axes)
        if seen_mel is None and seen_time is None:
            return shown_BCTM
        if self._mean_is_zero:
            return ops.blank_(shown_BCTM, seen_mel, seen_time)
        mean_BC11 = shown_BCTM.mean(dim=(2, 3), keepdim=True)
        return ops.blank_(shown_BCTM.sub_(mean_BC11), seen_mel, seen_time).add_(mean_BC11)
