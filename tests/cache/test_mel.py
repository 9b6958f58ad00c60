"""Mel frequencies and filters against the formulas of the two scales, and their way into other processes."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Literal

import numpy as np
import pytest

from birdcache.files import sha256_hex
from birdcache.params import load as params
from birdcache.params.views import MelView
from cache.mel import mel_edges_hz, mel_filters, mel_places, packed_view, unpacked_view
from tests.fixtures.tiny import ROOT

Scale = Literal["slaney", "htk"]
SCALES = pytest.mark.parametrize("mel_scale", ["slaney", "htk"])
GEOMETRIES = pytest.mark.parametrize(("fmin_hz", "fmax_hz", "n_mels"), [(20.0, 16000.0, 128), (0.0, 11025.0, 40)])


def view_of(mel_scale: Scale, fmin_hz: float, fmax_hz: float, n_mels: int) -> MelView:
    view = params.load(ROOT / "params.yaml").spectrograms["mel"]
    assert isinstance(view, MelView)
    changes = {"mel_scale": mel_scale, "fmin_hz": fmin_hz, "fmax_hz": fmax_hz, "n_mels": n_mels}
    return view.model_copy(update=changes)


@GEOMETRIES
def test_htk_mel_bins_are_even_in_its_formula(fmin_hz: float, fmax_hz: float, n_mels: int) -> None:
    steps = np.diff(2595 * np.log10(1 + mel_edges_hz(view_of("htk", fmin_hz, fmax_hz, n_mels)) / 700))
    np.testing.assert_allclose(steps, steps[0], rtol=1e-9)


@GEOMETRIES
def test_slaney_mel_bins_are_even_in_hertz_to_1_khz_and_in_octaves_above(
    fmin_hz: float, fmax_hz: float, n_mels: int
) -> None:
    edges_hz = mel_edges_hz(view_of("slaney", fmin_hz, fmax_hz, n_mels))
    below, above = edges_hz[edges_hz < 1000], edges_hz[edges_hz >= 1000]
    step_hz = np.diff(below)
    np.testing.assert_allclose(step_hz, step_hz[0], rtol=1e-9)
    np.testing.assert_allclose(np.diff(np.log(above)), np.log(6.4) / 27 * step_hz[0] / (200 / 3), rtol=1e-9)


@SCALES
@GEOMETRIES
def test_the_centre_of_each_mel_bin_is_at_its_number(
    mel_scale: Scale, fmin_hz: float, fmax_hz: float, n_mels: int
) -> None:
    view = view_of(mel_scale, fmin_hz, fmax_hz, n_mels)
    np.testing.assert_allclose(mel_places(mel_edges_hz(view)[1:-1], view), np.arange(n_mels), atol=1e-9)
    ends = mel_places(np.array([fmin_hz, fmax_hz]), view)
    np.testing.assert_allclose(ends, [-1, n_mels], atol=1e-9)


@SCALES
@GEOMETRIES
def test_filters_have_the_bits_that_stores_were_built_with(
    mel_scale: Scale, fmin_hz: float, fmax_hz: float, n_mels: int
) -> None:
    """Triangles of unit area in float64, rounded once; another version of librosa may not change a bit of them."""
    view = view_of(mel_scale, fmin_hz, fmax_hz, n_mels)
    edges_hz = mel_edges_hz(view)
    bins_hz = np.fft.rfftfreq(view.n_fft, 1 / view.sample_rate_hz)
    rising = (bins_hz[:, None] - edges_hz[:-2]) / np.diff(edges_hz)[:-1]
    falling = (edges_hz[2:] - bins_hz[:, None]) / np.diff(edges_hz)[1:]
    expected_FM = np.maximum(0, np.minimum(rising, falling)) * (2 / (edges_hz[2:] - edges_hz[:-2]))
    np.testing.assert_array_equal(mel_filters(view), expected_FM.astype(np.float32))


def test_whoever_changes_filters_changes_no_copy_but_their_own() -> None:
    view = view_of("slaney", 20.0, 16000.0, 64)
    mel_filters(view)[:] = -1
    assert mel_filters(view).min() == 0


def test_filters_reach_another_process_without_librosa() -> None:
    view = view_of("slaney", 20.0, 16000.0, 64)
    code = (
        "import hashlib, sys; from cache import mel; view = mel.unpacked_view(sys.stdin.read()); "
        "assert 'librosa' not in sys.modules; print(hashlib.sha256(mel.mel_filters(view).tobytes()).hexdigest())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=packed_view(view), capture_output=True, text=True, cwd=ROOT
    )
    assert done.stdout.strip() == sha256_hex(mel_filters(view).tobytes()), done.stderr


def test_filters_that_are_known_are_not_replaced() -> None:
    view = view_of("slaney", 20.0, 16000.0, 64)
    known = mel_filters(view)
    assert unpacked_view(json.dumps([view.model_dump(mode="json"), "nonsense"])) == view
    np.testing.assert_array_equal(mel_filters(view), known)
