"""The sound field of recordings: background, distance, reverberation, and the recordists' equipment.

S sample, F bin of a real Fourier transform. Levels in dB are relative to each other: a recording is scaled at its end.
Everything is drawn first (Ambience, Recordist), then rendered, so that a plan exists without any sound.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq
from scipy.signal import oaconvolve

from pipeline.synthetic.syllables import SAMPLE_RATE_HZ, Waveform

CLICK_SAMPLE = 128  # of an impulse response: 4 ms
ECHO_DETOUR_M = 150.0
Spectrum = NDArray[np.float32]
SILENT_DB = -80.0
GUSTS = ((0.25, 0.6), (0.9, 0.5), (5.0, 0.3))  # of the wind: rate in Hz, strength relative to Ambience.gustiness


@dataclass(frozen=True)
class Soundfield:
    """A kind of place: what is heard there besides birds, and how it echoes."""

    name: str
    latitude: float
    longitude: float
    wind_db: float
    leaves_db: float
    stream_db: float
    traffic_db: float
    insects: float  # probability
    rain: float  # probability
    reverb_s: float  # until the echo has fallen by 60 dB
    echo: float  # strength of the echo against the direct sound, at 20 m


HABITATS = (
    Soundfield("forest", 47.91, 8.21, -14, -8, -22, -34, 0.10, 0.14, 0.9, 0.55),
    Soundfield("meadow", 47.64, 8.74, -4, -18, -50, -24, 0.60, 0.06, 0.2, 0.08),
    Soundfield("reedbed", 47.68, 9.12, -6, -4, -34, -28, 0.30, 0.10, 0.25, 0.12),
    Soundfield("hillside", 47.45, 8.05, -2, -16, -9, -40, 0.25, 0.10, 1.3, 0.35),
    Soundfield("village", 47.55, 8.45, -12, -16, -50, -5, 0.15, 0.08, 0.5, 0.40),
)


@dataclass(frozen=True)
class Recordist:
    """Somebody who records birds: where, how near, and with what."""

    name: str
    soundfield: Soundfield
    latitude: float
    longitude: float
    activity: float  # relative number of recordings
    distance_m: float  # usual distance to the bird
    low_cut_hz: float
    high_cut_hz: float
    hiss_db: float  # the recorder's own noise
    peak_db: float  # full scale is 0


@dataclass(frozen=True)
class Ambience:
    """The background of one recording."""

    steady_db: dict[str, float]  # level of each layer of LAYERS that does not change with time
    gusty_db: dict[str, float]  # and of each that swells and falls with the wind
    gustiness: float
    insect_hz: float | None
    insect_pulse_hz: float
    insect_chirp_hz: float  # 0: pulses without a pause
    insect_db: float
    drops_a_second: float


def _low_pass(hz: Spectrum, cut_hz: float, slope: float) -> Spectrum:
    return np.float32(1) / (1 + (hz / np.float32(cut_hz)) ** np.float32(slope))


LAYERS: dict[str, Callable[[Spectrum], Spectrum]] = {
    "hiss": np.ones_like,
    "wind": lambda hz: _low_pass(hz, 90, 1.9),
    "leaves": lambda hz: (1 - _low_pass(hz, 1_400, 2.5)) * _low_pass(hz, 4_500, 1.6),
    "stream": lambda hz: (1 - _low_pass(hz, 350, 3)) * _low_pass(hz, 1_800, 1.5),
    "traffic": lambda hz: _low_pass(hz, 260, 2.4),
    "rain": lambda hz: _low_pass(hz, 12_000, 3) * (1 - _low_pass(hz, 900, 3)) * _low_pass(hz, 5_000, 0.8),
}


def draw_ambience(who: Recordist, rng: np.random.Generator) -> Ambience:
    """The weather and the insects of one recording at the recordist's place."""
    place = who.soundfield
    weather_db = rng.normal(0, 4)
    rains = rng.random() < place.rain
    steady_db = {
        "hiss": who.hiss_db,
        "stream": place.stream_db + rng.normal(0, 3),
        "traffic": place.traffic_db + rng.normal(0, 3),
        "rain": rng.uniform(-22, -10) if rains else SILENT_DB,
    }
    insect_hz = rng.choice((3_900.0, 4_700.0, 5_600.0, 7_400.0)) * rng.normal(1, 0.04)
    return Ambience(
        steady_db=steady_db,
        gusty_db={"wind": place.wind_db + weather_db, "leaves": place.leaves_db - 6 + weather_db},
        gustiness=rng.uniform(0.2, 0.8),
        insect_hz=float(insect_hz) if rng.random() < place.insects else None,
        insect_pulse_hz=rng.uniform(24, 55),
        insect_chirp_hz=float(rng.choice((0.0, 1.2, 2.1))),
        insect_db=rng.uniform(-30, -18),
        drops_a_second=rng.uniform(10, 45) if rains else 0.0,
    )


def render_ambience(ambience: Ambience, samples: int, rng: np.random.Generator) -> Waveform:
    """The background's sound: (S,) float32."""
    sound = coloured_noise(ambience.steady_db, samples, rng)
    gusts = coloured_noise(ambience.gusty_db, samples, rng)
    for rate_hz, share in GUSTS:
        gusts *= _swelling(share * ambience.gustiness, rate_hz, samples, rng)
    sound += gusts
    if ambience.insect_hz is not None:
        sound += _insects(ambience, ambience.insect_hz, samples, rng)
    if ambience.drops_a_second:
        sound += _drops(ambience.drops_a_second, samples, rng)
    return sound


def coloured_noise(levels_db: dict[str, float], samples: int, rng: np.random.Generator) -> Waveform:
    """Gaussian noise, (S,) float32: the sum of layers, each with the effective value that its level says."""
    size = next_fast_len(samples, real=True)
    hz = rfftfreq(size, 1 / SAMPLE_RATE_HZ).astype(np.float32)
    power = np.zeros_like(hz)
    for name, level_db in levels_db.items():
        shape = LAYERS[name](hz) ** 2
        power += 10 ** (level_db / 10) * shape / shape.mean()
    bins = rng.standard_normal((2, len(hz)), np.float32)
    bins *= np.sqrt(power * size / 2)
    noise: Waveform = irfft(bins[0] + 1j * bins[1], size)[:samples]
    return noise


def _swelling(strength: float, rate_hz: float, samples: int, rng: np.random.Generator) -> Waveform:
    """A slow random gain, (S,): exp(strength * noise), a new value `rate_hz` times a second."""
    knots = np.exp(strength * rng.standard_normal(int(samples * rate_hz / SAMPLE_RATE_HZ) + 3))
    gain: Waveform = np.interp(np.arange(samples) * (rate_hz / SAMPLE_RATE_HZ), np.arange(len(knots)), knots)
    return gain.astype(np.float32)


def _insects(ambience: Ambience, insect_hz: float, samples: int, rng: np.random.Generator) -> Waveform:
    """Crickets: a pure tone in pulses, these in chirps or without a pause."""
    time_s = np.arange(samples, dtype=np.float32) / SAMPLE_RATE_HZ
    turns = np.float32(2 * np.pi)
    pulses = np.clip(np.sin(turns * np.float32(ambience.insect_pulse_hz) * time_s), 0, 1)
    if ambience.insect_chirp_hz:
        pulses *= np.sin(turns * np.float32(ambience.insect_chirp_hz) * time_s) > 0.3
    # In float64, or the phase of a high tone becomes noise within seconds.
    carrier = np.sin(2 * np.pi * insect_hz / SAMPLE_RATE_HZ * np.arange(samples)).astype(np.float32)
    pulses *= np.float32(10 ** (ambience.insect_db / 20)) * _swelling(0.2, 0.5, samples, rng)
    pulses *= carrier
    return pulses


def _drops(drops_a_second: float, samples: int, rng: np.random.Generator) -> Waveform:
    """Rain drops on leaves: short wide-band clicks of very different strength at random moments."""
    count = int(rng.poisson(drops_a_second * samples / SAMPLE_RATE_HZ))
    strikes = np.zeros(samples, np.float32)
    strikes[rng.integers(0, samples, count)] = rng.lognormal(-2.6, 0.8, count)
    length = int(0.012 * SAMPLE_RATE_HZ)
    click = rng.standard_normal(length, np.float32) * np.exp(-np.arange(length, dtype=np.float32) / 60)
    drops: Waveform = oaconvolve(strikes, click)[:samples]
    return drops


def air_gain(hz: Spectrum, distance_m: float) -> Spectrum:
    """Share that air and leaves let through at each frequency, (F,): about 1 dB per 100 m at 1 kHz and 16 dB at 8 kHz.

    Source: twice the absorption of ISO 9613-1 at 20 degrees C and 70 % humidity, fitted by a power of frequency.
    """
    loss_db = distance_m / 100 * (hz / 1_000) ** np.float32(1.32)
    return np.exp2(loss_db * np.float32(-np.log2(10) / 20))


def impulse_response(place: Soundfield, distance_m: float, rng: np.random.Generator) -> Waveform:
    """Impulse response of the place over `distance_m`: the click, then a fading echo that has lost its highs."""
    samples = next_fast_len(int(place.reverb_s * SAMPLE_RATE_HZ), real=True)
    time_s = np.arange(samples, dtype=np.float32) / SAMPLE_RATE_HZ
    echo = rng.standard_normal(samples, np.float32) * np.exp(-6.9 / place.reverb_s * time_s)
    echo[: int(rng.uniform(0.008, 0.016) * SAMPLE_RATE_HZ)] = 0
    echo *= place.echo * np.sqrt(distance_m / 20) / np.linalg.norm(echo)
    # The gains have zero phase and spread a click to both sides: not at 0, where it would come round to the end.
    click = np.zeros(samples, np.float32)
    click[CLICK_SAMPLE] = 1
    hz = rfftfreq(samples, 1 / SAMPLE_RATE_HZ).astype(np.float32)
    bins = (rfft(click) + rfft(echo) * air_gain(hz, ECHO_DETOUR_M)) * air_gain(hz, distance_m)
    response: Waveform = irfft(bins, samples)
    return response


def record(sound: Waveform, who: Recordist) -> Waveform:
    """A sound, (S,), as the recordist's equipment records it: its band, and its level at the loudest sample."""
    size = next_fast_len(len(sound), real=True)
    hz = rfftfreq(size, 1 / SAMPLE_RATE_HZ).astype(np.float32)
    bins = rfft(sound, size)
    bins *= (1 - _low_pass(hz, who.low_cut_hz, 4)) * _low_pass(hz, who.high_cut_hz, 24)
    filtered: Waveform = irfft(bins, size)[: len(sound)]
    filtered *= np.float32(10 ** (who.peak_db / 20) / np.abs(filtered).max())
    return filtered
