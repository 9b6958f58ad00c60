"""Front ends of other models against librosa: another window, magnitude, an offset, filters of height 1."""

from __future__ import annotations

from typing import Any

import librosa
import numpy as np
import pytest
from pydantic import ValidationError
from ruamel.yaml import YAML

from benchmarks.whole import spectrogram
from birdcache.arrays import Floats32, Floats64
from birdcache.params import load as parameters
from birdcache.params.views import MelView, PcenView
from cache.keys import view_digest
from cache.mel import ANY_VIEW, mel_filters
from pipeline.builder.frontend import FRONTEND_VERSION, value_range
from tests.fixtures.frontend import mel_power
from tests.fixtures.tiny import ROOT
from train.augment.ops import bin_shapes, noise_bank

PERCH: dict[str, Any] = {"sample_rate_hz": 32000, "n_fft": 2048, "hop": 320, "n_mels": 128, "mel_scale": "htk"}
PERCH |= {"fmin_hz": 60.0, "fmax_hz": 16000.0, "win_length": 640, "mel_norm": "none", "power": 1.0}
OPTIONS: list[dict[str, Any]] = [
    {},
    {"win_length": 300},
    {"win_length": 301},
    {"win_length": 512},
    {"mel_norm": "none"},
    {"mel_norm": "none", "mel_scale": "htk"},
    {"power": 1.0},
    {"log_offset": 1e-3},
    {"power": 1.0, "log_offset": 0.01},
    PERCH | {"log_offset": 1e-2},
]
each_option = pytest.mark.parametrize("changes", OPTIONS, ids=str)


def a_view(**changes: Any) -> MelView:
    values: dict[str, Any] = {"sample_rate_hz": 16000, "n_fft": 512, "hop": 256, "n_mels": 32, "mel_scale": "slaney"}
    values |= {"fmin_hz": 20.0, "fmax_hz": 8000.0, "dtype": "float16", "compression": "none"}
    return MelView(kind="mel", **values | changes)


def noise(samples: int, level: float = 0.1) -> Floats32:
    return np.random.default_rng(1).normal(0, level, samples).astype(np.float32)


def librosa_mel(waveform_S: Floats32, view: MelView) -> Floats64:
    """(T, M) in float64."""
    mel_MT = librosa.feature.melspectrogram(
        y=waveform_S.astype(np.float64),
        sr=view.sample_rate_hz,
        n_fft=view.n_fft,
        win_length=view.win_length,
        hop_length=view.hop,
        n_mels=view.n_mels,
        fmin=view.fmin_hz,
        fmax=view.fmax_hz,
        htk=view.mel_scale == "htk",
        norm=None if view.mel_norm == "none" else "slaney",
        center=True,
        pad_mode="constant",
        power=view.power,
    )
    return np.asarray(mel_MT.T)


@each_option
def test_mel_power_and_magnitude_are_those_of_librosa(changes: dict[str, Any]) -> None:
    view, waveform_S = a_view(**changes), noise(40_000)
    wanted = librosa_mel(waveform_S, view)
    found = mel_power(waveform_S, view)
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6 * wanted.max())


@each_option
def test_decibels_are_those_of_librosa_after_the_offset(changes: dict[str, Any]) -> None:
    view, waveform_S = a_view(**changes), noise(40_000)
    mel_TM = librosa_mel(waveform_S, view) + view.log_offset
    to_db, amin = (librosa.power_to_db, 1e-10) if view.power == 2 else (librosa.amplitude_to_db, 1e-5)
    wanted = to_db(mel_TM, ref=1.0, amin=amin, top_db=None)
    np.testing.assert_allclose(spectrogram(waveform_S, view), wanted, atol=1e-3)


@each_option
def test_silence_is_the_lowest_value_and_loud_audio_below_the_highest(changes: dict[str, Any]) -> None:
    view = a_view(**changes)
    low, high = value_range(view)
    offset_db = 20 / view.power * np.log10(view.log_offset) if view.log_offset else -100
    assert low == pytest.approx(offset_db)
    assert spectrogram(np.zeros(4000, np.float32), view) == pytest.approx(low, abs=1e-5)
    rate_hz = view.sample_rate_hz
    peaks_hz = np.fft.rfftfreq(view.n_fft, 1 / rate_hz)[mel_filters(view).argmax(axis=0)]
    squares = [np.sign(np.sin(2 * np.pi * hz * np.arange(8000) / rate_hz)).astype(np.float32) for hz in peaks_hz[::4]]
    loudest = max(spectrogram(waveform_S, view).max() for waveform_S in [*squares, np.sign(noise(8000))])
    assert high - 8 < loudest <= high


def test_sounds_twice_as_loud_are_6_db_louder_in_magnitude_too() -> None:
    view = a_view(power=1.0)
    louder_db = spectrogram(noise(8000) * 2, view) - spectrogram(noise(8000), view)
    np.testing.assert_allclose(louder_db, 20 * np.log10(2), atol=1e-3)


@pytest.mark.parametrize("changes", [{"mel_norm": "none"}, {"mel_norm": "none", "power": 1.0}, {"win_length": 300}])
def test_added_noise_has_the_levels_and_shapes_of_real_noise(changes: dict[str, Any]) -> None:
    view = a_view(**{"n_fft": 1024, "n_mels": 24} | changes)
    real_NM = mel_power(noise(60 * 16000), view).astype(np.float64)[4:-4] ** (2 / view.power)
    bank_M = noise_bank(view, "white", 40, seed=1).mean(axis=0, dtype=np.float64)
    difference_db = 10 * np.log10(real_NM.mean(axis=0) / bank_M)
    assert np.ptp(difference_db[4:]) < 1
    ratio_M = real_NM.mean(axis=0) ** 2 / real_NM.var(axis=0) / bin_shapes(view)
    assert np.median(ratio_M) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    ("view", "digest"),
    [
        ("mel", "3d6e6f4c82f170caa03ac8bc4a8da6e0f1c7c87ff8ad64369534e52d993dcec9"),
        ("long", "c4984aa0d29a18b508920dae27bf5080810d0dc585a76deb78346eb32f65566a"),
        ("pcen", "edeee70869a979bdec2c8b97b2dccc450994bbab91c2d427395f2aa3b8938d93"),
    ],
)
def test_stores_of_earlier_versions_keep_their_digests(view: str, digest: str) -> None:
    """Computed before these keys were there."""
    shipped = parameters.load(ROOT / "params.yaml").spectrograms[view]
    assert FRONTEND_VERSION == 4
    assert view_digest(shipped, 4, "d") == digest
    assert not {"win_length", "mel_norm", "power", "log_offset"} & shipped.model_dump().keys()


@pytest.mark.parametrize("changes", OPTIONS[1:], ids=str)
def test_other_values_make_another_digest_and_come_back_from_json(changes: dict[str, Any]) -> None:
    view = a_view(**changes)
    assert view_digest(view, 1, "d") != view_digest(a_view(), 1, "d")
    assert ANY_VIEW.validate_json(view.model_dump_json()) == view


def test_pcen_of_a_window_apart_from_the_fft_comes_back_from_json() -> None:
    raw = parameters.load(ROOT / "params.yaml").views["pcen"].model_dump() | {"win_length": 640, "mel_norm": "none"}
    view = PcenView.model_validate(raw)
    assert ANY_VIEW.validate_json(view.model_dump_json()) == view
    assert np.isfinite(spectrogram(noise(32000), view)).all()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"win_length": 513}, r"must be at most n_fft \(512\)"),
        ({"win_length": 255}, r"must be at least hop \(256\), or samples are skipped"),
        ({"win_length": 16}, "greater than or equal to 32"),
        ({"power": 1.5}, r"must be 2.0 \(power\) or 1.0 \(magnitude\)"),
        ({"log_offset": -1.0}, "greater than or equal to 0"),
    ],
)
def test_values_that_make_no_sense_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        a_view(**changes)


def test_front_ends_in_the_docs_have_filters_that_hold_something() -> None:
    page = (ROOT / "docs/pretraining.md").read_text(encoding="utf-8").partition("## Front ends of known models")[2]
    views = YAML(typ="safe", pure=True).load(page.partition("```yaml")[2].partition("```")[0])["views"]
    assert set(views) == {"perch2", "birdnet_low", "birdnet_high", "bats"}
    for raw in views.values():
        view = MelView.model_validate(raw)
        assert np.isfinite(spectrogram(noise(view.sample_rate_hz), view)).all()
    perch = MelView.model_validate(views["perch2"])
    assert (perch.window / perch.sample_rate_hz, perch.hop / perch.sample_rate_hz) == (0.02, 0.01)
    assert [MelView.model_validate(views[f"birdnet_{name}"]).frames(3.0) for name in ("low", "high")] == [518, 515]
