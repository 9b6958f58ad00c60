"""A scene: birds that sing at a place while a recorder runs; and its sound.

S sample, F bin of a real Fourier transform. `Singer.snr_db` compares the song, while it sounds, with the background
in the octave around its pitch.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.fft import next_fast_len, rfft
from scipy.signal import oaconvolve

from pipeline.synthetic.ogg import ogg_vorbis
from pipeline.synthetic.soundfield import Ambience, Recordist, impulse_response, record, render_ambience
from pipeline.synthetic.species import Species, Voice
from pipeline.synthetic.syllables import SAMPLE_RATE_HZ, Song, Waveform, render_songs

WINDOW_S = 5.0  # of the truth table
HEARD_S = 0.2  # a bird counts in a window from this much of a song on
SHORTEST_START_S = 0.5  # a song that the recording's end cuts off has at least this much of it
BLOCK_S = 0.02


@dataclass(frozen=True)
class Singer:
    """One bird, and all that it sings in a scene."""

    species: Species
    songs: tuple[Song, ...]
    snr_db: float
    distance_m: float


@dataclass(frozen=True)
class Scene:
    """All that a recording's sound depends on."""

    key: tuple[int, ...]  # of the generator that renders it
    duration_s: float
    recordist: Recordist
    ambience: Ambience
    singers: tuple[Singer, ...]


def sing(species: Species, voice: Voice, start_s: float, end_s: float, rng: np.random.Generator) -> tuple[Song, ...]:
    """Songs of one bird between two moments, with pauses; the last one may run on past `end_s`."""
    songs, now_s = [], start_s
    while now_s < end_s - SHORTEST_START_S:
        song = Song(now_s, species.grammar(voice, rng))
        songs.append(song)
        now_s = song.end_s + species.pause_s * rng.lognormal(-0.1, 0.45)
    return tuple(songs)


def heard_labels(scene: Scene, start_s: float) -> list[str]:
    """Sorted labels of the species that sing in the window that begins at `start_s`."""
    songs = [(singer.species.label, song) for singer in scene.singers for song in singer.songs]
    end_s = start_s + WINDOW_S
    return sorted({label for label, song in songs if min(song.end_s, end_s) - max(song.start_s, start_s) >= HEARD_S})


def write_scene(path: Path, scene: Scene) -> None:
    """Render a scene into an Ogg Vorbis file (here, and not in the stage, so that workers start without pandas)."""
    path.write_bytes(ogg_vorbis(render_scene(scene), SAMPLE_RATE_HZ))


def render_scene(scene: Scene) -> Waveform:
    """The sound of a scene as recorded: (S,) float32 within +-1."""
    rng = np.random.default_rng(scene.key)
    samples = round(scene.duration_s * SAMPLE_RATE_HZ)
    sound = render_ambience(scene.ambience, samples, rng)
    power = np.abs(rfft(sound, next_fast_len(samples, real=True))) ** 2  # of the background
    for singer in scene.singers:
        song = render_songs(singer.songs, samples, rng)
        response = impulse_response(scene.recordist.soundfield, singer.distance_m, rng)
        song = oaconvolve(song, response)[:samples]
        wanted = _octave_rms(power, samples, _pitch_hz(singer)) * 10 ** (singer.snr_db / 20)
        sound = sound + np.float32(wanted / _rms_while_singing(song)) * song
    return record(sound, scene.recordist)


def _pitch_hz(singer: Singer) -> float:
    return float(np.median([hz for song in singer.songs for syllable in song.syllables for hz in syllable.contour_hz]))


def _octave_rms(power: NDArray[np.float32], samples: int, hz: float) -> float:
    """Effective value in the octave around `hz` of a sound of which the squared spectrum, (F,), is known."""
    size = 2 * (len(power) - 1)
    low, high = (round(hz * factor * size / SAMPLE_RATE_HZ) for factor in (0.5**0.5, 2**0.5))
    return float(np.sqrt(2 * power[low:high].sum() / (size * samples)))


def _rms_while_singing(song: Waveform) -> float:
    """Effective value over the blocks that are within 20 dB of the loudest."""
    block = round(BLOCK_S * SAMPLE_RATE_HZ)
    power = (song[: len(song) // block * block].reshape(-1, block) ** 2).mean(axis=1)
    return float(np.sqrt(power[power >= power.max() / 100].mean()))
