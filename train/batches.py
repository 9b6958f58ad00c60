"""Batches: planned by index, staged by the host ahead of time, finished on the device.

B batch, T frame, M mel bin, K class.
The order of the finish: gain -> mix -> roll -> dynamic range -> normalise -> masks.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from params import MelView, PcenView, Recipe
from train import augment
from train.augment import BatchDraws, to_device
from train.draws import Ints, Purpose, uniform
from train.examples import Examples, targets
from train.residence import Frames
from train.sampling import Sampler, clip_positions, clip_starts

AHEAD = 3  # batches that are staged while the device works


@dataclass(frozen=True)
class Plan:
    """What a batch consists of: clips, followed by the partners of those that are mixed."""

    row: Ints  # (B + P,) in the store
    position: Ints  # (B + P, T) frames of the recording, -1 = padding
    example: Ints  # (B,) number of the recording among the examples
    partner: Ints  # (P,)
    mixed: Ints  # (P,) places in the batch
    draws: BatchDraws


@dataclass(frozen=True)
class Batch:
    """What the model gets: clips (B, 1, M, T), targets (B, K) and the loss's weights (B, K), on the device."""

    clips: Tensor
    targets: Tensor
    weights: Tensor


class TrainingBatches:
    """The training batches of a fold, drawn by (seed, epoch, index)."""

    def __init__(
        self, examples: Examples, frames: Frames, view: MelView | PcenView, recipe: Recipe, device: torch.device
    ) -> None:
        self._examples, self._frames, self._view, self._recipe, self._device = examples, frames, view, recipe, device
        self.sampler = Sampler(examples.primary, recipe.sampling, recipe.seed)
        self.clip_frames = view.frames(recipe.clip_s)
        self._shift_frames = round(recipe.augment.time_shift_s * view.sample_rate_hz / view.hop)
        self._targets_NK, self._weights_NK = (to_device(array, device) for array in targets(examples, recipe.secondary))

    def __len__(self) -> int:
        """Batches of an epoch; a last batch of one clip is left out, since batch norm needs two."""
        whole, rest = divmod(self.sampler.clips, self._recipe.batch_size)
        return whole + (rest > 1)

    def epoch(self, epoch: int) -> Iterator[tuple[Batch, float]]:
        """The batches of an epoch, each with the seconds that the caller had to wait for its data."""
        recordings = self.sampler.recordings(epoch)
        size = self._recipe.batch_size
        spans = (np.arange(number * size, min((number + 1) * size, len(recordings))) for number in range(len(self)))
        plans = (self._plan(epoch, span, recordings[span]) for span in spans)
        for (plan, staged), waited_s in staged_ahead(plans, self._frames):
            yield self._finish(plan, staged), waited_s

    def _plan(self, epoch: int, index_B: Ints, example_B: Ints) -> Plan:
        recipe = self._recipe
        draws = augment.draw_batch(
            recipe.seed, epoch, index_B, recipe.augment, self._view.n_mels, self.clip_frames, self._shift_frames
        )
        mixed = np.flatnonzero(draws.share < 1)
        partner = self.sampler.draw(epoch, index_B[mixed], Purpose.PARTNER)
        chosen = np.concatenate([example_B, partner])
        start_draw = np.concatenate(
            [
                uniform(recipe.seed, epoch, index_B, Purpose.START)[:, 0],
                uniform(recipe.seed, epoch, index_B[mixed], Purpose.PARTNER_START)[:, 0],
            ]
        )
        frames, loop = self._examples.frames[chosen], recipe.short == "loop"
        start = clip_starts(frames, self.clip_frames, loop, start_draw)
        position = clip_positions(start, frames, self.clip_frames, loop)
        return Plan(self._examples.rows[chosen], position, example_B, partner, mixed, draws)

    def _finish(self, plan: Plan, staged: Tensor) -> Batch:
        values = self._frames.finish(staged, plan.position)
        example, partner, mixed = (to_device(array, self._device) for array in (plan.example, plan.partner, plan.mixed))
        clips_BTM = self._mixed(values, plan, mixed)
        targets_BK, weights_BK = self._targets_NK[example], self._weights_NK[example]
        if len(plan.mixed):
            share_P = to_device(plan.draws.share[plan.mixed], self._device)
            rule = self._recipe.augment.mixup.labels
            both = augment.mix_targets(targets_BK[mixed], self._targets_NK[partner], share_P, rule)
            targets_BK = targets_BK.index_copy(0, mixed, both)
            known = weights_BK[mixed] * self._weights_NK[partner]
            # a class that one clip is sure of counts, even where the other leaves it out
            weights_BK = weights_BK.index_copy(0, mixed, torch.where(both > 0, 1.0, known))
        if self._shift_frames:
            clips_BTM = augment.roll_frames(clips_BTM, to_device(plan.draws.shift, self._device))
        clips_BTM = self._masked(normalised(clips_BTM, self._recipe), plan.draws)
        return Batch(as_images(clips_BTM), targets_BK, weights_BK)

    def _mixed(self, values: Tensor, plan: Plan, mixed: Tensor) -> Tensor:
        """Change the gain of clips and partners (dB views only), then mix the pairs."""
        clips, partners = values[: len(plan.example)], values[len(plan.example) :]
        in_db = isinstance(self._view, MelView)
        if in_db and self._recipe.augment.gain_db:
            clips = clips + to_device(plan.draws.gain_db, self._device)[:, None, None]
            partners = partners + to_device(plan.draws.partner_gain_db[plan.mixed], self._device)[:, None, None]
        if not len(plan.mixed):
            return clips
        mix = augment.mix_power if in_db else augment.mix_values
        both = mix(clips[mixed], partners, to_device(plan.draws.share[plan.mixed], self._device))
        return clips.index_copy(0, mixed, both)

    def _masked(self, clips_BTM: Tensor, draws: BatchDraws) -> Tensor:
        starts = (to_device(array, self._device) for array in (draws.mel.start, draws.time.start))
        widths = (to_device(array, self._device) for array in (draws.mel.width, draws.time.width))
        sizes = (self._view.n_mels, self.clip_frames)
        mel_BM, time_BT = (
            augment.mask_spans(size, start, width) for size, start, width in zip(sizes, starts, widths, strict=True)
        )
        return augment.apply_masks(clips_BTM, mel_BM, time_BT, clips_BTM.mean(dim=(1, 2)))


def normalised(clips_BTM: Tensor, recipe: Recipe) -> Tensor:
    """Limit the dynamic range (dB views), then give each clip mean 0 and deviation 1, as the recipe says."""
    if recipe.dynamic_range_db:
        floor_B = clips_BTM.amax(dim=(1, 2), keepdim=True) - recipe.dynamic_range_db
        clips_BTM = torch.maximum(clips_BTM, floor_B)
    if recipe.normalise == "none":
        return clips_BTM
    deviation, mean = torch.std_mean(clips_BTM, dim=(1, 2), keepdim=True)
    return (clips_BTM - mean) / (deviation + 1e-5)


def as_images(clips_BTM: Tensor) -> Tensor:
    """(B, T, M) clips as images of one channel: (B, 1, M, T)."""
    return clips_BTM.transpose(1, 2).unsqueeze(1)


def staged_ahead(plans: Iterable[Plan], frames: Frames) -> Iterator[tuple[tuple[Plan, Tensor], float]]:
    """Stage batches in one thread, a few ahead of their use; yields each with the seconds spent waiting for it."""
    plans = iter(plans)

    def next_staged() -> tuple[Plan, Tensor] | None:
        plan = next(plans, None)
        return None if plan is None else (plan, frames.stage(plan.row, plan.position))

    with ThreadPoolExecutor(1, thread_name_prefix="stage") as thread:
        ahead: deque[Future[tuple[Plan, Tensor] | None]] = deque(thread.submit(next_staged) for _ in range(AHEAD))
        while True:
            begin = time.perf_counter()
            item = ahead.popleft().result()
            waited_s = time.perf_counter() - begin
            if item is None:
                return
            ahead.append(thread.submit(next_staged))
            yield item, waited_s
