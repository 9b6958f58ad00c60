"""Which clips an epoch draws: recordings by class weight or each once, and where in a recording a clip begins."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from params import SamplingParams
from train.draws import Floats, Ints, Purpose, uniform


def recording_weights(primary_N: Ints, exponent: float) -> Floats:
    """Probability of each recording: its class's (n/N)^-exponent, normalised.

    Parameters
    ----------
    primary_N : (N,) class of each recording.
    exponent : 0 draws recordings as they come, 1 draws all classes alike.

    Returns
    -------
    (N,) float64, sums to 1.
    """
    counts = np.bincount(primary_N)
    weights = (counts[primary_N] / len(primary_N)) ** -exponent
    return np.asarray(weights / weights.sum())


def effective_counts(primary_N: Ints, probability_N: Floats, clips: int, classes: int) -> Floats:
    """Clips of each class that an epoch of `clips` draws is expected to hold: (K,)."""
    return np.asarray(clips * np.bincount(primary_N, weights=probability_N, minlength=classes), np.float64)


class Sampler:
    """Draws the recordings of an epoch."""

    def __init__(self, primary_N: Ints, params: SamplingParams, seed: int) -> None:
        self._seed, self._weighted = seed, params.weighted
        self._count = len(primary_N)
        self.clips = params.clips_per_epoch or self._count
        self.probability_N = recording_weights(primary_N, params.exponent if params.weighted else 0.0)
        self._cumulative_N = np.cumsum(self.probability_N)

    def recordings(self, epoch: int) -> Ints:
        """(clips,) numbers of the recordings that the epoch draws, in order."""
        if self._weighted:
            return self.draw(epoch, np.arange(self.clips), Purpose.RECORDING)
        rounds = -(-self.clips // self._count)
        every = np.arange(rounds * self._count)
        keys = uniform(self._seed, epoch, every, Purpose.RECORDING)[:, 0].reshape(rounds, self._count)
        order: Ints = np.argsort(keys, axis=1).reshape(-1)
        return order[: self.clips]

    def draw(self, epoch: int, example_B: Ints, purpose: Purpose) -> Ints:
        """(B,) recordings drawn with replacement, by weight."""
        position = uniform(self._seed, epoch, example_B, purpose)[:, 0] * self._cumulative_N[-1]
        found: Ints = np.searchsorted(self._cumulative_N, position, side="right")
        return np.minimum(found, self._count - 1)


def clip_starts(frames_B: Ints, clip_frames: int, loop: bool, draw_B: Floats) -> Ints:
    """Where clips begin in their recordings.

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


def clip_positions(start_B: Ints, frames_B: Ints, clip_frames: int, loop: bool) -> npt.NDArray[np.int64]:
    """Frame of the recording at each frame of a clip: (B, T); -1 where there is none (padding)."""
    position_BT = start_B[:, None] + np.arange(clip_frames)
    if loop:
        return position_BT % frames_B[:, None]
    inside_BT = (position_BT >= 0) & (position_BT < frames_B[:, None])
    return np.where(inside_BT, position_BT, -1)


def covering_starts(frames: int, clip_frames: int) -> Ints:
    """Starts of clips that together cover a recording: one after another, the last one flush with the end."""
    if frames <= clip_frames:
        return np.zeros(1, np.int64)
    starts = np.arange(0, frames - clip_frames, clip_frames)
    return np.append(starts, frames - clip_frames).astype(np.int64)
