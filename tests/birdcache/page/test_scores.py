"""The page's scores, detections and tables are those of `birdcache predict`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr

import birdcache
from birdcache import cli
from birdcache.annotations.column_reader import read_raven
from birdcache.audio.paths import Bounds
from tests.birdcache.page.conftest import CLIP_S, RATE_HZ, begin, known_bundle, probed, served, write_known
from tests.fixtures.browser import Browser
from tests.fixtures.bundle import Exported

EXACT, RESAMPLED = 1e-4, 1e-3


@pytest.fixture(scope="module")
def trained(exported: Exported, runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page of a bundle that was trained and exported."""
    with served(tmp_path_factory.mktemp("trained"), exported.bundle, runtime) as address:
        yield address


def song(seconds: float, rate_hz: int) -> Any:
    """Two tones of the bundle's species one after the other, in noise."""
    time_S = np.arange(round(seconds * rate_hz)) / rate_hz
    tone_hz = np.where(time_S < seconds / 2, 500, 4000)
    beeps_S = np.sin(2 * np.pi * tone_hz * time_S) * (np.sin(2 * np.pi * 3 * time_S) > 0)
    noise_S = np.random.default_rng(1).standard_normal(round(seconds * RATE_HZ))
    return 0.2 * beeps_S + 0.01 * soxr.resample(noise_S, RATE_HZ, rate_hz)[: len(time_S)]


@pytest.mark.parametrize("seconds", [0.4, 4.9, 12.3, 61.0])
def test_a_recording_at_the_bundles_rate_has_the_scores_of_predict(
    browser: Browser, trained: str, exported: Exported, tmp_path: Path, seconds: float
) -> None:
    soundfile.write(tmp_path / "a.wav", song(seconds, RATE_HZ), RATE_HZ, "PCM_16")
    begin(browser, trained)
    found = probed(browser, tmp_path / "a.wav")
    expected = birdcache.load(exported.bundle).predict(tmp_path / "a.wav")
    assert found["duration"] == pytest.approx(seconds)
    np.testing.assert_allclose(found["scores"], expected.scores, atol=EXACT)
    assert found["shares"] == sorted(found["shares"])
    assert found["shares"][-1] == 1
    assert len(found["shares"]) > seconds / 20, "progress comes with every four clips"
    assert browser.errors() == []


@pytest.mark.parametrize(
    ("name", "rate_hz", "channels"),
    [
        ("a.ogg", 16_000, 1),
        ("a.flac", 16_000, 2),
        ("a.wav", 44_100, 2),
        ("a.flac", 48_000, 1),
        ("a.mp3", 44_100, 1),
        ("a.wav", 8000, 1),
    ],
)
def test_any_format_and_rate_has_nearly_the_scores_of_predict(
    browser: Browser, trained: str, exported: Exported, tmp_path: Path, name: str, rate_hz: int, channels: int
) -> None:
    waveform_S = song(21, rate_hz)
    soundfile.write(tmp_path / name, np.stack([waveform_S, 0.5 * waveform_S], axis=1)[:, :channels], rate_hz)
    begin(browser, trained)
    found = probed(browser, tmp_path / name)
    expected = birdcache.load(exported.bundle).predict(tmp_path / name)
    tolerance = EXACT if rate_hz == RATE_HZ else RESAMPLED
    np.testing.assert_allclose(found["scores"], expected.scores, atol=tolerance)


PROCESSED: dict[str, dict[str, Any]] = {
    "smoothed": {"smoothing": 0.2},
    "smoothed by neighbours alone": {"smoothing": 0.5},
    "smoothed by taps": {"smoothing": [0.05, 0.25, 0.4, 0.2, 0.1]},
    "smoothed by taps of each class": {"smoothing": [[0.1, 0.8, 0.1], [0.0, 1.0, 0.0], [0.25, 0.5, 0.25]]},
    "file_max": {"file_max": 0.5},
    "highest": {"file_max": 0.5, "top_k": 2},
    "calibrated": {"slopes": [0.5, 2.0, 1.0], "offsets": [0.3, -1.0, 0.0]},
    "overlapping": {"hop_s": 2.0},
    "shifted": {"shifts_s": [1.25, -0.5]},
    "all": {
        "smoothing": 0.1,
        "file_max": 0.3,
        "slopes": [0.5] * 3,
        "offsets": [0.1] * 3,
        "hop_s": 2.5,
        "shifts_s": [1.0],
    },
}


@pytest.mark.parametrize("changes", PROCESSED.values(), ids=PROCESSED)
@pytest.mark.parametrize("seconds", [2.0, 20.0, 20.6, 24.0])
def test_what_the_bundle_says_is_done_to_scores(
    browser: Browser, runtime: Path, tmp_path: Path, changes: dict[str, Any], seconds: float
) -> None:
    bundle = known_bundle(tmp_path / "x.bundle", **changes)
    path = write_known(tmp_path / "a.wav", np.random.default_rng(0).uniform(0, 1, (4, 3)), seconds)
    expected = birdcache.load(bundle).predict(path)
    with served(tmp_path / "site", bundle, runtime) as address:
        begin(browser, address)
        found = probed(browser, path)
    np.testing.assert_allclose(found["scores"], expected.scores, atol=1e-6)
    lines = found["tables"]["csv"].splitlines()[1:]
    assert [line.split(",")[1:4] for line in lines] == [
        [f"{each.start_s:.6f}".rstrip("0").rstrip("."), f"{each.end_s:.6f}".rstrip("0").rstrip("."), each.label]
        for each in expected.detections
    ]


def test_scores_of_windows_are_the_samples_that_the_graph_shows(browser: Browser, address: str, tmp_path: Path) -> None:
    scores_WK = np.random.default_rng(1).uniform(0, 1, (4, 3)).astype(np.float32)
    begin(browser, address)
    found = probed(browser, write_known(tmp_path / "a.wav", scores_WK))
    np.testing.assert_array_equal(np.float32(found["scores"]), scores_WK)


def test_tables_are_those_of_predict(
    browser: Browser, runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bundle = known_bundle(tmp_path / "x.bundle", thresholds=[0.1, 0.2, 0.7])
    name = '=1+1, "é".wav'
    write_known(tmp_path / name, np.random.default_rng(2).uniform(0, 1, (5, 3)), 22.5)
    cli.main(["predict", name, "--model", str(bundle), "--format", "csv,raven,audacity"])
    with served(tmp_path / "site", bundle, runtime) as address:
        begin(browser, address)
        found = probed(browser, tmp_path / name)["tables"]
    stem = name.removesuffix(".wav")
    assert found["csv"] == (tmp_path / "detections/detections.csv").read_text()
    assert found["raven"] == (tmp_path / f"detections/raven/{stem}.selections.txt").read_text()
    assert found["audacity"] == (tmp_path / f"detections/audacity/{stem}.labels.txt").read_text()
    (tmp_path / "a.txt").write_text(found["raven"])
    assert len(read_raven(tmp_path / "a.txt", Bounds(tmp_path, "inside")).cells) == found["csv"].count("\n") - 1 > 4


def test_channels_in_opposite_phase_are_read_as_predict_reads_them(
    browser: Browser, address: str, tmp_path: Path
) -> None:
    mono_S, _ = soundfile.read(write_known(tmp_path / "mono.wav"), dtype="float32")
    noise_S = np.random.default_rng(3).normal(0, 1e-3, len(mono_S))
    soundfile.write(tmp_path / "a.wav", np.stack([-0.7 * mono_S + noise_S, mono_S], axis=1), RATE_HZ, "FLOAT")
    begin(browser, address)
    found = probed(browser, tmp_path / "a.wav")
    np.testing.assert_allclose(found["scores"], np.abs(mono_S.reshape(-1, CLIP_S)[:, :3]), atol=1e-6)
    assert found["notes"] == [
        "channel 2 alone is used: the mean of its channels would be silence, or noise without the bird"
    ]
    soundfile.write(tmp_path / "b.wav", np.stack([mono_S, 0 * mono_S], axis=1), RATE_HZ, "FLOAT")
    mean = probed(browser, tmp_path / "b.wav")
    np.testing.assert_allclose(mean["scores"], np.abs(mono_S.reshape(-1, CLIP_S)[:, :3]) / 2, atol=1e-6)
    assert mean["notes"] == []


def test_a_bundle_of_two_rates_gets_each_waveform_at_its_own(browser: Browser, runtime: Path, tmp_path: Path) -> None:
    from tests.birdcache.page.conftest import INPUT, ROW
    from tests.fixtures.hostile_bundle import model

    second = {**INPUT, "name": "other", "sample_rate_hz": 32_000, "hop": 320}
    graph = model(classes=3, axes=("batch", ROW))
    twice = model(classes=3, inputs=["other"], axes=("batch", 2 * ROW)).graph.input
    graph.graph.input.extend(twice)
    bundle = known_bundle(tmp_path / "x.bundle", graph, inputs=[INPUT, second])
    path = write_known(tmp_path / "a.wav")
    with served(tmp_path / "site", bundle, runtime) as address:
        begin(browser, address)
        found = probed(browser, path)
    np.testing.assert_allclose(found["scores"], birdcache.load(bundle).predict(path).scores, atol=1e-6)
