"""The picture's numbers are those of librosa's STFT, however the waveform arrives."""

from __future__ import annotations

import librosa
import numpy as np
import pytest

from birdcache.serve.spectrum import BINS, HOP, N_FFT, decibels


@pytest.mark.parametrize("pieces", [1, 7, 400])
def test_decibels_are_the_mean_power_of_neighbouring_bins_of_the_stft(pieces: int) -> None:
    waveform_S = np.random.default_rng(0).normal(0, 0.1, 70_000).astype(np.float32)
    found_TF = np.concatenate(list(decibels(iter(np.array_split(waveform_S, pieces)))))
    stft_FT = librosa.stft(waveform_S.astype(np.float64), n_fft=N_FFT, hop_length=HOP, pad_mode="constant")
    power_TF = (np.abs(stft_FT[:-1]) ** 2).T.reshape(-1, BINS, N_FFT // 2 // BINS).mean(axis=2)
    np.testing.assert_allclose(found_TF, 10 * np.log10(power_TF), atol=1e-3)


def test_silence_is_the_floor() -> None:
    found_TF = np.concatenate(list(decibels(iter([np.zeros(5, np.float32)]))))
    assert found_TF.shape == (1, BINS)
    np.testing.assert_allclose(found_TF, -100, atol=1e-4)
