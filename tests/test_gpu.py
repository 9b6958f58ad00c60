"""`benchmarks.gpu` on a CPU, with tiny numbers; and the waveforms that it compares with, against our front end."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.gpu_checks import Checks
from benchmarks.gpu_speeds import Sizes, Speeds
from benchmarks.lines import Lines
from benchmarks.stores import write_store
from benchmarks.timing import SHIPPED
from benchmarks.waveforms import FULL_SCALE, WaveformFrames
from benchmarks.whole import spectrogram
from birdcache.params import load as parameters
from tests.fixtures.fake_gpu import GPU, fake_gpu
from tests.fixtures.tiny import ROOT


def test_mel_spectra_of_cached_waveforms_are_those_of_the_front_end(tmp_path: Path) -> None:
    view, device = parameters.load(SHIPPED).spectrograms["mel"], torch.device("cpu")
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


class OneRun:
    """Records a step by taking it, and replays nothing."""

    def aside(self, work: Callable[[], Any]) -> Any:
        return work()

    def record(self, work: Callable[[], torch.Tensor]) -> tuple[Callable[[], None], torch.Tensor]:
        loss = work()
        return lambda: None, loss


@pytest.mark.slow
def test_what_needs_a_gpu_runs_on_one_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("train.loop.graph.Recorder", OneRun)
    modes: list[str] = []
    monkeypatch.setattr("torch.cuda.set_sync_debug_mode", modes.append)
    params, lines = parameters.load(SHIPPED), Lines(None, {}, 600)
    store = write_store(tmp_path, params.spectrograms["mel"], "none", 2)
    sizes = Sizes(batch=4, steps=1, rounds=1, warm=4)
    with fake_gpu():
        checks = Checks(store, params, GPU, lines.tell, "test_efficientnet").of_training()
        for name in ("graph", "float16", "no wait in steps of running mean"):
            checks[name]()
        speeds = Speeds(params, GPU, sizes, lines)
        monkeypatch.setattr(speeds, "_busy_ms", lambda *_: 1.0)  # the profiler asks the driver
        speeds.placement(store, "device", "test_efficientnet")
        speeds.without_graph(store, "test_efficientnet")
        speeds.waveforms(store, 0.01, "device", "test_efficientnet")
    assert modes == ["error", "default"] * 4  # from two placements, with a graph and without
    assert capsys.readouterr().out.count(" ms a step") == 3
    assert lines.failed == 0


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
