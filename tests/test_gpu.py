"""`benchmarks.gpu` on a CPU, with tiny numbers; and the waveforms that it compares with, against our front end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.stores import write_store
from benchmarks.timing import SHIPPED
from benchmarks.waveforms import FULL_SCALE, WaveformFrames
from birdcache.params import load as parameters
from pipeline.builder.frontend import spectrogram
from tests.fixtures.tiny import ROOT


def test_mel_spectra_of_cached_waveforms_are_those_of_the_front_end(tmp_path: Path) -> None:
    view, device = parameters.load(SHIPPED).views["mel"], torch.device("cpu")
    store = write_store(tmp_path, view, "none", 2)
    frames = WaveformFrames(store, device, 60, 0.01, resident=False)
    row_B, position_BT = np.array([0, 3]), np.array([[0], [200]]) + np.arange(60)
    staged = frames.stage(row_B, position_BT)
    found = frames.finish(staged).numpy()
    margin = view.n_fft // 2  # the front end begins in the middle of its first window
    for samples_S, clip_TM in zip(staged.tensor.numpy(), found, strict=True):
        wanted_TM = spectrogram(samples_S[margin:].astype(np.float32) * np.float32(FULL_SCALE), view)
        inner = slice(margin // view.hop + 1, 60 - margin // view.hop - 1)
        np.testing.assert_allclose(clip_TM[inner], wanted_TM[inner], atol=0.05)


@pytest.mark.slow
def test_all_proofs_for_a_gpu_run_on_a_cpu(tmp_path: Path) -> None:
    arguments = ["--device", "cpu", "--hours", "0.1", "--backbones", "test_efficientnet", "--batch", "4"]
    arguments += ["--steps", "1", "--rounds", "1", "--folder", str(tmp_path), "--only", "checks", "speeds", "waveforms"]
    command = [sys.executable, "-m", "benchmarks.gpu", *arguments, "--json", "gpu.json", "--log", "gpu.txt"]
    done = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    numbers = json.loads((tmp_path / "gpu.json").read_text())
    assert done.returncode == 0, done.stdout + done.stderr
    assert {name: value for name, value in numbers.items() if value is False} == {}
    keeps = [name for name in numbers if name.endswith("_keep")]
    assert len(keeps) == 7  # two dtypes from three placements, and waveforms
    lines = (tmp_path / "gpu.txt").read_text().splitlines()
    assert all(line in done.stdout for line in lines)
    assert len(lines) > 20
