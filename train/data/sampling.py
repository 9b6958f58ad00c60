"""The clips that an epoch draws: recordings by class weight or each once, windows, and the places of clips in them.

B clip, N recording, window or pseudo-labelled clip, P partner, T frame, K class.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from birdcache.arrays import Bools, Floats32, Floats64, Ints
from birdcache.params.recipe import SamplingParams
from train.data.random import Purpose, uniform


def copies_of(primary_N: Ints, floor: int) -> Floats64:
    """How often each recording counts, (N,): those of a class with fewer than `floor` as so many together."""
    counts_N = np.bincount(primary_N)[primary_N]
    return np.asarray(np.maximum(counts_N, floor) / counts_N, np.float64)


def recording_weights(primary_N: Ints, exponent: float, floor: int = 0, weight_N: Floats64 | None = None) -> Floats64:
    """Probability of each recording: its class's (n/N)^-exponent, times its weight, normalised.

    Parameters
    ----------
    primary_N : (N,) class of each recording.
    exponent : 0 draws all recordings equally, 1 all classes equally.
    floor : a class with fewer recordings is drawn as if each of them were there several times, up to so many in all.
    weight_N : (N,) factor of each recording; None: all alike.

    Returns
    -------
    (N,) float64, sums to 1.
    """
    copies_N = copies_of(primary_N, floor)
    share_K = np.bincount(primary_N, copies_N) / copies_N.sum()
    weights = copies_N * share_K[primary_N] ** -exponent * (1.0 if weight_N is None else weight_N)
    return np.asarray(weights / weights.sum())


def effective_counts(primary_N: Ints, probability_N: Floats64, clips: int, classes: int) -> Floats64:
    """Clips of each class that an epoch of `clips` draws is expected to hold: (K,)."""
    return np.asarray(clips * np.bincount(primary_N, weights=probability_N, minlength=classes), np.float64)


def drawn_by(cumulative_N: Floats64, seed: int, epoch: int, index_B: Ints, purpose: Purpose) -> Ints:
    """Numbers drawn by weights, given as their sums so far: (B,)."""
    position_B = uniform(seed, epoch, index_B, purpose)[:, 0] * cumulative_N[-1]
    found: Ints = np.searchsorted(cumulative_N, position_B, side="right")
    return np.minimum(found, len(cumulative_N) - 1)


@dataclass(frozen=True)
class Drawn:
    """The recordings of an epoch in order, and for each clip the span of the epoch that it is shuffled within."""

    recordings: Ints  # (clips,)
    begin: Ints  # (clips,)
    end: Ints  # (clips,)


class Sampler:
    """Draws the recordings of an epoch, and the partners that they are mixed with.

    Parameters
    ----------
    primary_N : (N,) class of each recording.
    part_N : (N,) part of the store that each lies in, for order `parts`.
    weight_N : (N,) factor of the probability of each; None: all alike.
    heard_WK : (W, K) what is heard in the windows of soundscapes that get their share; they are numbered from N on, and
        weighted by the rarest class heard, or as those in which nothing is.
    """

    def __init__(
        self,
        primary_N: Ints,
        part_N: Ints,
        params: SamplingParams,
        seed: int,
        weight_N: Floats64 | None = None,
        heard_WK: Bools | None = None,
    ) -> None:
        self._primary_N, self._part_N, self._params, self._seed = primary_N, part_N, params, seed
        self._copies_N = copies_of(primary_N, params.floor) * (1.0 if weight_N is None else weight_N)
        self._round = max(1, round(self._copies_N.sum()))
        self.clips = params.clips_per_epoch or self._round
        exponent = params.exponent if params.weighted else 0.0
        self.probability_N = recording_weights(primary_N, exponent, params.floor, weight_N)
        self._cumulative_N = np.cumsum(self.probability_N)
        self._windows_W = None
        if heard_WK is not None:
            rarest_W = np.where(heard_WK, heard_WK.sum(axis=0), len(heard_WK) + 1).argmin(axis=1)
            rarest_W[~heard_WK.any(axis=1)] = heard_WK.shape[1]
            self._windows_W = np.cumsum(recording_weights(rarest_W, exponent))

    def epoch(self, epoch: int) -> Drawn:
        """Draw an epoch."""
        every = np.arange(self.clips)
        drawn = self._weighted(epoch, every, Purpose.RECORDING) if self._params.weighted else self._each_once(epoch)
        if self._params.order == "full":
            return Drawn(drawn, np.zeros_like(drawn), np.full_like(drawn, len(drawn)))
        return self._by_part(epoch, drawn)

    def recordings(self, drawn: Drawn, index_B: Ints) -> Ints:
        """(B,) recordings of clips; clips beyond those that the epoch draws are of its first ones once more."""
        return drawn.recordings[index_B % self.clips]

    def examples(self, epoch: int, drawn: Drawn, index_B: Ints) -> Ints:
        """(B,) recordings of clips, or, for the share of soundscapes, windows."""
        recording_B = self.recordings(drawn, index_B)
        if self._windows_W is None:
            return recording_B
        window_B = drawn_by(self._windows_W, self._seed, epoch, index_B, Purpose.WHICH_WINDOW)
        share_B = uniform(self._seed, epoch, index_B, Purpose.WINDOW)[:, 0]
        return np.where(share_B < self._params.shares.of_soundscapes, len(self._primary_N) + window_B, recording_B)

    def partners(self, epoch: int, drawn: Drawn, index_B: Ints, purpose: Purpose = Purpose.PARTNER) -> Ints:
        """(B,) recordings to mix clips with: by weight, or, in order `parts`, out of the clip's own span."""
        if self._params.order == "full":
            return self._weighted(epoch, index_B, purpose)
        share = uniform(self._seed, epoch, index_B, purpose)[:, 0]
        begin, end = drawn.begin[index_B % self.clips], drawn.end[index_B % self.clips]
        return drawn.recordings[begin + np.floor(share * (end - begin)).astype(np.int64)]

    def _weighted(self, epoch: int, index_B: Ints, purpose: Purpose) -> Ints:
        return drawn_by(self._cumulative_N, self._seed, epoch, index_B, purpose)

    def _each_once(self, epoch: int) -> Ints:
        """Rounds, each a shuffle of all recordings: each once, more often below the floor, or as often as it weighs."""
        rounds, recordings = -(-self.clips // self._round), np.arange(len(self._primary_N))
        keys = uniform(self._seed, epoch, np.arange(rounds * self._round), Purpose.RECORDING)[:, 0]
        order: list[Ints] = []
        for number, keys_of_round in enumerate(keys.reshape(rounds, self._round)):
            draws = uniform(self._seed, epoch, number * self._round + recordings, Purpose.FLOOR, 2)
            order.append(self._deck(draws[:, 0], draws[0, 1])[np.argsort(keys_of_round)])
        return np.concatenate(order)[: self.clips]

    def _deck(self, key_N: Floats64, offset: float) -> Ints:
        """Each recording as often as is expected of it, `_round` in all; what is left of a whole number goes by chance.

        Source: systematic sampling, Madow 1949, of recordings in order of class and key.
        """
        order = np.lexsort((key_N, self._primary_N))
        reached_N = np.cumsum(self._copies_N[order])
        # rounded, so that a class that is to be there 20 times is not there 19 or 21 times for 20 = 19.9999999
        marks_N = np.floor(np.round(reached_N * (self._round / reached_N[-1]), 9) + offset).astype(np.int64)
        return np.sort(np.repeat(order, np.diff(marks_N, prepend=0)))

    def _by_part(self, epoch: int, drawn: Ints) -> Drawn:
        """Bring recordings of the same few parts together: groups of parts in any order, shuffled within each group."""
        parts = int(self._part_N.max()) + 1
        turn = np.argsort(np.argsort(uniform(self._seed, epoch, np.arange(parts), Purpose.PART)[:, 0]))
        group = turn[self._part_N[drawn]] // self._params.parts_at_once
        key = uniform(self._seed, epoch, np.arange(len(drawn)), Purpose.WITHIN_PARTS)[:, 0]
        order = np.lexsort((key, group))
        sizes = np.bincount(group)
        ends = np.cumsum(sizes)[group[order]]
        return Drawn(drawn[order], ends - sizes[group[order]], ends)


def clip_starts(frames_B: Ints, clip_frames: int, loop: bool, draw_B: Floats64) -> Ints:
    """First frames of clips in their recordings.

    A clip lies anywhere inside a long recording. A short recording lies anywhere inside its clip: the start is then
    negative (padding) or, when looped, any frame of the recording.

    Parameters
    ----------
    frames_B : (B,) lengths of the recordings.
    draw_B : (B,) uniform draws.

    Returns
    -------
    (B,) int64.
    """
    room_B = frames_B - clip_frames
    lowest_B = np.where(room_B >= 0, 0, 0 if loop else room_B)
    choices_B = np.where(room_B >= 0, room_B + 1, frames_B if loop else 1 - room_B)
    return lowest_B + np.floor(draw_B * choices_B).astype(np.int64)


def shortened(first_B: Ints, frames_B: Ints, most_B: Ints, draw_B: Floats64) -> tuple[Ints, Ints]:
    """First frame and number of frames of spans of which `most_B` frames at most are used, anywhere in them."""
    used_B = np.minimum(frames_B, most_B)
    return first_B + np.floor(draw_B * (frames_B - used_B + 1)).astype(np.int64), used_B


def clip_positions(start_B: Ints, frames_B: Ints, clip_frames: int, loop: bool, first_B: Ints | None = None) -> Ints:
    """Frame of the recording at each frame of a clip: (B, T); -1 where there is none (padding).

    Parameters
    ----------
    start_B, frames_B : (B,) where clips begin in the used parts of their recordings, and how long these are.
    first_B : (B,) where the used parts begin in the recordings; at 0 if left out.
    """
    position_BT = start_B[:, None] + np.arange(clip_frames)
    first_B1 = 0 if first_B is None else first_B[:, None]
    if loop:
        return position_BT % frames_B[:, None] + first_B1
    inside_BT = (position_BT >= 0) & (position_BT < frames_B[:, None])
    return np.where(inside_BT, position_BT + first_B1, -1)


def covering_starts(frames: int, clip_frames: int) -> Ints:
    """Starts of clips that together cover a recording: one after another, the last one flush with the end."""
    if frames <= clip_frames:
        return np.zeros(1, np.int64)
    starts = np.arange(0, frames - clip_frames, clip_frames)
    return np.append(starts, frames - clip_frames).astype(np.int64)


@dataclass(frozen=True)
class PseudoClips:
    """Pseudo-labelled clips: places in the store of soundscapes, labels, and how a training draws and mixes them."""

    row: Ints  # (N,) in the store
    frames: Ints  # (N,) of their soundscapes
    start: Ints  # (N,) first frame of each
    scores: Floats32  # (N, K) their targets
    confidence: Floats64  # (N,) how often each is drawn, relative to the others
    probability: float  # share of the training clips that one is mixed into
    share: float  # of the training clip in the mixture, in power
    alpha: float = 0.0  # share of what follows in the labels of recordings
    softened: Floats32 | None = None  # (rows of recordings, K) what their teacher says of them; NaN if nothing

    def soften_(self, row_B: Ints, targets_BK: Floats32, weights_BK: Floats32) -> None:
        """Mix the targets of clips of recordings with what the teacher says; what is left out of the loss stays so."""
        if self.softened is not None:
            taught_BK = self.softened[np.minimum(row_B, len(self.softened) - 1)]
            is_known = (row_B < len(self.softened))[:, None] & (weights_BK > 0) & ~np.isnan(taught_BK)
            np.copyto(targets_BK, self.alpha * taught_BK + (1 - self.alpha) * targets_BK, where=is_known)

    def offset(self, rows: int) -> PseudoClips:
        """The same clips where the rows of their store come after so many rows of another one."""
        return replace(self, row=self.row + rows)

    def drawn(self, seed: int, epoch: int, index_P: Ints) -> Ints:
        """Numbers of the clips that come to training clips number `index_P` of an epoch, drawn by confidence: (P,)."""
        return drawn_by(self._cumulative, seed, epoch, index_P, Purpose.STUDENT_CLIP)

    @cached_property
    def _cumulative(self) -> Floats64:
        return np.cumsum(self.confidence)
