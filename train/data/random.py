"""Random numbers by counter: each is a function of (seed, epoch, example, purpose) and of nothing else.

So an epoch is the same whatever the batch size, the placement of the data, or where a run was resumed.
"""

from enum import IntEnum
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import scipy.special

from birdcache.arrays import Floats64, Ints

_Words = npt.NDArray[np.uint64]


class Purpose(IntEnum):
    """The purpose of a draw; a new one never disturbs the others."""

    RECORDING = 0
    START = 1
    GAIN = 2
    SHIFT = 3
    MIX = 4
    LAMBDA = 5
    PARTNER = 6
    PARTNER_START = 7
    PARTNER_GAIN = 8
    MEL_MASK = 9
    TIME_MASK = 10
    STATISTICS = 11
    FLOOR = 12
    PART = 13
    WITHIN_PARTS = 14
    BACKGROUND = 15
    BACKGROUND_START = 16
    SPAN = 17
    EQ = 18
    PARTNER_EQ = 19
    BACKGROUND_SNR = 20
    NOISE = 21
    NOISE_START = 22
    STUDENT = 23
    STUDENT_CLIP = 24
    WINDOW = 25
    WHICH_WINDOW = 26
    PLAIN = 27
    STYLE = 28
    REVERSE = 29
    LOWPASS = 30
    PARTNER_LOWPASS = 31
    DISTANCE = 32
    PARTNER_DISTANCE = 33
    TEMPO = 34
    THIRD = 35
    THIRD_CLIP = 36
    THIRD_START = 37
    SHORTER = 38


def uniform(seed: int, epoch: int, example_B: Ints, purpose: Purpose, count: int = 1) -> Floats64:
    """Independent uniform draws in [0, 1).

    Parameters
    ----------
    example_B : (B,) numbers of the examples within the epoch.
    count : draws for each example.

    Returns
    -------
    (B, count) float64.

    Source: the finaliser of SplitMix64 (Steele, Lea & Flood 2014), chained over the counters.
    """
    per_example_B = _mixed(_stream(seed, epoch, purpose) + np.asarray(example_B).astype(np.uint64))
    words = _mixed(per_example_B[:, None] + _numbers(count))
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


@lru_cache(maxsize=256)
def _stream(seed: int, epoch: int, purpose: Purpose) -> _Words:
    return _mixed(_mixed(np.array([seed], np.uint64)) ^ np.uint64((epoch << 8) + purpose))


@lru_cache(maxsize=64)
def _numbers(count: int) -> _Words:
    return _mixed(np.arange(1, count + 1, dtype=np.uint64))


def beta(alpha: float, uniform_draw: Floats64) -> Floats64:
    """Turn uniform draws into draws from Beta(alpha, alpha), by its inverse distribution function."""
    return np.asarray(scipy.special.betaincinv(alpha, alpha, uniform_draw))


def _mixed(word: _Words) -> _Words:
    word = word + np.uint64(0x9E3779B97F4A7C15)  # arrays wrap around without a warning
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))
