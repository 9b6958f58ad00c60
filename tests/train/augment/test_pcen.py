"""PCEN on the device against the front end's, librosa's, and a slow loop. T frame, M mel bin."""

from __future__ import annotations

from typing import Any

import librosa
import numpy as np
import numpy.typing as npt
import pytest
import scipy.signal
import torch

from birdcache.params.views import PcenParams, PcenView
from cache.mel import smoothing_coefficient
from tests.fixtures.frontend import pcen
from train.augment.normalise import BLOCK_FRAMES, pcen_

FRAMES_PER_S = 62.5
CHANGES: list[dict[str, float]] = [
    {},
    {"gain": 0.0},
    {"gain": 1.3},
    {"bias": 0.0},
    {"bias": 10.0},
    {"power": 0.0},
    {"power": 0.25},
    {"power": 1.0},
    {"time_constant_s": 0.01},
    {"time_constant_s": 10.0},
    {"eps": 1.0},
]

Floats = npt.NDArray[np.float64]


def clips_db(frames: int = 3 * BLOCK_FRAMES + 5) -> npt.NDArray[np.float32]:
    """Noise at -60 dB with a loud onset, silence, and steps between -100 and 30 dB."""
    clips = np.random.default_rng(1).uniform(-100, 30, (3, frames, 8)).astype(np.float32)
    clips[0] = clips[0] / 50 - 60
    clips[0, frames // 2 :] += 80
    clips[1] = -100
    return clips


def energy(clips: npt.NDArray[np.float32]) -> Floats:
    return np.asarray(10 ** (clips.astype(np.float64) / 10) * 2.0**62)


def on_device(clips: npt.NDArray[np.float32], params: PcenParams) -> npt.NDArray[np.float32]:
    return np.asarray(pcen_(torch.tensor(clips), params, FRAMES_PER_S).numpy())


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_pcen_on_the_device_is_the_front_ends(pcen_view: PcenView, changes: dict[str, float]) -> None:
    """Of a recording in which the clip's first frame lasts long before the clip begins."""
    params = pcen_view.pcen.model_copy(update=changes)
    clips = clips_db()
    for found, energy_TM in zip(on_device(clips, params), energy(clips), strict=True):
        recording_TM = np.concatenate([np.repeat(energy_TM[:1], 20_000, axis=0), energy_TM])
        expected = pcen(recording_TM.astype(np.float32), params, FRAMES_PER_S)[-len(energy_TM) :]
        np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-6)


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_pcen_on_the_device_is_librosas(pcen_view: PcenView, changes: dict[str, Any]) -> None:
    params = pcen_view.pcen.model_copy(update=changes)
    coefficient = smoothing_coefficient(params.time_constant_s * FRAMES_PER_S)
    clips = clips_db()
    for found, energy_TM in zip(on_device(clips, params), energy(clips), strict=True):
        expected = librosa.pcen(
            energy_TM.T,
            sr=62500,
            hop_length=1000,
            gain=params.gain,
            bias=params.bias,
            power=params.power,
            time_constant=params.time_constant_s,
            eps=params.eps,
            zi=energy_TM[:1].T * scipy.signal.lfilter_zi([coefficient], [1, coefficient - 1]),
        )
        np.testing.assert_allclose(found, expected.T, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("changes", [{}, {"time_constant_s": 1e4, "eps": 1.0}], ids=["as usual", "never settles"])
def test_pcen_on_the_device_is_the_published_formula_frame_by_frame(
    pcen_view: PcenView, changes: dict[str, float]
) -> None:
    params, clips = pcen_view.pcen.model_copy(update=changes), clips_db()
    frames = params.time_constant_s * FRAMES_PER_S
    coefficient = (np.sqrt(1 + 4 * frames**2) - 1) / (2 * frames**2)
    smooth = energy(clips)[:, 0]
    found = on_device(clips, params)
    for t, energy_BM in enumerate(energy(clips).swapaxes(0, 1)):
        smooth = (1 - coefficient) * smooth + coefficient * energy_BM
        ratio = energy_BM / (params.eps + smooth) ** params.gain
        expected = (ratio + params.bias) ** params.power - params.bias**params.power
        np.testing.assert_allclose(found[:, t], expected, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("frames", [1, BLOCK_FRAMES - 1, BLOCK_FRAMES, BLOCK_FRAMES + 1, 5 * BLOCK_FRAMES])
def test_a_clip_is_the_same_whatever_follows_it(pcen_view: PcenView, frames: int) -> None:
    clips = clips_db(5 * BLOCK_FRAMES)
    whole = on_device(clips, pcen_view.pcen)
    np.testing.assert_allclose(on_device(clips[:, :frames], pcen_view.pcen), whole[:, :frames], rtol=1e-5, atol=1e-6)


def test_clips_of_a_batch_know_nothing_of_each_other(pcen_view: PcenView) -> None:
    clips = clips_db()
    whole = on_device(clips, pcen_view.pcen)
    for b in range(3):
        np.testing.assert_allclose(on_device(clips[[b]], pcen_view.pcen)[0], whole[b], rtol=1e-5, atol=1e-6)
