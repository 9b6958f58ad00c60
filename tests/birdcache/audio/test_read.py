"""Headers, hashes and waveforms against what was written, librosa and soxr."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
import soxr

from birdcache.audio import read as audio
from birdcache.audio.mixing import mean_of_channels
from birdcache.audio.read import AudioInfo, content_sha256, read_info, resampled_length
from birdcache.audio.rejected import RejectedAudio
from tests.fixtures.waveform import read_waveform

WriteClip = Callable[..., Path]
ALL_FORMATS = pytest.mark.parametrize("extension", ["ogg", "wav", "flac", "mp3", "OGG"])


@ALL_FORMATS
@pytest.mark.parametrize("rate_hz", [32000, 44100])
@pytest.mark.parametrize("channels", [1, 2])
def test_header_tells_what_was_written(
    tmp_path: Path, write_clip: WriteClip, extension: str, rate_hz: int, channels: int
) -> None:
    clip = write_clip(tmp_path / f"clip.{extension}", 1.5, rate_hz, channels)
    read_as = "counted" if extension == "mp3" else ""
    assert read_info(clip) == AudioInfo(1.5, rate_hz, channels, round(1.5 * rate_hz), read_as=read_as)


@ALL_FORMATS
def test_waveform_has_the_length_of_the_header_at_the_wanted_rate(
    tmp_path: Path, write_clip: WriteClip, extension: str
) -> None:
    clip = write_clip(tmp_path / f"clip.{extension}", 1.237, 44100, 2)
    waveform = read_waveform(clip, 32000)
    assert waveform.dtype == np.float32
    assert waveform.shape == (resampled_length(read_info(clip).frames, 44100, 32000),)


def test_waveform_equals_librosa_with_the_same_resampler(tmp_path: Path, write_clip: WriteClip) -> None:
    clip = write_clip(tmp_path / "clip.flac", 25.3, 44100, 2)
    samples_CS = soundfile.read(clip, dtype="float32")[0].T
    reference = librosa.resample(librosa.to_mono(samples_CS), orig_sr=44100, target_sr=32000, res_type="soxr_hq")
    waveform = read_waveform(clip, 32000)
    assert np.abs(waveform - reference[: len(waveform)]).max() < 1e-6


def test_waveform_does_not_depend_on_the_block_length(
    tmp_path: Path, write_clip: WriteClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = write_clip(tmp_path / "clip.ogg", 7.7, 44100)
    whole = read_waveform(clip, 32000)
    monkeypatch.setattr(audio, "BLOCK_SAMPLES", 1234)
    np.testing.assert_array_equal(read_waveform(clip, 32000), whole)


def test_channels_are_mixed_by_their_mean(tmp_path: Path) -> None:
    left_right = np.array([[0.5, -0.25], [1.0, 0.0], [-0.5, -0.5]])
    soundfile.write(tmp_path / "clip.wav", left_right, 32000, subtype="FLOAT")
    np.testing.assert_allclose(read_waveform(tmp_path / "clip.wav", 32000), left_right.mean(axis=1))


def test_waveform_at_the_files_own_rate_is_not_resampled(tmp_path: Path, write_clip: WriteClip) -> None:
    clip = write_clip(tmp_path / "clip.wav", 0.5, 44100)
    np.testing.assert_array_equal(read_waveform(clip, 44100), soundfile.read(clip, dtype="float32")[0])


@pytest.mark.parametrize("frames", [1, 2, 3, 100, 44100, 77777])
@pytest.mark.parametrize("rate_hz", [8000, 22050, 44100, 48000])
def test_resampled_length_is_that_of_soxr(frames: int, rate_hz: int) -> None:
    resampled = soxr.resample(np.zeros(frames, np.float32), rate_hz, 32000, quality="HQ")
    assert abs(resampled_length(frames, rate_hz, 32000) - len(resampled)) <= (frames * 64000 % rate_hz == 0)


def test_hash_is_that_of_the_bytes(tmp_path: Path, write_clip: WriteClip) -> None:
    clip = write_clip(tmp_path / "clip.ogg")
    assert content_sha256(clip) == hashlib.sha256(clip.read_bytes()).hexdigest()


def test_waveform_of_the_expected_content_is_read_and_of_another_is_refused(
    tmp_path: Path, write_clip: WriteClip
) -> None:
    clip = write_clip(tmp_path / "clip.ogg")
    assert len(read_waveform(clip, 32000, content_sha256(clip))) == 32000
    with pytest.raises(RejectedAudio, match=r"clip\.ogg: has changed since stage `recordings`.*dvc repro"):
        read_waveform(clip, 32000, "0" * 64)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"clip\.ogg: is empty \(0 bytes\)"),
        (b"no music" * 99, r"clip\.ogg: is not audio.*b'no music'.*fetch it again"),
    ],
)
def test_header_of_what_is_not_audio_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "clip.ogg").write_bytes(content)
    with pytest.raises(RejectedAudio, match=message):
        read_info(tmp_path / "clip.ogg")


def test_headerless_samples_are_refused(tmp_path: Path) -> None:
    (tmp_path / "clip.raw").write_bytes(bytes(1000))
    with pytest.raises(RejectedAudio, match="is not audio"):
        read_info(tmp_path / "clip.raw")


def test_file_without_samples_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "clip.wav", np.empty(0), 32000)
    with pytest.raises(RejectedAudio, match="holds no samples"):
        read_info(tmp_path / "clip.wav")


@pytest.mark.parametrize("read", [read_info, content_sha256, lambda path: read_waveform(path, 32000)])
def test_missing_file_is_refused(tmp_path: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises(RejectedAudio, match=r"clip\.ogg: cannot be read \(No such file or directory\); restore"):
        read(tmp_path / "clip.ogg")


def test_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "clip.ogg")
    for read in (read_info, lambda path: read_waveform(path, 32000)):
        with pytest.raises(RejectedAudio, match=r"clip\.ogg: is a pipe, not a file; leave it out") as caught:
            read(tmp_path / "clip.ogg")
        assert caught.value.code == "unreadable"


def test_samples_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "clip.wav", np.array([0.0, np.nan, 0.5]), 32000, subtype="FLOAT")
    with pytest.raises(RejectedAudio, match="not finite"):
        read_waveform(tmp_path / "clip.wav", 32000)


def test_file_that_ends_before_its_header_says_is_refused(tmp_path: Path, write_clip: WriteClip) -> None:
    clip = write_clip(tmp_path / "clip.mp3", 3)
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    with pytest.raises(RejectedAudio, match=r"clip\.mp3: promises \d+ bytes of sound, but \d+ follow"):
        read_waveform(clip, 32000)


def test_decoder_version_names_every_library_that_shapes_a_waveform() -> None:
    assert soundfile.__libsndfile_version__ in audio.DECODER_VERSION
    assert soxr.__libsoxr_version__ in audio.DECODER_VERSION


@pytest.mark.parametrize("channels", range(2, 9))
def test_mean_of_channels_is_numpys_to_the_bit(channels: int) -> None:
    rng = np.random.default_rng(channels)
    samples_SC = (rng.standard_normal((5000, channels)) * 10.0 ** rng.uniform(-30, 0, (5000, 1))).astype(np.float32)
    samples_SC[rng.random(samples_SC.shape) < 0.3] = -0.0
    mean_S = np.empty(5000, np.float32)
    mean_of_channels(samples_SC, mean_S)
    assert mean_S.tobytes() == samples_SC.mean(axis=1).tobytes()
