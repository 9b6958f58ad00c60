"""The front end against librosa, and against what must hold for any spectrogram. T frame, M mel bin, S sample."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import librosa
import numpy as np
import numpy.typing as npt
import pytest
import scipy.signal

from benchmarks.whole import spectrogram, with_room
from birdcache.arrays import Floats32
from birdcache.params import load as params
from birdcache.params.views import MelView, PcenParams, PcenView
from cache.mel import mel_filters
from pipeline.builder import frontend
from pipeline.builder.frontend import (
    BLOCK_FRAMES,
    GRAIN_FRAMES,
    power_to_db,
    spectrogram_blocks,
    value_range,
)
from tests.fixtures.frontend import mel_power, pcen
from tests.fixtures.tiny import ROOT

SCALES = pytest.mark.parametrize("mel_scale", ["slaney", "htk"])
LARGE = {"sample_rate_hz": 32000, "n_fft": 2048, "hop": 512, "n_mels": 128, "fmin_hz": 20.0, "fmax_hz": 16000.0}
FINE = LARGE | {"n_fft": 4096, "hop": 1252, "n_mels": 224}
SMALL = LARGE | {"sample_rate_hz": 16000, "n_fft": 512, "hop": 256, "n_mels": 32, "fmax_hz": 8000.0}
GEOMETRIES = pytest.mark.parametrize("geometry", [LARGE, FINE, SMALL], ids=["2048/512/128", "4096/1252/224", "small"])
STORED = {"dtype": "float16", "compression": "none"}
DEFAULTS = {"gain": 0.98, "bias": 2.0, "power": 0.5, "time_constant_s": 0.4, "eps": 1e-6}


def make_view(geometry: dict[str, Any] = SMALL, mel_scale: str = "slaney") -> MelView:
    return MelView.model_validate(
        {"kind": "mel", "mel_scale": mel_scale, "dtype": "float16", "compression": "none"} | geometry
    )


def make_pcen(geometry: dict[str, Any] = SMALL, **changes: float) -> PcenView:
    plain = {
        "kind": "pcen",
        "mel_scale": "slaney",
        "dtype": "float16",
        "compression": "none",
        "pcen": DEFAULTS | changes,
    }
    return PcenView.model_validate(plain | geometry)


def noise(samples: int, level: float = 0.1, seed: int = 1) -> Floats32:
    return np.random.default_rng(seed).normal(0, level, samples).astype(np.float32)


def tone(hz: float, samples: int, rate_hz: int, shape: Any = np.sin) -> Floats32:
    return np.asarray(shape(2 * np.pi * hz * np.arange(samples) / rate_hz), np.float32)


def librosa_mel(waveform_S: npt.NDArray[Any], view: MelView | PcenView) -> npt.NDArray[np.float64]:
    """(T, M) mel power in float64."""
    power_MT = librosa.feature.melspectrogram(
        y=waveform_S.astype(np.float64),
        sr=view.sample_rate_hz,
        n_fft=view.n_fft,
        hop_length=view.hop,
        n_mels=view.n_mels,
        fmin=view.fmin_hz,
        fmax=view.fmax_hz,
        htk=view.mel_scale == "htk",
        center=True,
        pad_mode="constant",
        power=2.0,
    )
    return np.asarray(power_MT.T, np.float64)


def librosa_pcen(mel_TM: npt.NDArray[np.float64], view: PcenView) -> npt.NDArray[np.float64]:
    """(T, M) PCEN in float64."""
    pcen_MT = librosa.pcen(
        mel_TM.T * 2.0**62,
        sr=view.sample_rate_hz,
        hop_length=view.hop,
        gain=view.pcen.gain,
        bias=view.pcen.bias,
        power=view.pcen.power,
        time_constant=view.pcen.time_constant_s,
        eps=view.pcen.eps,
    )
    return np.asarray(pcen_MT.T, np.float64)


@GEOMETRIES
@SCALES
def test_mel_filters_are_those_of_librosa(geometry: dict[str, Any], mel_scale: str) -> None:
    view = make_view(geometry, mel_scale)
    reference_MF = librosa.filters.mel(
        sr=view.sample_rate_hz,
        n_fft=view.n_fft,
        n_mels=view.n_mels,
        fmin=view.fmin_hz,
        fmax=view.fmax_hz,
        htk=mel_scale == "htk",
        norm="slaney",
    )
    np.testing.assert_allclose(mel_filters(view), reference_MF.T, rtol=1e-4, atol=1e-7 * reference_MF.max())


@GEOMETRIES
@SCALES
def test_mel_power_of_noise_is_that_of_librosa(geometry: dict[str, Any], mel_scale: str) -> None:
    view = make_view(geometry, mel_scale)
    waveform_S = noise(3 * view.sample_rate_hz + 123)
    np.testing.assert_allclose(mel_power(waveform_S, view), librosa_mel(waveform_S, view), rtol=1e-4)


@GEOMETRIES
@SCALES
@pytest.mark.parametrize("floor", [1e-1, 1e-3, 1e-5])
def test_mel_amplitude_is_that_of_librosa_to_5e_7_of_the_loudest_in_the_frame(
    geometry: dict[str, Any], mel_scale: str, floor: float
) -> None:
    view = make_view(geometry, mel_scale)
    samples = 2 * view.sample_rate_hz
    waveform_S = 0.9 * tone(3000, samples, view.sample_rate_hz) + noise(samples, floor)
    reference_TM = librosa_mel(waveform_S, view)
    error_TM = np.abs(np.sqrt(mel_power(waveform_S, view)) - np.sqrt(reference_TM))
    assert (error_TM / np.sqrt(reference_TM.max(axis=1, keepdims=True))).max() < 5e-7


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"gain": 0.8, "bias": 10.0, "power": 0.25, "time_constant_s": 0.06},
        {"power": 0.0},
        {"bias": 0.0},
        {"bias": 1e-3, "power": 1.0},
        {"power": 2.0},
        {"gain": 0.0, "power": 0.1},
        {"gain": 1.3},
        {"eps": 1e6},
        {"time_constant_s": 5.0},
    ],
    ids=str,
)
@pytest.mark.parametrize("loudness", [0.1, 1e-4])
def test_pcen_is_that_of_librosa(changes: dict[str, Any], loudness: float) -> None:
    view = make_pcen(**changes)
    waveform_S = noise(3 * view.sample_rate_hz, loudness)
    waveform_S[: view.sample_rate_hz] *= 1e-3
    mel_TM = librosa_mel(waveform_S, view)
    ours_TM = pcen((mel_TM * 2.0**62).astype(np.float32), view.pcen, view.sample_rate_hz / view.hop)
    np.testing.assert_allclose(ours_TM, librosa_pcen(mel_TM, view), rtol=1e-4)
    np.testing.assert_allclose(spectrogram(waveform_S, view), librosa_pcen(mel_TM, view), rtol=1e-4)


@GEOMETRIES
def test_decibels_are_those_of_librosa(geometry: dict[str, Any]) -> None:
    view = make_view(geometry)
    waveform_S = noise(view.sample_rate_hz)
    reference_MT = librosa.power_to_db(librosa_mel(waveform_S, view), ref=1.0, amin=1e-10, top_db=None)
    np.testing.assert_allclose(spectrogram(waveform_S, view), reference_MT, atol=1e-3)


def test_silence_is_at_minus_100_db() -> None:
    np.testing.assert_allclose(spectrogram(np.zeros(5000, np.float32), make_view()), -100, rtol=1e-6)
    decibel = power_to_db(np.array([0, 1e-30, 1e-10, 1, 100], np.float32))
    np.testing.assert_allclose(decibel, [-100, -100, -100, 0, 20], rtol=1e-6)


@pytest.mark.parametrize("changes", [{}, {"power": 0.3}, {"power": 0.0}, {"bias": 0.0}, {"bias": 7.3}], ids=str)
def test_pcen_of_silence_is_silence(changes: dict[str, Any]) -> None:
    assert (spectrogram(np.zeros(160_000, np.float32), make_pcen(**changes)) == 0).all()


def test_pcen_is_never_negative_after_sound_has_ended() -> None:
    waveform_S = noise(160_000, 0.5)
    waveform_S[3000:] = 0
    assert spectrogram(waveform_S, make_pcen()).min() >= 0


def test_pcen_forgets_how_loud_a_recording_is() -> None:
    loud, quiet = (spectrogram(noise(160_000) * np.float32(level), make_pcen(gain=1.0)) for level in (1, 0.1))
    np.testing.assert_allclose(loud[1:], quiet[1:], rtol=1e-4)


def test_pcen_refuses_decibels() -> None:
    with pytest.raises(ValueError, match="energy must not be negative; give mel power, not dB"):
        pcen(np.full((3, 4), -20, np.float32), PcenParams.model_validate(DEFAULTS), 62.5)


def test_tenfold_amplitude_is_20_db_more() -> None:
    view, waveform_S = make_view(), noise(16_000, 0.01)
    louder = spectrogram(waveform_S * np.float32(10), view)
    np.testing.assert_allclose(louder, spectrogram(waveform_S, view) + 20, atol=1e-4)


@GEOMETRIES
@pytest.mark.parametrize("kind", ["mel", "pcen"])
@pytest.mark.parametrize("samples", [1, 2, 255, 256, 257, 511, 1251, 1252, 1253, 4096, 40_000])
def test_a_frame_lies_at_every_hop(geometry: dict[str, Any], kind: str, samples: int) -> None:
    view = make_view(geometry) if kind == "mel" else make_pcen(geometry)
    values_TM = spectrogram(noise(samples), view)
    assert values_TM.shape == (1 + samples // view.hop, view.n_mels)
    assert values_TM.dtype == np.float32
    assert np.isfinite(values_TM).all()


@pytest.mark.parametrize("samples", [1, 100, 511, 700])
def test_recordings_shorter_than_a_window_are_those_of_librosa(samples: int) -> None:
    view, waveform_S = make_view(), noise(samples)
    padded_S = np.pad(waveform_S, view.n_fft // 2)
    reference_TM = librosa.feature.melspectrogram(
        y=padded_S.astype(np.float64), sr=16000, n_fft=512, hop_length=256, n_mels=32, fmin=20, fmax=8000, center=False
    ).T
    np.testing.assert_allclose(mel_power(waveform_S, view), reference_TM, rtol=1e-4)


def test_borders_of_blocks_leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    view = make_view()
    waveform_S = noise((5 * BLOCK_FRAMES + 7) * view.hop)
    blocks_TM = mel_power(waveform_S, view)
    assert len(blocks_TM) == 5 * BLOCK_FRAMES + 8
    padded_S = np.pad(waveform_S.astype(np.float64), view.n_fft // 2)
    window = scipy.signal.get_window("hann", view.n_fft)
    for frame, got_M in enumerate(blocks_TM):
        frame_S = padded_S[frame * view.hop : frame * view.hop + view.n_fft] * window
        np.testing.assert_allclose(got_M, np.abs(np.fft.rfft(frame_S)) ** 2 @ mel_filters(view), rtol=1e-4)
    monkeypatch.setattr(frontend, "BLOCK_FRAMES", 1)
    np.testing.assert_allclose(mel_power(waveform_S, view), blocks_TM, rtol=1e-5)


@pytest.mark.parametrize("kind", ["mel", "pcen"])
@pytest.mark.parametrize("piece", [1000, 16384, 65537])
def test_spectrogram_does_not_depend_on_the_pieces_a_waveform_arrives_in(kind: str, piece: int) -> None:
    view = make_view(LARGE) if kind == "mel" else make_pcen(LARGE)
    waveform_S = noise(700_001)
    pieces = (waveform_S[start : start + piece] for start in range(0, len(waveform_S), piece))
    np.testing.assert_array_equal(
        np.concatenate(list(spectrogram_blocks(with_room(pieces, view), view))), spectrogram(waveform_S, view)
    )


def test_grains_suit_the_matrix_products_of_all_processors() -> None:
    """Rows that OpenBLAS multiplies at once: 16 with AVX-512, 12 with AVX2, 8 and 4 elsewhere."""
    assert [rows for rows in (4, 8, 12, 16) if GRAIN_FRAMES % rows] == []
    assert BLOCK_FRAMES % GRAIN_FRAMES == 0


def peak_bytes(work: Callable[[], object]) -> int:
    """The most memory that some work holds at once."""
    tracemalloc.start()
    work()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize("kind", ["mel", "pcen"])
def test_memory_does_not_grow_with_the_length_of_a_recording(kind: str) -> None:
    view = make_view() if kind == "mel" else make_pcen()

    def drain(pieces: int) -> None:
        for _ in spectrogram_blocks(with_room((noise(65536) for _ in range(pieces)), view), view):
            pass

    drain(1)  # filters and windows are made once
    short, long = peak_bytes(lambda: drain(5)), peak_bytes(lambda: drain(50))
    assert long < 1.05 * short


def test_waveform_is_left_alone() -> None:
    waveform_S = noise(5000)
    before = waveform_S.copy()
    spectrogram(waveform_S, make_pcen())
    np.testing.assert_array_equal(waveform_S, before)


@pytest.mark.parametrize(
    ("changes", "counts"), [({"n_mels": 300}, r"\d\d of 300"), ({"n_fft": 64, "hop": 64}, r"\d+ of 32")]
)
def test_empty_mel_bins_are_refused_with_their_number(changes: dict[str, Any], counts: str) -> None:
    view = make_view(SMALL | changes)
    message = rf"{counts} mel bins \(first: \d+\) hold no FFT bin; raise n_fft or fmin_hz, or lower n_mels"
    for refuse in (mel_filters, value_range, lambda view: spectrogram(noise(1000), view)):
        with pytest.raises(ValueError, match=message):
            refuse(view)


def square(phase: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(np.sin(phase) >= 0, 1.0, -1.0)


def loud_waveforms(view: MelView | PcenView) -> list[Floats32]:
    """Full-scale sines and squares in the middle of every tenth mel bin, noise and clicks; first half silent."""
    rate_hz, samples = view.sample_rate_hz, view.sample_rate_hz // 2
    peaks_hz = np.fft.rfftfreq(view.n_fft, 1 / rate_hz)[mel_filters(view).argmax(axis=0)]
    loud = [tone(hz, samples, rate_hz, shape) for hz in peaks_hz[::10] for shape in (np.sin, square)]
    loud.append(np.sign(noise(samples)))
    loud.append(np.ones(samples, np.float32))
    loud.append(np.tile(np.array([1, -1], np.float32), samples // 2))
    return [np.concatenate([np.zeros(samples, np.float32), waveform_S]) for waveform_S in loud]


@GEOMETRIES
def test_range_of_a_mel_view_bounds_loud_audio_within_5_db(geometry: dict[str, Any]) -> None:
    view = make_view(geometry)
    low, high = value_range(view)
    loudest = [spectrogram(waveform_S, view).max() for waveform_S in loud_waveforms(view)]
    assert low == -100
    assert high - 5 < max(loudest) <= high


@pytest.mark.parametrize("n_fft", range(256, 1025, 64))
def test_range_bounds_a_square_wave_for_any_window(n_fft: int) -> None:
    view = make_view(SMALL | {"n_fft": n_fft, "n_mels": 12, "fmin_hz": 100.0})
    peak = np.unravel_index(mel_filters(view).argmax(), mel_filters(view).shape)[0]
    waveform_S = tone(float(peak) * 16000 / n_fft, 16_000, 16000, square)
    assert spectrogram(waveform_S, view).max() <= value_range(view)[1]


@pytest.mark.parametrize(
    "changes",
    [{}, {"power": 0.0}, {"gain": 0.5, "power": 0.25}, {"gain": 0.0, "power": 0.1}, {"gain": 1.0}, {"gain": 1.5}],
    ids=str,
)
def test_range_of_a_pcen_view_bounds_loud_audio(changes: dict[str, Any]) -> None:
    view = make_pcen(**changes)
    low, high = value_range(view)
    loudest = [
        spectrogram(waveform_S * np.float32(level), view).max()
        for waveform_S in loud_waveforms(view)
        for level in (1, 1e-3, 1e-9, 1e-12)
    ]
    assert low == 0
    assert max(loudest) <= high
    if changes == {}:
        assert max(loudest) > high / 2


def swelling_tone_error(view: PcenView) -> float:
    """Largest difference from librosa in float64 for a loud low tone that swells and fades; bins above it are empty."""
    samples = 3 * view.sample_rate_hz
    waveform_S = (0.9 * tone(300, samples, view.sample_rate_hz) * np.hanning(samples)).astype(np.float32)
    return float(np.abs(spectrogram(waveform_S, view) - librosa_pcen(librosa_mel(waveform_S, view), view)).max())


def test_the_shipped_pcen_does_not_amplify_the_rounding_noise_of_empty_bands() -> None:
    shipped = params.load(ROOT / "params.yaml").spectrograms["pcen"]
    assert isinstance(shipped, PcenView)
    assert swelling_tone_error(shipped) < 0.05
    floorless = shipped.model_copy(update={"pcen": shipped.pcen.model_copy(update={"eps": 1e-6})})
    assert swelling_tone_error(floorless) > 0.5, "with librosa's own eps the floor is below the noise of float32"
