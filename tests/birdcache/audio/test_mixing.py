"""Channels become one by their mean, but where it cancels them by the loudest. S sample, C channel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from birdcache.audio.decoder import decoder
from birdcache.audio.mixing import Mixing, channel_of
from birdcache.audio.read import read_info
from tests.fixtures.waveform import read_waveform

RATE_HZ = 32_000
TIME_S = np.arange(4 * RATE_HZ) / RATE_HZ
BIRD_S = (0.3 * np.sin(2 * np.pi * (3000 + 500 * TIME_S) * TIME_S)).astype(np.float32)


def noise(seed: int, level: float = 1.0) -> np.ndarray:
    return (level * np.random.default_rng(seed).standard_normal(len(TIME_S))).astype(np.float32)


def read_as(*channels: np.ndarray) -> str:
    mixing = Mixing(len(channels))
    for block_SC in np.array_split(np.stack(channels, axis=1).astype(np.float32), 5):
        mixing.take(block_SC)
    return mixing.read_as()


SILENCE_S = np.zeros_like(BIRD_S)
ORDINARY = {
    "equal": (BIRD_S, BIRD_S),
    "one is silent": (BIRD_S, SILENCE_S),
    "one of eight sounds": (BIRD_S, *7 * [SILENCE_S]),
    "one is 20 dB louder, the other inverted": (BIRD_S, -0.1 * BIRD_S),
    "uncorrelated": (noise(1), noise(2)),
    "eight uncorrelated": tuple(map(noise, range(8))),
    "late by 5 samples": (BIRD_S + noise(1, 0.1), np.roll(BIRD_S, 5) + noise(2, 0.1)),
    "opposite offsets": (0.2 + noise(1, 0.01), -0.2 + noise(1, 0.01)),
    "silence": (SILENCE_S, SILENCE_S),
    "two in phase, one inverted": (BIRD_S, BIRD_S, -BIRD_S),
    "no numbers": (np.full_like(BIRD_S, np.nan), BIRD_S),
}
CANCELLING = {
    "inverted": (BIRD_S, -BIRD_S, 1),
    "inverted with a residue": (BIRD_S, -BIRD_S + np.float32(1e-7), 1),
    "nearly inverted": (0.9 * BIRD_S, -BIRD_S + noise(1, 0.001), 2),
    "inverted in noise": (BIRD_S + noise(1, 0.02), -BIRD_S + noise(2, 0.02), 1),
    "inverted noise": (noise(1), -noise(1), 1),
    "inverted in loud wind": (BIRD_S + np.cumsum(noise(1, 0.02)), -BIRD_S + np.cumsum(noise(2, 0.02)), None),
    "low and inverted in hiss": (np.sin(2500 * TIME_S) + noise(1, 0.1), -np.sin(2500 * TIME_S) + noise(2, 0.1), 1),
    "inverted in one half": (BIRD_S, np.where(TIME_S < 2, BIRD_S, -BIRD_S), 1),
    "inverted in pairs": (BIRD_S, -BIRD_S, 2 * BIRD_S, -2 * BIRD_S, 3),
    "inverted beside silence": (SILENCE_S, BIRD_S, -BIRD_S, 2),
}


@pytest.mark.parametrize("channels", ORDINARY.values(), ids=ORDINARY)
def test_ordinary_channels_are_mixed_by_their_mean(channels: tuple[np.ndarray, ...]) -> None:
    assert read_as(*channels) == ""


@pytest.mark.parametrize("case", CANCELLING.values(), ids=CANCELLING)
def test_channels_that_cancel_each_other_give_way_to_the_loudest(case: Any) -> None:
    *channels, loudest = case
    found = channel_of(read_as(*channels))
    assert found is not None
    assert loudest is None or found == loudest - 1


@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "mp3", "aiff"])
def test_inverted_recording_is_heard_in_every_format_and_noted(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"clip.{extension}"
    soundfile.write(path, np.stack([0.8 * BIRD_S, -BIRD_S], axis=1), RATE_HZ)
    info = decoder().mixed(path, read_info(path))
    assert info.read_as.endswith("channel 2")
    assert [(note.code, note.detail) for note in info.notes] == [
        ("opposite-phase", "its channels cancel each other: channel 2 of 2 is taken")
    ]
    waveform = read_waveform(path, RATE_HZ)
    assert np.corrcoef(waveform, -BIRD_S)[0, 1] > 0.99
    found = np.concatenate(list(decoder().waveform(path, RATE_HZ, info.duration_s, read_as=info.read_as)))
    np.testing.assert_array_equal(found, waveform)


def test_ordinary_recording_has_no_note_and_is_the_mean(tmp_path: Path) -> None:
    path = tmp_path / "clip.wav"
    samples_SC = np.stack([BIRD_S, noise(1, 0.1)], axis=1)
    soundfile.write(path, samples_SC, RATE_HZ, subtype="FLOAT")
    info = read_info(path)
    assert decoder().mixed(path, info) == info
    np.testing.assert_array_equal(read_waveform(path, RATE_HZ), samples_SC.mean(axis=1))
