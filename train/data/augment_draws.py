"""Random choices of augmentation for a batch, by counter: one row per example. `train.augment.ops` applies them.

B clip, P partner, Q added sound, R clip that something is mixed into, T frame, M mel bin, J band or mask.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import get_args

import numpy as np

from birdcache.arrays import Bools, Floats32, Floats64, Ints
from birdcache.params.augment import AugmentParams, BackgroundParams, CutmixParams, EqParams, LabelRule, NoiseParams
from birdcache.params.recipe import Recipe
from birdcache.params.views import AnyView
from train.data.random import Purpose, beta, uniform
from train.data.sampling import PseudoClips

RULES: tuple[LabelRule, ...] = get_args(LabelRule)
CUTMIX, STUDENT = 2, 3  # their numbers among the ways to mix
BANK_SPANS = 4096  # places where a span of the bank of noise may begin


@dataclass(frozen=True)
class Mixtures:
    """Clips of a batch that get a partner: weights of both in each frame, in power (or PCEN), and for their labels."""

    place: Ints  # (P,) in the batch
    own: Floats32  # (P, T or 1) weight of the clip
    other: Floats32  # (P, T or 1) weight of its partner
    share: Floats64  # (P,) of the clip in the mixture, for its label
    rule: Ints  # (P,) number in RULES
    pseudo: Bools  # (P,) whether the partner is a pseudo-labelled clip of a soundscape


@dataclass(frozen=True)
class Added:
    """Clips of a batch under which a sound is laid."""

    place: Ints  # (Q,) in the batch
    snr_db: Floats64  # (Q,) of the clip against that sound


@dataclass(frozen=True)
class Masks:
    """Spans to blank along one axis: (B, J) starts and widths, width 0 for none."""

    start: Ints
    width: Ints


@dataclass(frozen=True)
class BatchDraws:
    """All random choices that are applied to a batch on the device; None where the recipe has none."""

    size: int  # clips, B
    tone_db: Floats32 | None  # (B + P, M or 1) by which clips, then their partners, become louder
    mixtures: Mixtures
    background: Added
    noise: Added
    noise_start: Ints  # (Q,) frame of the bank of noise
    shift: Ints | None  # (B,) frames
    seen_mel: Bools | None  # (B, M) mel bins that are not masked
    seen_time: Bools | None  # (B, T) frames that are not masked

    @property
    def partnered(self) -> Ints:
        """(P,) places in the batch that get a partner, in order."""
        return self.mixtures.place

    @property
    def backgrounded(self) -> Ints:
        """(Q,) places in the batch that get a background, in order."""
        return self.background.place

    @cached_property
    def changed(self) -> Ints:
        """(R,) places in the batch that something is mixed into, in order."""
        return np.unique(np.concatenate([self.partnered, self.backgrounded, self.noise.place]))


def draw_batch(
    epoch: int, index_B: Ints, recipe: Recipe, view: AnyView, pseudo: PseudoClips | None = None
) -> BatchDraws:
    """Draw everything for clips number `index_B` of an epoch."""
    seed, augment, frames = recipe.seed, recipe.augment, view.frames(recipe.clip_s)
    mixtures = draw_mixtures(seed, epoch, index_B, augment, frames, pseudo)
    noise = draw_added(seed, epoch, index_B, Purpose.NOISE, augment.noise)
    shift_frames = round(augment.time_shift_s * view.sample_rate_hz / view.hop)
    masks = augment.spec_augment
    mel = draw_masks(
        seed, epoch, index_B, Purpose.MEL_MASK, masks.mel_masks, masks.mel_width, view.n_mels, masks.probability
    )
    time = draw_masks(
        seed, epoch, index_B, Purpose.TIME_MASK, masks.time_masks, masks.time_width, frames, masks.probability
    )
    return BatchDraws(
        size=len(index_B),
        tone_db=draw_tones(seed, epoch, index_B, index_B[mixtures.place], augment, view.n_mels),
        mixtures=mixtures,
        background=draw_added(seed, epoch, index_B, Purpose.BACKGROUND_SNR, augment.background),
        noise=noise,
        noise_start=draw_noise_start(seed, epoch, index_B[noise.place]),
        shift=draw_shift(seed, epoch, index_B, Purpose.SHIFT, shift_frames) if shift_frames else None,
        seen_mel=~inside(mel, view.n_mels) if mel.width.any() else None,
        seen_time=~inside(time, frames) if time.width.any() else None,
    )


def draw_mixtures(
    seed: int, epoch: int, example_B: Ints, augment: AugmentParams, frames: int, pseudo: PseudoClips | None = None
) -> Mixtures:
    """The clips that get a partner, in which of four ways, and with which weights.

    mixup: the clip weighs lambda ~ Beta(alpha, alpha), its partner the rest. sumix: the clip stays as it is, and the
    partner comes on top with a gain uniform within +-gain_db. cutmix: the partner takes the clip's place in a span.
    pseudo: the clip weighs `share`, a pseudo-labelled clip the rest; a clip that gets one gets no other partner.
    """
    share = pseudo.share if pseudo else 1.0
    way_B = _ways(seed, epoch, example_B, augment, pseudo)
    place = np.flatnonzero(way_B <= STUDENT)
    way_P, draw_P = way_B[place], uniform(seed, epoch, example_B[place], Purpose.LAMBDA)[:, 0]
    share_P = beta(augment.mixup.alpha, draw_P)
    power_P = 10 ** ((2 * draw_P - 1) * augment.sumix.gain_db / 10)
    cut_PT = draw_cuts(seed, epoch, example_B[place], draw_P, augment.cutmix, frames)
    mixed_PT = cut_PT | (way_P != CUTMIX)[:, None]
    own_P = np.choose(way_P, [share_P, 1.0, 0.0, share])
    other_P = np.choose(way_P, [1 - share_P, power_P, 1.0, 1 - share])
    rules = (augment.mixup.labels, augment.sumix.labels, augment.cutmix.labels, "max")
    return Mixtures(
        place=place,
        own=np.where(mixed_PT, own_P[:, None], 1.0).astype(np.float32),
        other=np.where(mixed_PT, other_P[:, None], 0.0).astype(np.float32),
        share=np.choose(way_P, [share_P, 1 / (1 + power_P), 1 - cut_PT.mean(axis=1), share]),
        rule=np.array([RULES.index(rule) for rule in rules])[way_P],
        pseudo=way_P == STUDENT,
    )


def _ways(seed: int, epoch: int, example_B: Ints, augment: AugmentParams, pseudo: PseudoClips | None) -> Ints:
    """Number of the way in which each clip gets a partner, STUDENT + 1 for those that get none: (B,)."""
    borders = np.cumsum([augment.mixup.probability, augment.sumix.probability, augment.cutmix.probability, 0.0])
    which_B = uniform(seed, epoch, example_B, Purpose.MIX)[:, 0] if borders[-1] else np.ones(len(example_B))
    way_B = np.searchsorted(borders, which_B, side="right")
    if pseudo is None:
        return way_B
    return np.where(uniform(seed, epoch, example_B, Purpose.STUDENT)[:, 0] < pseudo.probability, STUDENT, way_B)


def draw_cuts(seed: int, epoch: int, example_P: Ints, draw_P: Floats64, cutmix: CutmixParams, frames: int) -> Bools:
    """Cutmix's span of 1 - lambda of the frames, lambda ~ Beta(alpha, alpha) by the given draw, anywhere.

    Returns
    -------
    (P, T), True inside; (P, 1) of False without cutmix.
    """
    if not cutmix.probability:
        return np.zeros((len(example_P), 1), bool)
    width_P = np.rint((1 - beta(cutmix.alpha, draw_P)) * frames).astype(np.int64)
    start_P = np.floor(uniform(seed, epoch, example_P, Purpose.SPAN)[:, 0] * (frames - width_P + 1)).astype(np.int64)
    return inside(Masks(start_P[:, None], width_P[:, None]), frames)


def draw_tones(
    seed: int, epoch: int, example_B: Ints, example_P: Ints, augment: AugmentParams, mel_bins: int
) -> Floats32 | None:
    """Loudness changes of clips, then partners, in dB: of each mel bin (B + P, M), or of the whole (B + P, 1).

    Each sound has a gain and an equaliser of its own; partners are numbered by the clips that they come to.
    """
    if not augment.gain_db and not augment.eq.probability:
        return None
    sounds = ((example_B, Purpose.GAIN, Purpose.EQ), (example_P, Purpose.PARTNER_GAIN, Purpose.PARTNER_EQ))
    tones = [
        draw_gain_db(seed, epoch, example, augment.gain_db, gain)[:, None]
        + draw_eq_db(seed, epoch, example, augment.eq, mel_bins, eq)
        for example, gain, eq in sounds
    ]
    return np.concatenate(tones).astype(np.float32)


def draw_gain_db(seed: int, epoch: int, example_B: Ints, gain_db: float, purpose: Purpose) -> Floats64:
    """Volume change of each clip, uniform within +-gain_db: (B,)."""
    return (2 * uniform(seed, epoch, example_B, purpose)[:, 0] - 1) * gain_db


def draw_eq_db(seed: int, epoch: int, example_B: Ints, eq: EqParams, mel_bins: int, purpose: Purpose) -> Floats64:
    """Changes of each clip's mel bins by its equaliser, if it gets one: (B, M) dB, or (1, 1) where no clip can get one.

    Each band is changed by -depth_db to 0, uniformly.
    """
    if not eq.probability:
        return np.zeros((1, 1))
    draws = uniform(seed, epoch, example_B, purpose, 1 + eq.bands)
    band_db_BJ = np.where(draws[:, :1] < eq.probability, -eq.depth_db * draws[:, 1:], 0.0)
    return band_db_BJ @ band_curves(eq.bands, mel_bins)


@lru_cache(maxsize=4)
def band_curves(bands: int, mel_bins: int) -> Floats64:
    """Share of each band's change that each mel bin gets: (J, M).

    The bands are equal parts of the mel axis. Between their centres the decibels change linearly; beyond the outermost
    centres they are constant.
    """
    centre_J = (np.arange(bands) + 0.5) * mel_bins / bands - 0.5
    return np.stack([np.interp(np.arange(mel_bins), centre_J, unit_J) for unit_J in np.eye(bands)])


def draw_added(
    seed: int, epoch: int, example_B: Ints, purpose: Purpose, sound: BackgroundParams | NoiseParams
) -> Added:
    """The clips that get a sound under them, and their signal-to-noise ratios, uniform in dB."""
    if not sound.probability:
        return Added(np.empty(0, np.int64), np.empty(0))
    draws = uniform(seed, epoch, example_B, purpose, 2)
    place = np.flatnonzero(draws[:, 0] < sound.probability)
    return Added(place, sound.lowest_snr_db + (sound.highest_snr_db - sound.lowest_snr_db) * draws[place, 1])


def draw_noise_start(seed: int, epoch: int, example_Q: Ints) -> Ints:
    """The place in the bank of noise at which each clip's noise begins: (Q,) frames."""
    if not len(example_Q):
        return np.empty(0, np.int64)
    return np.floor(uniform(seed, epoch, example_Q, Purpose.NOISE_START)[:, 0] * BANK_SPANS).astype(np.int64)


def draw_shift(seed: int, epoch: int, example_B: Ints, purpose: Purpose, most: int) -> Ints:
    """Whole steps, such as frames, by which to move each clip, uniform within +-most: (B,)."""
    return np.floor(uniform(seed, epoch, example_B, purpose)[:, 0] * (2 * most + 1)).astype(np.int64) - most


def draw_masks(
    seed: int, epoch: int, example_B: Ints, purpose: Purpose, count: int, widest: int, size: int, probability: float
) -> Masks:
    """SpecAugment's masks: widths uniform in 0..widest, anywhere within `size`, each with a probability."""
    if not count or not probability:
        return Masks(*np.zeros((2, len(example_B), 0), np.int64))
    draws = uniform(seed, epoch, example_B, purpose, 3 * count).reshape(len(example_B), count, 3)
    width = np.floor(draws[..., 0] * (widest + 1)).astype(np.int64)
    start = np.floor(draws[..., 1] * (size - width + 1)).astype(np.int64)
    return Masks(start, np.where(draws[..., 2] < probability, width, 0))


def inside(masks: Masks, size: int) -> Bools:
    """True inside any of an example's masks: (B, size)."""
    place = np.arange(size)
    start_BJ1, end_BJ1 = masks.start[..., None], (masks.start + masks.width)[..., None]
    return np.asarray(((place >= start_BJ1) & (place < end_BJ1)).any(axis=1))
