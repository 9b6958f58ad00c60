"""Recordings of bats, from the file to a clip for training: the call is where it was in time and frequency."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from birdcache.audio.read import content_sha256
from birdcache.params import load as parameters
from birdcache.params.views import MelView
from cache.mel import mel_edges_hz
from cache.store import Store
from cache.store_writer import commit_store
from commands.report.media import HIGHEST_HEARD_HZ, sound
from commands.report.results import AudioFile
from pipeline.builder.build import Builder
from pipeline.builder.plan import Source
from pipeline.dataset.scan import scan_file
from tests.fixtures.tiny import ROOT
from train.data.frames import open_frames
from train.data.sampling import clip_positions

CALL_HZ, CALL_S = 61_000, 0.75


def a_view(rate_hz: int) -> MelView:
    values: dict[str, Any] = {"sample_rate_hz": rate_hz, "n_fft": 1024, "hop": 256, "n_mels": 64, "mel_scale": "htk"}
    return MelView(
        kind="mel", **values, fmin_hz=10_000, fmax_hz=rate_hz / 2, dtype="float16", compression="none", win_length=512
    )


@pytest.mark.parametrize(
    ("rate_hz", "stored_hz", "suffix"),
    [(250_000, 250_000, ".wav"), (384_000, 384_000, ".wav"), (500_000, 500_000, ".wav"), (384_000, 256_000, ".wav"),
     (384_000, 384_000, ".flac")],
)  # fmt: skip
def test_a_call_is_where_it_was(tmp_path: Path, rate_hz: int, stored_hz: int, suffix: str) -> None:
    time_S = np.arange(2 * rate_hz) / rate_hz
    loudness_S = np.exp(-(((time_S - CALL_S) / 0.003) ** 2))
    waveform_S = 0.5 * loudness_S * np.sin(2 * np.pi * CALL_HZ * time_S)
    waveform_S += np.random.default_rng(1).normal(0, 1e-3, len(time_S))
    path, params, view = tmp_path / f"bat{suffix}", parameters.load(ROOT / "params.yaml"), a_view(stored_hz)
    soundfile.write(path, waveform_S, rate_hz, subtype="PCM_16")
    scan = scan_file(path, params.data)
    assert (scan.code, scan.sample_rate_hz, scan.duration_s) == ("", rate_hz, 2.0)
    builder = Builder(view, tmp_path / "pool", params.machine.model_copy(update={"workers": 1}))
    parts, refused = builder.build([Source(content_sha256(path), str(path), 2.0)], "test")
    assert not refused
    commit_store(tmp_path / "mel.zarr", view, builder.digest, builder.quantizer, parts)
    frames, _ = open_frames(Store(tmp_path / "mel.zarr", view), torch.device("cpu"), params.machine)
    first, length = round(0.5 * stored_hz / view.hop), view.frames(0.5)
    positions = clip_positions(np.array([first]), np.array([1 + 2 * stored_hz // view.hop]), length, loop=False)
    clip_TM = frames.finish(frames.stage(np.array([0]), positions))[0].numpy()
    frame, mel_bin = np.unravel_index(clip_TM.argmax(), clip_TM.shape)
    edges_hz = mel_edges_hz(view)
    assert edges_hz[mel_bin] < CALL_HZ < edges_hz[mel_bin + 2]
    assert (first + frame) * view.hop / stored_hz == pytest.approx(CALL_S, abs=0.003)
    assert clip_TM.max() > np.median(clip_TM) + 40


def test_sound_of_the_report_is_brought_to_a_rate_that_browsers_play(tmp_path: Path) -> None:
    path = tmp_path / "bat.wav"
    soundfile.write(path, np.random.default_rng(1).normal(0, 0.1, 384_000), 384_000, subtype="PCM_16")
    audio = AudioFile(content_sha256(path), str(path), 1.0, "")
    uri, why = sound(audio, 0.0, 0.5, 384_000)
    assert uri is not None, why
    assert HIGHEST_HEARD_HZ == 48_000
