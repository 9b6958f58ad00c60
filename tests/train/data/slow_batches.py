"""Training batches as a slow loop over their clips in float64, in the order that `train.augment.batch` documents.

T frame, M mel bin, K class.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from birdcache.params.recipe import Recipe
from birdcache.params.views import MelView, PcenParams
from cache.store import Store
from train.augment.ops import noise_bank
from train.data.augment_draws import RULES, BatchDraws, draw_batch
from train.data.batch_plan import Planner
from train.data.examples import Examples
from train.data.random import Purpose, uniform
from train.data.sampling import Drawn, clip_positions, clip_starts

CLIP_FRAMES, MEL_BINS = 40, 32
MEAN, DEVIATION = np.linspace(-60, -20, MEL_BINS), np.linspace(10, 20, MEL_BINS)  # of mel bins, for `normalise: bins`

Floats = npt.NDArray[np.float64]


class SlowBatches:
    """The same clips, one after another in float64."""

    def __init__(self, store: Store, examples: Examples, recipe: Recipe) -> None:
        self.store, self.examples, self.recipe = store, examples, recipe
        self.in_db = isinstance(store.view, MelView)
        self.sampler = Planner(examples, store.view, recipe).sampler

    def clip(self, epoch: int, index: int, drawn: Drawn) -> tuple[Floats, Floats, Floats, float]:
        """Image (M, T), target (K,), weight (K,) and importance of clip `index` of an epoch."""
        draws = draw_batch(epoch, np.array([index]), self.recipe, self.store.view)
        example, partner = int(drawn.recordings[index]), None
        values = self.cut(example, epoch, index, Purpose.START) + self.tone(draws, 0)
        if len(draws.changed):
            sound = self.power(values)
            if len(draws.partnered):
                partner = int(self.sampler.partners(epoch, drawn, np.array([index]))[0])
                other = self.cut(partner, epoch, index, Purpose.PARTNER_START) + self.tone(draws, 1)
                own_weight, other_weight = draws.mixtures.own[0][:, None], draws.mixtures.other[0][:, None]
                sound = own_weight * sound + other_weight * self.power(other)
            if len(draws.backgrounded):
                silent = np.flatnonzero(self.examples.primary == 3)
                chosen = silent[int(self.draw(epoch, index, Purpose.BACKGROUND)[0] * len(silent))]
                background = self.power(self.cut(chosen, epoch, index, Purpose.BACKGROUND_START))
                sound = at_snr(sound, background, draws.background.snr_db[0])
            if len(draws.noise.place):
                bank = noise_bank(self.store.view, "pink", CLIP_FRAMES, self.recipe.seed).astype(np.float64)
                begin = draws.noise_start[0]
                sound = at_snr(sound, bank[begin : begin + CLIP_FRAMES], draws.noise.snr_db[0])
            values = 10 * np.log10(np.maximum(sound, 1e-10)) if self.in_db else sound
        return self.shown(values, draws).T, *self.labels(example, partner, draws)

    def draw(self, epoch: int, index: int, purpose: Purpose) -> Floats:
        return uniform(self.recipe.seed, epoch, np.array([index]), purpose)[:, 0]

    def cut(self, example: int, epoch: int, index: int, purpose: Purpose) -> Floats:
        loop, frames = self.recipe.short == "loop", self.examples.frames[[example]]
        start = clip_starts(frames, CLIP_FRAMES, loop, self.draw(epoch, index, purpose))
        position = clip_positions(start, frames, CLIP_FRAMES, loop)[0]
        recording = self.store.read(int(self.examples.rows[example])).astype(np.float64)
        return np.where(position[:, None] < 0, self.store.quantizer.low, recording[position])

    def tone(self, draws: BatchDraws, number: int) -> Floats | float:
        return 0.0 if draws.tone_db is None else draws.tone_db[number].astype(np.float64)

    def power(self, values: Floats) -> Floats:
        return np.asarray(10 ** (values / 10)) if self.in_db else values

    def shown(self, values: Floats, draws: BatchDraws) -> Floats:
        """What the model sees of a clip (T, M)."""
        recipe = self.recipe
        if draws.shift is not None:
            values = np.roll(values, draws.shift[0], axis=0)
        if recipe.pcen is not None:
            values = slow_pcen(10 ** (values / 10) * 2.0**62, recipe.pcen, 62.5)
        if recipe.dynamic_range_db:
            values = np.maximum(values, values.max() - recipe.dynamic_range_db)
        if recipe.normalise == "clip":
            values = (values - values.mean()) / values.std(ddof=1)
        if recipe.normalise == "bins":
            values = (values - MEAN) / DEVIATION
        fill = values.mean()
        if draws.seen_mel is not None:
            values = np.where(draws.seen_mel[0], values, fill)
        if draws.seen_time is not None:
            values = np.where(draws.seen_time[0][:, None], values, fill)
        return values

    def labels(self, example: int, partner: int | None, draws: BatchDraws) -> tuple[Floats, Floats, float]:
        one = self.label(example)
        if partner is None:
            return one
        other, share, rule = self.label(partner), float(draws.mixtures.share[0]), RULES[draws.mixtures.rule[0]]
        target = {
            "lambda": share * one[0] + (1 - share) * other[0],
            "max": np.maximum(one[0], other[0]),
            "sum": np.minimum(one[0] + other[0], 1),
        }[rule]
        weight = np.where(target > 0, 1.0, np.minimum(one[1], other[1]))
        importance = share * one[2] + (1 - share) * other[2] if rule == "lambda" else max(one[2], other[2])
        return target, weight, importance

    def label(self, example: int) -> tuple[Floats, Floats, float]:
        target, weight = self.examples.targets(np.array([example]), self.recipe.secondary)
        lowest = self.recipe.loss.lowest_rating_weight
        importance = float(self.examples.importance(np.array([example]), lowest)[0])
        return target[0].astype(np.float64), weight[0].astype(np.float64), importance


def at_snr(sound: Floats, added: Floats, snr_db: float) -> Floats:
    return np.asarray(sound + added * (sound.mean() / added.mean() * 10 ** (-snr_db / 10)))


def slow_pcen(energy_TM: Floats, params: PcenParams, frames_per_s: float) -> Floats:
    frames = params.time_constant_s * frames_per_s
    coefficient = (np.sqrt(1 + 4 * frames**2) - 1) / (2 * frames**2)
    smooth, rows = energy_TM[0], []
    for energy_M in energy_TM:
        smooth = (1 - coefficient) * smooth + coefficient * energy_M
        ratio = energy_M / (params.eps + smooth) ** params.gain
        rows.append((ratio + params.bias) ** params.power - params.bias**params.power)
    return np.array(rows)
