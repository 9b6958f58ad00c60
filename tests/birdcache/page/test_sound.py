"""The picture's numbers are those of librosa's STFT, and a browser's waveform at another rate is soxr's."""

from __future__ import annotations

import io
from typing import Any

import librosa
import numpy as np
import pytest
import soundfile
import soxr

from tests.birdcache.page.conftest import begin
from tests.fixtures.browser import Browser

N_FFT, HOP, BINS = 2048, 512, 128


def computed(browser: Browser, address: str, code: str, *arguments: Any) -> Any:
    """The value that a piece of JavaScript returns, which may use the modules `sound` and `rates`."""
    begin(browser, address)
    script = (
        "const done = arguments[arguments.length - 1], given = [...arguments];"
        "Promise.all([import('/sound.js'), import('/rates.js')]).then(([sound, rates]) => done((() => { "
        + code
        + " })()))"
    )
    return browser.driver.execute_async_script(script, *arguments)


def test_decibels_are_the_mean_power_of_neighbouring_bins_of_the_stft(browser: Browser, address: str) -> None:
    waveform_S = np.random.default_rng(0).normal(0, 0.1, 20_000).astype(np.float32)
    code = (
        "const [waveform, frames] = [Float32Array.from(given[0]), given[1]], row = new Float32Array(128);"
        "return Array.from({ length: frames }, (_, frame) => {"
        "  sound.writeDecibels(row, waveform, frame * 512 - 1024);"
        "  return [...row];"
        "})"
    )
    found_TF = computed(browser, address, code, waveform_S.tolist(), 1 + len(waveform_S) // HOP)
    stft_FT = librosa.stft(waveform_S.astype(np.float64), n_fft=N_FFT, hop_length=HOP, pad_mode="constant")
    power_TF = (np.abs(stft_FT[:-1]) ** 2).T.reshape(-1, BINS, N_FFT // 2 // BINS).mean(axis=2)
    np.testing.assert_allclose(found_TF, 10 * np.log10(power_TF), atol=1e-3)


def test_a_long_recording_is_shown_by_its_loudest_frames(browser: Browser, address: str) -> None:
    code = (
        "const waveform = new Float32Array(512 * 13000); waveform[512 * 12000] = 1;"
        "const { values, frames } = sound.pictureOf(waveform);"
        "return [frames, [...Array(frames).keys()].filter((frame) => values[frame * 128 + 5] === 255)]"
    )
    frames, loud = computed(browser, address, code)
    assert frames == -(-13001 // 3)
    assert loud == [3999, 4000], "frames 11999 to 12001 hear the click, three of them a column"


RATES = [(44_100, 32_000), (48_000, 16_000), (22_050, 32_000), (8000, 16_000)]


@pytest.mark.parametrize(("rate_hz", "wanted_hz"), RATES)
def test_resampling_is_that_of_soxr(browser: Browser, address: str, rate_hz: int, wanted_hz: int) -> None:
    waveform_S = np.random.default_rng(0).normal(0, 0.1, rate_hz // 2).astype(np.float32)
    code = "return [...rates.resampled(Float32Array.from(given[0]), given[1], given[2])]"
    found_S = computed(browser, address, code, waveform_S.tolist(), rate_hz, wanted_hz)
    expected_S = soxr.resample(waveform_S, rate_hz, wanted_hz, quality="HQ")
    assert len(found_S) == wanted_hz // 2
    difference_S = (np.array(found_S) - expected_S)[200:-200]
    assert difference_S.std() < 4e-3 * expected_S.std(), "white noise: filters differ where they cut off"
    tone_S = np.sin(2 * np.pi * 3000 * np.arange(rate_hz // 2) / rate_hz)
    found_S = computed(browser, address, code, tone_S.tolist(), rate_hz, wanted_hz)
    expected_S = np.sin(2 * np.pi * 3000 * np.arange(wanted_hz // 2) / wanted_hz)
    np.testing.assert_allclose(found_S[1000:-1000], expected_S[1000:-1000], atol=1e-5)


WRITTEN = [
    ("WAV", "PCM_16"),
    ("WAV", "FLOAT"),
    ("RF64", "PCM_24"),
    ("FLAC", "PCM_16"),
    ("OGG", "VORBIS"),
    ("MP3", "MPEG_LAYER_III"),
]


@pytest.mark.parametrize(("kind", "subtype"), [*WRITTEN, ("OGG", "OPUS")])
def test_the_rate_of_a_file_is_known(browser: Browser, address: str, kind: str, subtype: str) -> None:
    code = "return rates.rateOf(Uint8Array.from(given[0]).buffer)"
    for rate_hz in [48_000] if subtype == "OPUS" else [11_025, 22_050, 32_000, 44_100]:
        buffer = io.BytesIO()
        soundfile.write(buffer, np.random.default_rng(0).normal(0, 0.1, rate_hz // 4), rate_hz, subtype, format=kind)
        assert computed(browser, address, code, list(buffer.getvalue())) == rate_hz


@pytest.mark.parametrize(
    "content", [b"", b"RIFF", b"OggS" + bytes(60), b"ID3", b"\xff\xfb", b"<html>" * 9, b"RIFF" + bytes(999)]
)
def test_of_other_bytes_no_rate_is_known(browser: Browser, address: str, content: bytes) -> None:
    assert computed(browser, address, "return rates.rateOf(Uint8Array.from(given[0]).buffer)", list(content)) == 0
