"""The axis of mel bins against librosa, for both mel scales."""

from __future__ import annotations

from typing import Literal

import librosa
import numpy as np
import pytest

from birdcache.params import load as params
from birdcache.params.views import MelView
from cache.mel_axis import hz_to_mel, mel_edges_hz, mel_frequencies_hz, mel_places, mel_to_hz
from tests.tiny import ROOT

Scale = Literal["slaney", "htk"]
SCALES = pytest.mark.parametrize("mel_scale", ["slaney", "htk"])
GEOMETRIES = pytest.mark.parametrize(("fmin_hz", "fmax_hz", "n_mels"), [(20.0, 16000.0, 128), (0.0, 11025.0, 40)])


def view_of(mel_scale: Scale, fmin_hz: float, fmax_hz: float, n_mels: int) -> MelView:
    view = params.load(ROOT / "params.yaml").views["mel"]
    assert isinstance(view, MelView)
    changes = {"mel_scale": mel_scale, "fmin_hz": fmin_hz, "fmax_hz": fmax_hz, "n_mels": n_mels}
    return view.model_copy(update=changes)


@SCALES
def test_mel_scale_is_that_of_librosa_and_turns_back(mel_scale: Scale) -> None:
    hz = np.array([0.0, 20.0, 999.0, 1000.0, 1001.0, 4000.0, 16000.0, 48000.0])
    mel = hz_to_mel(hz, mel_scale == "htk")
    np.testing.assert_allclose(mel, librosa.hz_to_mel(hz, htk=mel_scale == "htk"), rtol=1e-12)
    np.testing.assert_allclose(mel_to_hz(mel, mel_scale == "htk"), hz, rtol=1e-12, atol=1e-9)


@SCALES
@GEOMETRIES
def test_mel_bins_lie_where_librosa_puts_them(mel_scale: Scale, fmin_hz: float, fmax_hz: float, n_mels: int) -> None:
    view = view_of(mel_scale, fmin_hz, fmax_hz, n_mels)
    expected = librosa.mel_frequencies(n_mels=n_mels + 2, fmin=fmin_hz, fmax=fmax_hz, htk=mel_scale == "htk")
    np.testing.assert_allclose(mel_edges_hz(view), expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(mel_frequencies_hz(view), expected[1:-1], rtol=1e-9)


@SCALES
@GEOMETRIES
def test_the_centre_of_each_mel_bin_is_at_its_number(
    mel_scale: Scale, fmin_hz: float, fmax_hz: float, n_mels: int
) -> None:
    view = view_of(mel_scale, fmin_hz, fmax_hz, n_mels)
    np.testing.assert_allclose(mel_places(mel_frequencies_hz(view), view), np.arange(n_mels), atol=1e-9)
    ends = mel_places(np.array([fmin_hz, fmax_hz]), view)
    np.testing.assert_allclose(ends, [-1, n_mels], atol=1e-9)
