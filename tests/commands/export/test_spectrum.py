"""The front end without an FFT operator gives what `pipeline.builder.frontend` computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from benchmarks.whole import spectrogram
from birdcache.bundle.format import FORGOTTEN
from birdcache.params.views import MelView, PcenParams, PcenView
from cache.mel import PCEN_SCALE, mel_filters, smoothing_coefficient
from commands.export.graph import Level, rounded
from commands.export.spectrum import Pcen, PowerSpectrum, context_frames, factors, mel_rows
from pipeline.builder.encode import quantizer_of
from tests.fixtures import frontend as whole

Floats = npt.NDArray[np.float32]
PCEN = PcenParams(gain=0.98, bias=2.0, power=0.5, time_constant_s=0.05, eps=4.6e8)


def a_view(n_fft: int, hop: int, **changes: Any) -> MelView:
    values: dict[str, Any] = {"sample_rate_hz": 16000, "n_mels": 16, "mel_scale": "htk", "dtype": "float16"}
    values |= {"fmin_hz": 300.0, "fmax_hz": 8000.0, "compression": "none", **changes}
    return MelView(kind="mel", n_fft=n_fft, hop=hop, **values)


def a_pcen_view(pcen: PcenParams) -> PcenView:
    view = a_view(256, 128).model_dump(exclude={"kind"})
    return PcenView(kind="pcen", pcen=pcen, **view)


def noise(samples: int) -> Floats:
    rng = np.random.default_rng(1)
    return (rng.standard_normal(samples) * np.linspace(0.001, 0.5, samples)).astype(np.float32)


def mel_power(waveform_S: Floats, view: MelView | PcenView, margin: int = 0) -> Floats:
    """Mel power by the graph, of a waveform with silence around it."""
    frames = 1 + len(waveform_S) // view.hop
    around = margin + view.n_fft // 2
    padded = np.pad(waveform_S, (around, around + view.hop))
    power = PowerSpectrum(view.n_fft, view.hop, frames, margin)(torch.from_numpy(padded)[None])
    found: Floats = (torch.from_numpy(mel_rows(view)).T @ power)[0].T.numpy()
    return found


@pytest.mark.parametrize(
    ("n_fft", "hop"), [(512, 128), (512, 256), (4096, 1252), (1000, 320), (256, 1), (262, 100), (640, 77)]
)
@pytest.mark.parametrize("margin", [0, 300])
def test_mel_power_is_that_of_the_front_end(n_fft: int, hop: int, margin: int) -> None:
    view, waveform_S = a_view(n_fft, hop), noise(max(3 * n_fft, 600))
    wanted = whole.mel_power(waveform_S, view)
    found = mel_power(waveform_S, view, margin)
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6 * wanted.max())


def test_a_hop_that_fits_needs_no_gathering() -> None:
    assert not hasattr(PowerSpectrum(2048, 512, 3, 0), "sample")
    assert hasattr(PowerSpectrum(2048, 511, 3, 0), "sample")


@pytest.mark.parametrize(("n_fft", "wanted"), [(2048, (64, 32)), (4096, (128, 32)), (262, (262, 1)), (64, (16, 4))])
def test_a_window_is_cut_into_two_factors(n_fft: int, wanted: tuple[int, int]) -> None:
    assert factors(n_fft) == wanted


def test_each_frequency_counts_once() -> None:
    view = a_view(512, 128)
    np.testing.assert_allclose(mel_rows(view).sum(axis=0), mel_filters(view).sum(axis=0), rtol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [{}, {"power": 0.0}, {"bias": 0.0}, {"gain": 0.5, "bias": 10.0, "power": 0.25}, {"time_constant_s": 0.08}],
)
def test_pcen_inside_a_recording_is_that_of_the_whole_recording(changes: dict[str, float]) -> None:
    view = a_pcen_view(PCEN.model_copy(update=changes))
    power = whole.mel_power(noise(60000), view)
    rate = view.sample_rate_hz / view.hop
    wanted = whole.pcen(power * np.float32(PCEN_SCALE**2), view.pcen, rate)
    context, frames = context_frames(view), 40
    begin = 150
    assert context < begin
    part = torch.from_numpy(power[begin - context : begin + frames])[None]
    found = Pcen(view.pcen, rate, frames, context)(part, torch.ones(1, context + frames))[0].numpy()
    np.testing.assert_allclose(found, wanted[begin : begin + frames], rtol=1e-3, atol=1e-4)


def test_pcen_at_the_start_of_a_recording_leaves_out_what_was_before() -> None:
    view = a_pcen_view(PCEN)
    power = whole.mel_power(noise(20000)[::-1].copy(), view)[:40]  # loud from the first frame on
    rate = view.sample_rate_hz / view.hop
    wanted = whole.pcen(power * np.float32(PCEN_SCALE**2), view.pcen, rate)
    context = context_frames(view)
    before = np.full((context, view.n_mels), power[0].max(), np.float32)  # as frames that reach into the recording
    part = torch.from_numpy(np.concatenate([before, power]))[None]
    exists = torch.cat([torch.zeros(1, context), torch.ones(1, 40)], dim=1)
    graph = Pcen(view.pcen, rate, 40, context)
    np.testing.assert_allclose(graph(part, exists)[0].numpy(), wanted, rtol=1e-3, atol=1e-4)
    with_them = graph(part, torch.ones_like(exists))[0].numpy()
    assert np.abs(with_them - wanted).max() > 0.1, "positive control: they would matter"


def test_the_context_holds_all_that_the_smoother_remembers() -> None:
    view = a_pcen_view(PCEN)
    coefficient = smoothing_coefficient(PCEN.time_constant_s * view.sample_rate_hz / view.hop)
    assert (1 - coefficient) ** context_frames(view) <= FORGOTTEN < (1 - coefficient) ** (context_frames(view) - 1)
    assert context_frames(a_view(512, 128)) == 0


@pytest.mark.parametrize("dtype", ["float16", "uint8"])
def test_values_are_rounded_as_the_store_rounds_them(dtype: str) -> None:
    quantizer = quantizer_of(a_view(512, 128, dtype=dtype))
    values = np.linspace(quantizer.low - 5, quantizer.high + 5, 9973).astype(np.float32)
    wanted = quantizer.decode(quantizer.encode(values))
    assert np.abs(rounded(torch.from_numpy(values), quantizer).numpy() - wanted).max() <= (
        0 if dtype == "float16" else 1e-4
    )


def test_decibels_end_where_those_of_the_front_end_end() -> None:
    view = a_view(512, 128)
    waveform_S = np.concatenate([noise(4096), np.zeros(4096, np.float32)])
    frames = 1 + len(waveform_S) // view.hop
    padded = torch.from_numpy(np.pad(waveform_S, 256))[None]
    power = PowerSpectrum(512, 128, frames, 0)(padded)
    found = Level(view, frames, 0)(power, torch.ones(1, frames))[0].numpy()
    wanted = spectrogram(waveform_S, view).astype(np.float16).astype(np.float32)
    assert found.min() == wanted.min() == -100
    assert np.abs(found - wanted).max() <= 0.07  # a step of float16 where a rounding falls the other way
    assert (found != wanted).mean() < 0.01
