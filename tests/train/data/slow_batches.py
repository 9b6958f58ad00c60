"""Training batches as a slow loop over their clips in float64, in the order that `train.augment.batch` documents.

T frame, M mel bin, K class.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from birdcache.params.recipe import Recipe
from birdcache.params.views import MelView, PcenParams, each_of
from cache.store import Store
from train.augment.ops import noise_bank
from train.data.augment_draws import RULES, Effects, band_curves, draw_effects, draw_mixtures
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
        number, recipe = np.array([index]), self.recipe
        mixtures = draw_mixtures(recipe.seed, epoch, number, recipe.augment, CLIP_FRAMES)
        effects = draw_effects(epoch, number, recipe, self.store.view, mixtures)
        background, noise = (float(each) for each in effects.added[0])
        example, others = int(drawn.recordings[index]), []
        values = self.cut(example, epoch, index, Purpose.START) + self.tone(effects, 0)
        if mixtures.partnered[0] or background or noise:
            sound = self.power(values)
            if mixtures.partnered[0]:
                partner = int(self.sampler.partners(epoch, drawn, number)[0])
                other = self.cut(partner, epoch, index, Purpose.PARTNER_START) + self.tone(effects, 1)
                begin, frames = mixtures.span[0]
                within = slice(begin, begin + frames)
                own_weight, other_weight, third_weight = mixtures.weights[0].astype(np.float64)
                sound[within] = (own_weight * sound + other_weight * self.power(other))[within]
                others.append((partner, float(mixtures.share[0])))
                if mixtures.third[0]:
                    third = int(self.sampler.partners(epoch, drawn, number, Purpose.THIRD_CLIP)[0])
                    sound += third_weight * self.power(self.cut(third, epoch, index, Purpose.THIRD_START))
                    others.append((third, float(mixtures.pair_share[0])))
            if background:
                silent = np.flatnonzero(self.examples.primary == 3)
                chosen = silent[int(self.draw(epoch, index, Purpose.BACKGROUND)[0] * len(silent))]
                under = self.cut(chosen, epoch, index, Purpose.BACKGROUND_START)
                sound = in_ratio(sound, self.power(under), background)
            if noise:
                bank = noise_bank(each_of(self.store.view)[0], "pink", CLIP_FRAMES, self.recipe.seed).astype(np.float64)
                begin = effects.noise_start[0]
                sound = in_ratio(sound, bank[begin : begin + CLIP_FRAMES], noise)
            values = 10 * np.log10(np.maximum(sound, 1e-10)) if self.in_db else sound
        return self.shown(values, effects).T, *self.labels(example, others, RULES[mixtures.rule[0]])

    def draw(self, epoch: int, index: int, purpose: Purpose) -> Floats:
        return uniform(self.recipe.seed, epoch, np.array([index]), purpose)[:, 0]

    def cut(self, example: int, epoch: int, index: int, purpose: Purpose) -> Floats:
        loop, frames = self.recipe.short == "loop", self.examples.frames[[example]]
        start = clip_starts(frames, CLIP_FRAMES, loop, self.draw(epoch, index, purpose))
        position = clip_positions(start, frames, CLIP_FRAMES, loop)[0]
        recording = self.store.read(int(self.examples.rows[example])).astype(np.float64)
        return np.where(position[:, None] < 0, self.store.quantizer.low, recording[position])

    def tone(self, effects: Effects, number: int) -> Floats | float:
        if not effects.tone_db.shape[2]:
            return 0.0
        gain_db, *bands_db = effects.tone_db[0, number].astype(float).tolist()
        return float(gain_db) + np.array(bands_db) @ band_curves(len(bands_db), MEL_BINS) if bands_db else gain_db

    def power(self, values: Floats) -> Floats:
        return np.asarray(10 ** (values / 10)) if self.in_db else values

    def shown(self, values: Floats, effects: Effects) -> Floats:
        """What the model sees of a clip (T, M)."""
        recipe = self.recipe
        values = np.roll(values, effects.shift[0], axis=0)
        if recipe.pcen is not None:
            values = slow_pcen(10 ** (values / 10) * 2.0**62, recipe.pcen, 62.5)
        if recipe.dynamic_range_db:
            values = np.maximum(values, values.max() - recipe.dynamic_range_db)
        if recipe.normalise == "clip":
            values = (values - values.mean()) / values.std(ddof=1)
        if recipe.normalise == "bins":
            values = (values - MEAN) / DEVIATION
        fill = values.mean()
        for axis, masks in ((1, effects.mel_masks), (0, effects.time_masks)):
            for start, width in zip(masks.start[0], masks.width[0], strict=True):
                values.swapaxes(0, axis)[start : start + width] = fill
        return values

    def labels(self, example: int, others: list[tuple[int, float]], rule: str) -> tuple[Floats, Floats, float]:
        """Of a clip and the others that join it one after another, each to the rest of a share."""
        target, weight, importance = self.label(example)
        for number, share in others:
            other = self.label(number)
            target = {
                "lambda": share * target + (1 - share) * other[0],
                "max": np.maximum(target, other[0]),
                "sum": np.minimum(target + other[0], 1),
            }[rule]
            weight = np.where(target > 0, 1.0, np.minimum(weight, other[1]))
            importance = share * importance + (1 - share) * other[2] if rule == "lambda" else max(importance, other[2])
        return target, weight, importance

    def label(self, example: int) -> tuple[Floats, Floats, float]:
        target, weight = self.examples.targets(np.array([example]), self.recipe.secondary)
        lowest = self.recipe.loss.lowest_rating_weight
        importance = float(self.examples.importance(np.array([example]), lowest)[0])
        return target[0].astype(np.float64), weight[0].astype(np.float64), importance


def in_ratio(sound: Floats, added: Floats, ratio: float) -> Floats:
    return np.asarray(sound + added * (sound.mean() / added.mean() * ratio))


def slow_pcen(energy_TM: Floats, params: PcenParams, frames_per_s: float) -> Floats:
    frames = params.time_constant_s * frames_per_s
    coefficient = (np.sqrt(1 + 4 * frames**2) - 1) / (2 * frames**2)
    smooth, rows = energy_TM[0], []
    for energy_M in energy_TM:
        smooth = (1 - coefficient) * smooth + coefficient * energy_M
        ratio = energy_M / (params.eps + smooth) ** params.gain
        rows.append((ratio + params.bias) ** params.power - params.bias**params.power)
    return np.array(rows)
