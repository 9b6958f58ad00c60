"""Pieces of recordings as sounds."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from birdcache.audio.read import BLOCK_SAMPLES, content_sha256
from commands.report.media import LOUDEST, faded, read_piece, sound
from commands.report.results import AudioFile
from pipeline.synthetic.ogg import ogg_vorbis
from tests.fixtures.tiny import RATE_HZ


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> AudioFile:
    """20 s whose pitch rises by the second, in several blocks, as FLAC: what is read is what was written."""
    path = tmp_path_factory.mktemp("sounds") / "rising.flac"
    time_S = np.arange(20 * RATE_HZ) / RATE_HZ
    soundfile.write(path, 0.1 * np.sin(2 * np.pi * (300 + 100 * np.floor(time_S)) * time_S), RATE_HZ)
    assert len(time_S) > 2 * BLOCK_SAMPLES
    return AudioFile(content_sha256(path), path.as_posix(), 20.0)


@pytest.mark.parametrize(("start_s", "seconds"), [(0.0, 5.0), (7.25, 3.0), (8.0, 9.0), (18.0, 5.0)])
def test_a_piece_is_what_the_whole_holds_there(recording: AudioFile, start_s: float, seconds: float) -> None:
    whole_S, _ = soundfile.read(recording.path, dtype="float32")
    expected_S = whole_S[round(start_s * RATE_HZ) : round((start_s + seconds) * RATE_HZ)]
    np.testing.assert_allclose(read_piece(recording, start_s, seconds, RATE_HZ), expected_S, atol=1e-4)


def test_a_sound_is_ogg_of_that_length_and_pitch_and_as_loud_as_can_be(recording: AudioFile) -> None:
    uri, _ = sound(recording, 7.0, 1.0, RATE_HZ)
    assert uri is not None
    assert uri.startswith("data:audio/ogg;base64,")
    samples_S, rate_hz = soundfile.read(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    assert (len(samples_S), rate_hz) == (RATE_HZ, RATE_HZ)
    assert np.abs(np.fft.rfft(samples_S)).argmax() == 1000  # bins of 1 Hz
    assert np.abs(samples_S).max() == pytest.approx(LOUDEST, abs=0.15)
    assert sound(recording, 7.0, 1.0, RATE_HZ) == (uri, ""), "the same bytes each time"


def test_a_replaced_file_is_refused(recording: AudioFile, tmp_path: Path) -> None:
    other = tmp_path / "other.flac"
    soundfile.write(other, np.full(RATE_HZ, 0.1), RATE_HZ)
    heard, why = sound(AudioFile(recording.sha256, other.as_posix(), 1.0), 0.0, 1.0, RATE_HZ)
    assert heard is None
    assert "has changed" in why


def test_ends_are_faded_and_silence_stays_silent() -> None:
    faded_S = faded(np.full(1000, 0.2, np.float32), RATE_HZ)
    assert abs(faded_S[0]) < 0.05
    assert abs(faded_S[-1]) < 0.05
    assert faded_S[500] == pytest.approx(LOUDEST)
    assert not faded(np.zeros(100, np.float32), RATE_HZ).any()
    assert len(faded(np.zeros(0, np.float32), RATE_HZ)) == 0
    assert ogg_vorbis(np.zeros(100, np.float32), RATE_HZ).startswith(b"OggS")
