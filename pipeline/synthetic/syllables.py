"""Syllables, of which songs are made, and their sound.

S sample, N note. Frequencies in Hz, waveforms at SAMPLE_RATE_HZ.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

SAMPLE_RATE_HZ = 32_000
HIGHEST_HZ = 15_500.0  # partials fade out below it, so that nothing folds back at Nyquist
FADE_HZ = 1_000.0

Waveform: TypeAlias = NDArray[np.float32]
Partials: TypeAlias = tuple[tuple[float, float], ...]

WHISTLE: Partials = ((1, 0), (2, -30), (3, -42))
FLUTE: Partials = ((1, 0), (2, -18), (3, -26), (4, -38))
BELL: Partials = ((1, 0), (2.76, -9), (5.4, -20))


@dataclass(frozen=True)
class Syllable:
    """One syllable: a tone that follows a contour, with partials and an envelope."""

    start_s: float
    duration_s: float
    contour_hz: tuple[float, ...]  # of the fundamental, at evenly spaced moments
    level_db: float = 0.0
    partials: Partials = WHISTLE  # (ratio to the fundamental, level in dB)
    attack_s: float = 0.012
    release_s: float = 0.02
    decay_s: float = math.inf  # after the attack, as of a struck bell
    flutter_hz: float = 0.0  # of the amplitude: buzzes and churrs
    flutter_depth: float = 0.0
    breath: float = 0.0  # share of the tone that becomes noise ...
    breath_hz: float = 400.0  # ... of about this width around every partial

    @property
    def end_s(self) -> float:
        """End of the syllable."""
        return self.start_s + self.duration_s


@dataclass(frozen=True)
class Song:
    """Notes that belong together; the first starts at `start_s` of the recording."""

    start_s: float
    syllables: tuple[Syllable, ...]

    @property
    def end_s(self) -> float:
        """End of the last syllable."""
        return self.start_s + max(syllable.end_s for syllable in self.syllables)


def at(syllable: Syllable, start_s: float, level_db: float = 0.0) -> Syllable:
    """The same note at another moment, changed in level by `level_db`."""
    return replace(syllable, start_s=start_s, level_db=syllable.level_db + level_db)


def render_songs(songs: Sequence[Song], samples: int, rng: np.random.Generator) -> Waveform:
    """The sound of one bird, dry and close by: (S,) float32 of length `samples`; what sings on after it is cut off."""
    waveform = np.zeros(samples, np.float32)
    for song in songs:
        for syllable in song.syllables:
            start = round((song.start_s + syllable.start_s) * SAMPLE_RATE_HZ)
            sound = render_syllable(syllable, rng)[: max(samples - start, 0)]
            waveform[start : start + len(sound)] += sound
    return waveform


def render_syllable(syllable: Syllable, rng: np.random.Generator) -> Waveform:
    """The sound of a note: (S,) float32, about 1 at its loudest when level_db is 0."""
    time_s = np.arange(max(round(syllable.duration_s * SAMPLE_RATE_HZ), 2)) / SAMPLE_RATE_HZ
    tone = _tone(syllable, _pitch_hz(syllable, time_s))
    if syllable.breath:
        knots = rng.standard_normal(int(syllable.duration_s * syllable.breath_hz) + 3)
        noise = np.interp(time_s * syllable.breath_hz, np.arange(len(knots)), knots)
        tone *= (1 - syllable.breath) + syllable.breath * noise
    tone *= _envelope(syllable, time_s)
    return tone.astype(np.float32)


def _pitch_hz(syllable: Syllable, time_s: NDArray[np.float64]) -> NDArray[np.float64]:
    if len(syllable.contour_hz) == 1:
        octaves = np.full(len(time_s), math.log2(syllable.contour_hz[0]))
    else:
        moments = np.linspace(0, syllable.duration_s, len(syllable.contour_hz))
        octaves = PchipInterpolator(moments, np.log2(syllable.contour_hz))(time_s)
    pitch_hz: NDArray[np.float64] = np.exp2(octaves)
    return pitch_hz


def _tone(syllable: Syllable, pitch_hz: NDArray[np.float64]) -> NDArray[np.float64]:
    phase = np.cumsum(pitch_hz) * (2 * np.pi / SAMPLE_RATE_HZ)
    lowest_hz = pitch_hz.min()
    tone = np.zeros(len(phase))
    for ratio, level_db in syllable.partials:
        if ratio * lowest_hz < HIGHEST_HZ:
            audible = np.clip((HIGHEST_HZ - ratio * pitch_hz) / FADE_HZ, 0, 1)
            tone += 10 ** (level_db / 20) * audible * np.sin(ratio * phase)
    return tone


def _envelope(syllable: Syllable, time_s: NDArray[np.float64]) -> NDArray[np.float64]:
    left_s = syllable.duration_s - time_s
    ramp = np.minimum(np.minimum(time_s / syllable.attack_s, left_s / syllable.release_s), 1)
    envelope: NDArray[np.float64] = 10 ** (syllable.level_db / 20) * np.sin(np.pi / 2 * ramp) ** 2
    if math.isfinite(syllable.decay_s):
        envelope *= np.exp(-time_s / syllable.decay_s)
    if syllable.flutter_depth:
        envelope *= 1 - syllable.flutter_depth * (0.5 + 0.5 * np.cos(2 * np.pi * syllable.flutter_hz * time_s))
    return envelope
