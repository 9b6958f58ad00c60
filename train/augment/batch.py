"""Batches on the device: tone -> mix -> background -> noise -> roll -> present -> normalise -> masks.

B clip, C channel, P partner, Q background or noise, R clip that something is mixed into, T frame, M mel bin, K class.
Until they are presented, clips of several views lie side by side: M counts the mel bins of all views, one after the
other. So every operation on frames treats all views alike; operations that need decibels leave PCEN views out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from birdcache.arrays import Floats32, Floats64, Ints
from birdcache.params.recipe import Recipe
from birdcache.params.views import AnyView, MelView, each_of
from train.augment import ops
from train.augment.normalise import Normaliser, as_images
from train.augment.ops import noise_bank, to_device
from train.data.augment_draws import RULES, Added, BatchDraws, Mixtures
from train.data.batch_plan import BatchPlan, Planner
from train.data.frames import Frames
from train.data.loader import StreamWaits, staged_ahead


@dataclass(frozen=True)
class Batch:
    """The input of a training step, on the device."""

    clips: Tensor  # (B, C, M, T)
    targets: Tensor  # (B, K)
    weights: Tensor  # (B, K), 0 for cells left out of the loss
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

    def __call__(self, values: Tensor, plan: BatchPlan) -> Batch:
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


class StepInputs(NamedTuple):
    """All that differs from step to step, on its way into a batch."""

    values: Tensor  # (B + P + Q, T, M)
    plan: BatchPlan

    @property
    def size(self) -> int:
        """Clips of the batch, B."""
        return self.plan.draws.size


class TrainingBatches:
    """The training batches of a fold, drawn by (seed, epoch, index)."""

    def __init__(self, planner: Planner, frames: Frames, augment: BatchTransform) -> None:
        self.planner, self.augment, self._frames = planner, augment, frames

    def __len__(self) -> int:
        """Batches of an epoch."""
        return len(self.planner)

    def inputs(
        self, epoch: int, first: int = 0, stream_waits: StreamWaits | None = None
    ) -> Iterator[tuple[StepInputs, float]]:
        """The inputs of an epoch's batches from number `first` on, each with the seconds spent waiting for its data.

        On a GPU they are tensors there, of the same shapes for all batches of an epoch but perhaps the last.
        """
        for (plan, staged), waited_s in staged_ahead(self.planner.epoch(epoch, first), self._frames, stream_waits):
            yield StepInputs(self._frames.finish(staged, plan.position), plan), waited_s

    def transform(self, inputs: StepInputs) -> Batch:
        """Gather, mix and present the clips of a batch.

        On a GPU a function of tensors there and of nothing else, without any that depends on their values in shape, so
        that a CUDA graph can hold it together with the step.
        """
        return self.augment(inputs.values, inputs.plan)

    def epoch(self, epoch: int, first: int = 0) -> Iterator[tuple[Batch, float]]:
        """The batches of an epoch from number `first` on, each with the seconds spent waiting for its data."""
        for inputs, waited_s in self.inputs(epoch, first):
            yield self.transform(inputs), waited_s


def bins_in_db(view: AnyView) -> list[slice]:
    """Slices of the mel bins that are in dB, of views side by side; those of PCEN views are left out."""
    starts = [number * view.n_mels for number, one in enumerate(each_of(view)) if isinstance(one, MelView)]
    return [slice(start, start + view.n_mels) for start in starts]


def mixed_labels(
    targets: Floats32, weights: Floats32, importance: Floats32, mixtures: Mixtures
) -> tuple[Floats32, Floats32, Floats32]:
    """Targets, weights and importance of a batch, mixed as its clips are.

    Parameters
    ----------
    targets, weights : (B + P, K) of clips, then partners; `importance` : (B + P,).

    Returns
    -------
    (B, K), (B, K) and (B,) float32.
    """
    place, size = mixtures.place, len(importance) - len(mixtures.place)
    mixed = targets[:size].copy(), weights[:size].copy(), importance[:size].copy()
    if len(place):
        both = mix_targets(targets[place], targets[size:], mixtures.share, mixtures.rule)
        mixed[0][place] = both
        mixed[1][place] = mix_weights(weights[place], weights[size:], both)
        mixed[2][place] = mix_importance(importance[place], importance[size:], mixtures.share, mixtures.rule)
    return mixed


def mix_targets(first_PK: Floats32, second_PK: Floats32, share_P: Floats64, rule_P: Ints) -> Floats32:
    """Targets of mixtures, each by the rule of that number in `RULES`: (P, K).

    lambda: weighted by the share of the first clip. max: both sounds fully present. sum: added, at most 1.
    """
    by_rule = {
        "lambda": _weighted(first_PK, second_PK, share_P[:, None]),
        "max": np.maximum(first_PK, second_PK),
        "sum": np.minimum(first_PK + second_PK, 1),
    }
    return np.choose(rule_P[:, None], [by_rule[rule] for rule in RULES]).astype(np.float32)


def mix_weights(first_PK: Floats32, second_PK: Floats32, targets_PK: Floats32) -> Floats32:
    """Weights of mixtures in the loss: 1 where a class is present, else the product of both clips' weights: (P, K)."""
    return np.where(targets_PK > 0, 1, first_PK * second_PK).astype(np.float32)


def mix_importance(first_P: Floats32, second_P: Floats32, share_P: Floats64, rule_P: Ints) -> Floats32:
    """Importance of mixtures: by share under rule lambda, else that of the more important clip: (P,)."""
    weighted_P = _weighted(first_P, second_P, share_P)
    return np.where(rule_P == RULES.index("lambda"), weighted_P, np.maximum(first_P, second_P)).astype(np.float32)


def _weighted(first: Floats32, second: Floats32, share: Floats64) -> Floats64:
    return share * first + (1 - share) * second
