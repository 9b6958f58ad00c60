"""The bank of noise against noise that went through the front end. N frame, M mel bin, S sample."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
import scipy.stats

from birdcache.params.views import MelView
from tests.fixtures.frontend import mel_power
from train.augment.ops import bin_shapes, noise_bank
from train.data.augment_draws import BANK_SPANS

SECONDS = 120
CLIP_FRAMES = 40
FAR_APART = 8  # frames that share no sample
GEOMETRIES: list[dict[str, Any]] = [
    {"n_fft": 2048, "hop": 512, "n_mels": 128},
    {"n_fft": 1024, "hop": 256, "n_mels": 48, "mel_scale": "htk"},
]

Floats = npt.NDArray[np.float64]
Colour = Literal["white", "pink"]


def real_noise(view: MelView, colour: Colour) -> Floats:
    """(N, M) power of Gaussian noise, coloured by its spectrum, as the front end sees it."""
    waveform_S = np.random.default_rng(2).normal(0, 0.1, SECONDS * view.sample_rate_hz)
    if colour == "pink":
        spectrum = np.fft.rfft(waveform_S)
        spectrum[1:] /= np.sqrt(np.fft.rfftfreq(len(waveform_S), 1 / view.sample_rate_hz)[1:])
        waveform_S = np.fft.irfft(spectrum)
    return mel_power(waveform_S.astype(np.float32), view).astype(np.float64)[4:-4]


@pytest.fixture(params=GEOMETRIES, ids=["slaney", "htk"])
def geometry(request: pytest.FixtureRequest, view: MelView) -> MelView:
    return view.model_copy(update=request.param)


@pytest.mark.parametrize("colour", ["white", "pink"])
def test_each_mel_bin_is_as_loud_as_in_real_noise(geometry: MelView, colour: Colour) -> None:
    """Closely where a mel bin is wide; the lowest one also sees what leaks up from 0 Hz."""
    real_M = real_noise(geometry, colour).mean(axis=0)
    bank_M = noise_bank(geometry, colour, CLIP_FRAMES, seed=1).mean(axis=0, dtype=np.float64)
    wide = bin_shapes(geometry) > 2
    assert wide.sum() > geometry.n_mels / 2
    difference_db = 10 * np.log10((real_M / real_M[wide].mean()) / (bank_M / bank_M[wide].mean()))
    assert np.abs(difference_db[wide]).max() < 0.5
    assert np.abs(difference_db[1:]).max() < 1.5


@pytest.mark.parametrize("colour", ["white", "pink"])
def test_each_mel_bin_varies_as_in_real_noise(geometry: MelView, colour: Colour) -> None:
    real_NM = real_noise(geometry, colour)
    real_shape_M = real_NM.mean(axis=0) ** 2 / real_NM.var(axis=0)
    ratio_M = real_shape_M / bin_shapes(geometry)
    assert np.median(ratio_M) == pytest.approx(1, abs=0.05)
    assert ratio_M.min() > 0.75
    assert ratio_M.max() < 1.4


def test_power_of_each_mel_bin_is_distributed_as_in_real_noise(geometry: MelView) -> None:
    real_NM = real_noise(geometry, "white")[::FAR_APART]
    bank_NM = noise_bank(geometry, "white", CLIP_FRAMES, seed=1)
    distances = [
        scipy.stats.ks_2samp(real_M / real_M.mean(), bank_M / bank_M.mean()).statistic
        for real_M, bank_M in zip(real_NM.T, bank_NM.T, strict=True)
    ]
    assert np.median(distances) < 0.05
    assert max(distances) < 0.12


def test_a_clip_has_room_behind_every_place_where_its_noise_may_begin(view: MelView) -> None:
    bank = noise_bank(view, "pink", CLIP_FRAMES, seed=1)
    assert bank.shape == (BANK_SPANS + CLIP_FRAMES, view.n_mels)
    assert bank.dtype == np.float32
    assert (bank > 0).all()


def test_a_bank_follows_from_its_seed(view: MelView) -> None:
    one, again, other = (noise_bank(view, "white", CLIP_FRAMES, seed) for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
