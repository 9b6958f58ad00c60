"""The device's part of a batch: tone -> mix -> background -> noise -> roll -> present -> normalise -> masks.

B clip, C channel, P partner, Q background or noise, R clip that something is mixed into, T frame, M mel bin, K class.
Until they are presented, clips of several views lie side by side: M counts the mel bins of all views, one after the
other. So whatever is done to frames is done to all views alike; what needs decibels leaves PCEN views out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from birdcache.params.recipe import Recipe
from birdcache.params.views import AnyView, MelView, each_of
from train.augment import ops
from train.augment.labels import mixed_labels
from train.augment.normalise import Normaliser, as_images
from train.augment.ops import to_device
from train.data.augment_draws import Added, BatchDraws
from train.data.batch_plan import Plan
from train.data.noise import noise_bank


@dataclass(frozen=True)
class Batch:
    """What a training step gets, on the device."""

    clips: Tensor  # (B, C, M, T)
    targets: Tensor  # (B, K)
    weights: Tensor  # (B, K), 0 where the loss must not look
    importance: Tensor  # (B,) weight of the clip in the loss


class BatchTransform:
    """Finishes planned batches on the device."""

    def __init__(self, view: AnyView, recipe: Recipe, normaliser: Normaliser, device: torch.device) -> None:
        self._normaliser, self._device = normaliser, device
        self._in_db = bins_in_db(view)
        self._mean_is_zero = recipe.normalise == "clip"
        self._kept: Tensor | None = None
        noise = recipe.augment.noise
        if noise.probability:
            frames = view.frames(recipe.clip_s)
            banks = [noise_bank(one, noise.colour, frames, recipe.seed) for one in each_of(view)]
            self._noise_NM = self._here(np.concatenate(banks, axis=1))

    def __call__(self, values: Tensor, plan: Plan) -> Batch:
        """Finish a batch whose clips, partners and backgrounds are `values`, (B + P + Q, T, M), in dB or PCEN.

        Overwrites the values.
        """
        draws = plan.draws
        clips_BTM, others = values[: draws.size], values[draws.size :]
        if draws.tone_db is not None:
            tone_db = self._here(draws.tone_db)
            for bins in self._in_db:
                ops.change_tone_(values[: len(tone_db), :, bins], tone_db)
        if len(draws.changed):
            clips_BTM = self._mixed_(clips_BTM, others, draws)
        if draws.shift is not None:
            clips_BTM.copy_(ops.roll_frames(clips_BTM, self._here(draws.shift), self._room(clips_BTM, draws.size)))
        shown_BCTM = self._masked_(self._normaliser(clips_BTM), draws)
        labels = mixed_labels(plan.targets, plan.weights, plan.importance, draws.mixtures)
        return Batch(as_images(shown_BCTM), *(self._here(array) for array in labels))

    def _here(self, array: npt.NDArray[np.generic]) -> Tensor:
        return to_device(array, self._device)

    def _room(self, like_BTM: Tensor, count: int) -> Tensor:
        """Memory for so many clips, kept from batch to batch: on a CPU new memory costs more than the work in it."""
        if self._kept is None or len(self._kept) < count:
            self._kept = like_BTM.new_empty((count, *like_BTM.shape[1:]))
        return self._kept[:count]

    def _mixed_(self, clips_BTM: Tensor, others: Tensor, draws: BatchDraws) -> Tensor:
        """Mix partners, backgrounds and noise into the clips that get any; only these are turned to power and back."""
        changed_R = self._here(draws.changed)
        room = self._room(clips_BTM, len(draws.changed) + len(draws.noise.place))
        sounds_RTM, noise_QTM = room[: len(draws.changed)], room[len(draws.changed) :]
        torch.index_select(clips_BTM, 0, changed_R, out=sounds_RTM)
        for bins in self._in_db:
            ops.to_power_(sounds_RTM[:, :, bins])
            ops.to_power_(others[:, :, bins])
        partners = len(draws.partnered)
        self._add_partners_(sounds_RTM, others[:partners], draws)
        self._add_(sounds_RTM, others[partners:], draws.background, draws)
        if len(draws.noise.place):
            ops.take_spans(self._noise_NM, self._here(draws.noise_start), noise_QTM)
            self._add_(sounds_RTM, noise_QTM, draws.noise, draws)
        for bins in self._in_db:
            ops.to_db_(sounds_RTM[:, :, bins])
        return clips_BTM.index_copy_(0, changed_R, sounds_RTM)

    def _add_partners_(self, sounds_RTM: Tensor, partners_PTM: Tensor, draws: BatchDraws) -> None:
        place_P = np.searchsorted(draws.changed, draws.partnered)
        own_RT = np.ones((len(sounds_RTM), draws.mixtures.own.shape[1]), np.float32)
        own_RT[place_P] = draws.mixtures.own
        weights = self._here(own_RT), self._here(draws.mixtures.other)
        ops.mix_(sounds_RTM, partners_PTM, self._here(place_P), *weights)

    def _add_(self, sounds_RTM: Tensor, added_QTM: Tensor, added: Added, draws: BatchDraws) -> None:
        if len(added.place):
            place_Q = np.searchsorted(draws.changed, added.place)
            ops.add_at_snr_(sounds_RTM, added_QTM, self._here(place_Q), self._here(added.snr_db))

    def _masked_(self, shown_BCTM: Tensor, draws: BatchDraws) -> Tensor:
        """Fill masked mel bins and frames with the mean of each channel of the clip."""
        if draws.seen_mel is None and draws.seen_time is None:
            return shown_BCTM
        seen = (None if array is None else self._here(array) for array in (draws.seen_mel, draws.seen_time))
        if self._mean_is_zero:
            return ops.blank_(shown_BCTM, *seen)
        mean_BC11 = shown_BCTM.mean(dim=(2, 3), keepdim=True)
        return ops.blank_(shown_BCTM.sub_(mean_BC11), *seen).add_(mean_BC11)


def bins_in_db(view: AnyView) -> list[slice]:
    """Where the mel bins of the views in dB lie, of views side by side; those of PCEN views are left out."""
    starts = [number * view.n_mels for number, one in enumerate(each_of(view)) if isinstance(one, MelView)]
    return [slice(start, start + view.n_mels) for start in starts]
