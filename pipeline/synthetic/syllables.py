"""Notes, the syllables of which songs are made, and their sound.

S sample, N note. Frequencies in Hz, waveforms at SAMPLE_RATE_HZ.
"""

from __future__ import annotations

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
class Note:
    """One syllable: a tone that follows a contour, with partials and an envelope."""

    start_s: float
    duration_s: float
    contour_hz: tuple[float, ...]  # of the fundamental, at evenly spaced moments
    level_db: float = 0.0
    partials: Partials = WHISTLE  # (ratio to the fundamental, level in dB)
    attack_s: float = 0.012
    release_s: float = 0.02
    decay_s: float = math.inf  # after the attack, as of a struck bell
    vibrato_hz: float = 0.0
    vibrato_octaves: float = 0.0
    flutter_hz: float = 0.0  # of the amplitude: buzzes and churrs
    flutter_depth: float = 0.0
    breath: float = 0.0  # share of the tone that becomes noise ...
    breath_hz: float = 400.0  # ... of about this width around every partial

    @property
    def end_s(self) -> float:
        """When the note has ended."""
        return self.start_s + self.duration_s


@dataclass(frozen=True)
class Song:
    """Notes that belong together; the first starts at `start_s` of the recording."""

    start_s: float
    notes: tuple[Note, ...]

    @property
    def end_s(self) -> float:
        """When the last note has ended."""
        return self.start_s + max(note.end_s for note in self.notes)


def at(note: Note, start_s: float, level_db: float = 0.0) -> Note:
    """The same note at another moment, changed in level by `level_db`."""
    return replace(note, start_s=start_s, level_db=note.level_db + level_db)


def render_songs(songs: Sequence[Song], samples: int, rng: np.random.Generator) -> Waveform:
    """The sound of one bird, dry and close by.

    Returns
    -------
    (S,) float32 of length `samples`; what sings on after it is cut off.
    """
    waveform = np.zeros(samples, np.float32)
    for song in songs:
        for note in song.notes:
            start = round((song.start_s + note.start_s) * SAMPLE_RATE_HZ)
            sound = render_syllable(note, rng)[: max(samples - start, 0)]
            waveform[start : start + len(sound)] += sound
    return waveform


def render_syllable(note: Note, rng: np.random.Generator) -> Waveform:
    """The sound of a note: (S,) float32, about 1 at its loudest when level_db is 0."""
    time_s = np.arange(max(round(note.duration_s * SAMPLE_RATE_HZ), 2)) / SAMPLE_RATE_HZ
    tone = _tone(note, _pitch_hz(note, time_s))
    if note.breath:
        knots = rng.standard_normal(int(note.duration_s * note.breath_hz) + 3)
        noise = np.interp(time_s * note.breath_hz, np.arange(len(knots)), knots)
        tone *= (1 - note.breath) + note.breath * noise
    tone *= _envelope(note, time_s)
    return tone.astype(np.float32)


def _pitch_hz(note: Note, time_s: NDArray[np.float64]) -> NDArray[np.float64]:
    if len(note.contour_hz) == 1:
        octaves = np.full(len(time_s), math.log2(note.contour_hz[0]))
    else:
        moments = np.linspace(0, note.duration_s, len(note.contour_hz))
        octaves = PchipInterpolator(moments, np.log2(note.contour_hz))(time_s)
    if note.vibrato_octaves:
        octaves = octaves + note.vibrato_octaves * np.sin(2 * np.pi * note.vibrato_hz * time_s)
    pitch_hz: NDArray[np.float64] = np.exp2(octaves)
    return pitch_hz


def _tone(note: Note, pitch_hz: NDArray[np.float64]) -> NDArray[np.float64]:
    phase = np.cumsum(pitch_hz) * (2 * np.pi / SAMPLE_RATE_HZ)
    lowest_hz = pitch_hz.min()
    tone = np.zeros(len(phase))
    for ratio, level_db in note.partials:
        if ratio * lowest_hz < HIGHEST_HZ:
            audible = np.clip((HIGHEST_HZ - ratio * pitch_hz) / FADE_HZ, 0, 1)
            tone += 10 ** (level_db / 20) * audible * np.sin(ratio * phase)
    return tone


def _envelope(note: Note, time_s: NDArray[np.float64]) -> NDArray[np.float64]:
    left_s = note.duration_s - time_s
    ramp = np.minimum(np.minimum(time_s / note.attack_s, left_s / note.release_s), 1)
    envelope: NDArray[np.float64] = 10 ** (note.level_db / 20) * np.sin(np.pi / 2 * ramp) ** 2
    if math.isfinite(note.decay_s):
        envelope *= np.exp(-time_s / note.decay_s)
    if note.flutter_depth:
        envelope *= 1 - note.flutter_depth * (0.5 + 0.5 * np.cos(2 * np.pi * note.flutter_hz * time_s))
    return envelope
