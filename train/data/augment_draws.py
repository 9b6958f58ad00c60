"""Random choices of augmentation, by counter: a row of numbers for each clip. `train.augment` applies them.

N clip, M mel bin, J band or mask.
"""

import math
from functools import lru_cache
from typing import Any, NamedTuple, get_args

import numpy as np

from birdcache.arrays import Bools, Floats32, Floats64, Ints
from birdcache.params.augment import (
    AugmentParams,
    BackgroundParams,
    CutmixParams,
    EqParams,
    LabelRule,
    MixstyleParams,
    NoiseParams,
    TempoParams,
)
from birdcache.params.recipe import Recipe
from birdcache.params.views import AnyView, band_hz
from train.data.random import Purpose, beta, uniform
from train.data.sampling import PseudoClips

RULES: tuple[LabelRule, ...] = get_args(LabelRule)
MIXUP, CUTMIX, STUDENT = 0, 2, 3  # their numbers among the ways to mix
BANK_SPANS = 4096  # places where a span of the bank of noise may begin


class Mixtures(NamedTuple):
    """Who gets a partner, and what it does to the label; rows of clips without one are as if it weighed nothing."""

    partnered: Bools  # (N,)
    pseudo: Bools  # (N,) whether the partner is a pseudo-labelled clip of a soundscape
    share: Floats64  # (N,) of the clip in the mixture, for its label
    rule: Ints  # (N,) number in RULES
    span: Ints  # (N, 2) first frame, and number of frames, in which the partner is heard
    weights: Floats32  # (N, 3) of the clip, its partner and a third one in these frames, in power (or PCEN)
    third: Bools  # (N,) who gets a third clip
    pair_share: Floats64  # (N,) of the clip with its partner in the mixture with a third one, for its label


class Masks(NamedTuple):
    """Spans to blank along one axis; width 0 for none."""

    start: Any  # (N, J)
    width: Any  # (N, J)


class Effects(NamedTuple):
    """All that is done to clips on the device: arrays of a plan, or tensors of the same names."""

    span: Any  # (N, 2) int64, as in Mixtures
    weights: Any  # (N, 3) float32, as in Mixtures
    tone_db: Any  # (N, 2, 0 or 1 + J) float32: gain, then the equaliser, of the clip and of its partner
    muffled: Any  # (N, 2, 0 or 2) float32, of the clip and of its partner: octaves, and decibels, see `draw_muffled`
    added: Any  # (N, 2) float32: power of background and of noise, relative to what they are laid under; 0 for none
    noise_start: Any  # (N,) int64: frame of the bank of noise
    style: Any  # (N, 0 or 1) float32: the other clip's share in the statistics of mel bins
    reverse: Any  # (N, 0 or 1) bool: whether the clip is played backwards
    tempo: Any  # (N, 0 or 1) float32: how much faster the clip is played, as a share
    shift: Any  # (N,) int64: frames
    mel_masks: Masks
    time_masks: Masks


def draw_effects(epoch: int, index_N: Ints, recipe: Recipe, view: AnyView, mixtures: Mixtures) -> Effects:
    """Draw everything but partners for clips number `index_N` of an epoch."""
    seed, augment, frames = recipe.seed, recipe.augment, view.frames(recipe.clip_s)
    masks, shift_frames = augment.spec_augment, round(augment.time_shift_s * view.sample_rate_hz / view.hop)
    sounds = ((Purpose.BACKGROUND_SNR, augment.background), (Purpose.NOISE, augment.noise))
    snr_db = np.stack([draw_snr_db(seed, epoch, index_N, purpose, sound) for purpose, sound in sounds], axis=1)
    axes = (
        (Purpose.MEL_MASK, masks.mel_masks, masks.mel_width, view.n_mels),
        (Purpose.TIME_MASK, masks.time_masks, masks.time_width, frames),
    )
    return Effects(
        mixtures.span,
        mixtures.weights,
        draw_tones(seed, epoch, index_N, augment),
        draw_muffled(seed, epoch, index_N, augment, band_hz([view])[1]),
        (10 ** (-snr_db / 10)).astype(np.float32),
        draw_noise_start(seed, epoch, index_N),
        draw_style(seed, epoch, index_N, augment.mixstyle),
        draw_reverse(seed, epoch, index_N, augment.reverse.probability),
        draw_tempo(seed, epoch, index_N, augment.tempo),
        draw_shift(seed, epoch, index_N, Purpose.SHIFT, shift_frames),
        *(draw_masks(seed, epoch, index_N, *axis, masks.probability) for axis in axes),
    )


def draw_mixtures(
    seed: int, epoch: int, example_N: Ints, augment: AugmentParams, frames: int, pseudo: PseudoClips | None = None
) -> Mixtures:
    """The clips that get a partner, in which of four ways, and with which weights.

    mixup: the clip weighs lambda ~ Beta(alpha, alpha), its partner the rest; where a third one joins them, so does
    this mixture, by another lambda, and the third the rest. sumix: the clip stays as it is, and the
    partner comes on top with a gain uniform within +-gain_db. cutmix: the partner takes the clip's place in a span.
    pseudo: the clip weighs `share`, a pseudo-labelled clip the rest; a clip that gets one gets no other partner.
    """
    share, way_N = pseudo.share if pseudo else 1.0, _ways(seed, epoch, example_N, augment, pseudo)
    draw_N = uniform(seed, epoch, example_N, Purpose.LAMBDA)[:, 0]
    share_N = beta(augment.mixup.alpha, draw_N) if augment.mixup.probability else np.ones(len(draw_N))
    power_N = 10 ** ((2 * draw_N - 1) * augment.sumix.gain_db / 10)
    cut_N2 = draw_cuts(seed, epoch, example_N, draw_N, augment.cutmix, frames)
    own_N = np.choose(way_N, [share_N, 1.0, 0.0, share, 1.0])
    other_N = np.choose(way_N, [1 - share_N, power_N, 1.0, 1 - share, 0.0])
    rules = (augment.mixup.labels, augment.sumix.labels, augment.cutmix.labels, "max", RULES[0])
    partnered_N = way_N <= STUDENT
    draws = uniform(seed, epoch, example_N, Purpose.THIRD, 2)
    third_N = (way_N == MIXUP) & (draws[:, 0] < augment.mixup.third)
    pair_N = np.where(third_N, beta(augment.mixup.alpha, draws[:, 1]), 1.0) if third_N.any() else np.ones(len(draws))
    return Mixtures(
        partnered_N,
        way_N == STUDENT,
        np.choose(way_N, [share_N, 1 / (1 + power_N), 1 - cut_N2[:, 1] / frames, share, 1.0]),
        np.array([RULES.index(rule) for rule in rules])[way_N],
        np.where((way_N == CUTMIX)[:, None], cut_N2, partnered_N[:, None] * np.array([0, frames])),
        np.stack([pair_N * own_N, pair_N * other_N, 1 - pair_N], axis=1).astype(np.float32),
        third_N,
        pair_N,
    )


def _ways(seed: int, epoch: int, example_N: Ints, augment: AugmentParams, pseudo: PseudoClips | None) -> Ints:
    """Number of the way in which each clip gets a partner, STUDENT + 1 for those that get none: (N,)."""
    borders = np.cumsum([augment.mixup.probability, augment.sumix.probability, augment.cutmix.probability, 0.0])
    which_N = uniform(seed, epoch, example_N, Purpose.MIX)[:, 0] if borders[-1] else np.ones(len(example_N))
    way_N = np.searchsorted(borders, which_N, side="right")
    if pseudo is None:
        return way_N
    return np.where(uniform(seed, epoch, example_N, Purpose.STUDENT)[:, 0] < pseudo.probability, STUDENT, way_N)


def draw_cuts(seed: int, epoch: int, example_N: Ints, draw_N: Floats64, cutmix: CutmixParams, frames: int) -> Ints:
    """Cutmix's span of 1 - lambda of the frames, lambda ~ Beta(alpha, alpha) by the given draw, anywhere.

    Returns
    -------
    (P, 2) first frame and number of frames; 0 and 0 without cutmix.
    """
    if not cutmix.probability:
        return np.zeros((len(example_N), 2), np.int64)
    width_N = np.rint((1 - beta(cutmix.alpha, draw_N)) * frames).astype(np.int64)
    start_N = np.floor(uniform(seed, epoch, example_N, Purpose.SPAN)[:, 0] * (frames - width_N + 1)).astype(np.int64)
    return np.stack([start_N, width_N], axis=1)


def draw_tones(seed: int, epoch: int, example_N: Ints, augment: AugmentParams) -> Floats32:
    """Loudness changes of clips and of their partners, in dB: gain, then the equaliser, (N, 2, 1 + J).

    Each sound has a gain and an equaliser of its own; partners are numbered by the clips that they come to. Without an
    equaliser (N, 2, 1), without either (N, 2, 0).
    """
    if not augment.gain_db and not augment.eq.probability:
        return np.empty((len(example_N), 2, 0), np.float32)
    sounds = ((Purpose.GAIN, Purpose.EQ), (Purpose.PARTNER_GAIN, Purpose.PARTNER_EQ))
    gains = [draw_gain_db(seed, epoch, example_N, augment.gain_db, purpose) for purpose, _ in sounds]
    bands = [draw_eq_db(seed, epoch, example_N, augment.eq, purpose) for _, purpose in sounds]
    tones = [np.column_stack(pair) for pair in zip(gains, bands, strict=True)]
    return np.stack(tones, axis=1).astype(np.float32)


def draw_gain_db(seed: int, epoch: int, example_N: Ints, gain_db: float, purpose: Purpose) -> Floats64:
    """Volume change of each clip, uniform within +-gain_db: (N,)."""
    return (2 * uniform(seed, epoch, example_N, purpose)[:, 0] - 1) * gain_db


def draw_eq_db(seed: int, epoch: int, example_N: Ints, eq: EqParams, purpose: Purpose) -> Floats64:
    """Changes of each clip's bands by its equaliser, if it gets one: (N, J) dB, or (N, 0) where no clip can get one.

    Each is uniform in -depth_db to boost_db. Under `fewest_bands` they are those at J + 1 points, and J - 1 edges as
    shares of the mel axis follow, 1 for those of bands that there are not: (N, 2 J), for `train.augment.ops.filters`.
    """
    if not eq.probability:
        return np.empty((len(example_N), 0))
    points = eq.bands + (eq.fewest_bands is not None)
    draws = uniform(seed, epoch, example_N, purpose, 1 + points + eq.bands)
    change_NJ = eq.boost_db - (eq.depth_db + eq.boost_db) * draws[:, 1 : 1 + points]
    change_NJ = np.where(draws[:, :1] < eq.probability, change_NJ, 0.0)
    if eq.fewest_bands is None:
        return change_NJ
    count_N1 = eq.fewest_bands + np.floor(draws[:, -1:] * (eq.bands - eq.fewest_bands + 1))
    edge_NJ = np.where(np.arange(1, eq.bands) < count_N1, draws[:, 1 + points : -1], 1.0)
    return np.column_stack([change_NJ, np.sort(edge_NJ, axis=1)])


def draw_muffled(seed: int, epoch: int, example_N: Ints, augment: AugmentParams, top_hz: float) -> Floats32:
    """Octaves below the highest frequency at which a low-pass begins, and dB that distance takes there; 0 for none.

    (N, 2, 2), of clips and of their partners, or (N, 2, 0) where no clip can get either.
    """
    lowpass, distance = augment.lowpass, augment.distance
    if not lowpass.probability and not distance.probability:
        return np.empty((len(example_N), 2, 0), np.float32)
    most = np.array([math.log2(top_hz / lowpass.lowest_hz), distance.most_db])
    sounds = ((Purpose.LOWPASS, Purpose.DISTANCE), (Purpose.PARTNER_LOWPASS, Purpose.PARTNER_DISTANCE))
    draws = np.array([[uniform(seed, epoch, example_N, each, 2) for each in purposes] for purposes in sounds])
    has = draws[..., 0] < np.array([lowpass.probability, distance.probability])[:, None]
    numbers = np.where(has, draws[..., 1] * most[:, None], 0.0)
    return np.ascontiguousarray(numbers.transpose(2, 0, 1), np.float32)


@lru_cache(maxsize=4)
def band_curves(bands: int, mel_bins: int, smooth: bool = True) -> Floats64:
    """Share of each band's change that each mel bin gets: (J, M).

    The bands are equal parts of the mel axis. Between their centres the decibels change linearly; beyond the outermost
    centres they are constant. If not smooth, a band has its change throughout.
    """
    if not smooth:
        return np.eye(bands)[:, (2 * np.arange(mel_bins) + 1) * bands // (2 * mel_bins)]
    centre_J = (np.arange(bands) + 0.5) * mel_bins / bands - 0.5
    return np.stack([np.interp(np.arange(mel_bins), centre_J, unit_J) for unit_J in np.eye(bands)])


def draw_style(seed: int, epoch: int, example_N: Ints, mixstyle: MixstyleParams) -> Floats32:
    """Share of another clip in the statistics of each clip's mel bins, 0 for none: (N, 1), or (N, 0) without mixstyle.

    It is 1 - lambda, lambda ~ Beta(alpha, alpha).
    """
    if not mixstyle.probability:
        return np.empty((len(example_N), 0), np.float32)
    draws = uniform(seed, epoch, example_N, Purpose.STYLE, 2)
    share_N = np.where(draws[:, 0] < mixstyle.probability, 1 - beta(mixstyle.alpha, draws[:, 1]), 0.0)
    return share_N[:, None].astype(np.float32)


def draw_reverse(seed: int, epoch: int, example_N: Ints, probability: float) -> Bools:
    """Whether each clip is played backwards: (N, 1), or (N, 0) if none can be."""
    if not probability:
        return np.empty((len(example_N), 0), bool)
    return uniform(seed, epoch, example_N, Purpose.REVERSE) < probability


def draw_tempo(seed: int, epoch: int, example_N: Ints, tempo: TempoParams) -> Floats32:
    """How much faster each clip is played, uniform within +-most; 0 for as it is: (N, 1), or (N, 0) if none can be."""
    if not tempo.probability:
        return np.empty((len(example_N), 0), np.float32)
    draws = uniform(seed, epoch, example_N, Purpose.TEMPO, 2)
    change_N = np.where(draws[:, 0] < tempo.probability, (2 * draws[:, 1] - 1) * tempo.most, 0.0)
    return change_N[:, None].astype(np.float32)


def draw_snr_db(
    seed: int, epoch: int, example_N: Ints, purpose: Purpose, sound: BackgroundParams | NoiseParams
) -> Floats64:
    """Signal-to-noise ratio of each clip against the sound under it, uniform in dB; infinite for none: (N,)."""
    if not sound.probability:
        return np.full(len(example_N), np.inf)
    draws = uniform(seed, epoch, example_N, purpose, 2)
    snr_db = sound.lowest_snr_db + (sound.highest_snr_db - sound.lowest_snr_db) * draws[:, 1]
    return np.where(draws[:, 0] < sound.probability, snr_db, np.inf)


def draw_noise_start(seed: int, epoch: int, example_N: Ints) -> Ints:
    """The place in the bank of noise at which each clip's noise begins: (N,) frames."""
    return np.floor(uniform(seed, epoch, example_N, Purpose.NOISE_START)[:, 0] * BANK_SPANS).astype(np.int64)


def draw_shift(seed: int, epoch: int, example_N: Ints, purpose: Purpose, most: int) -> Ints:
    """Whole steps, such as frames, by which to move each clip, uniform within +-most: (N,)."""
    return np.floor(uniform(seed, epoch, example_N, purpose)[:, 0] * (2 * most + 1)).astype(np.int64) - most


def draw_masks(
    seed: int, epoch: int, example_N: Ints, purpose: Purpose, count: int, widest: int, size: int, probability: float
) -> Masks:
    """SpecAugment's masks: widths uniform in 0..widest, anywhere within `size`, each with a probability."""
    if not count or not probability:
        return Masks(*np.zeros((2, len(example_N), 0), np.int64))
    draws = uniform(seed, epoch, example_N, purpose, 3 * count).reshape(len(example_N), count, 3)
    width = np.floor(draws[..., 0] * (widest + 1)).astype(np.int64)
    start = np.floor(draws[..., 1] * (size - width + 1)).astype(np.int64)
    return Masks(start, np.where(draws[..., 2] < probability, width, 0))
