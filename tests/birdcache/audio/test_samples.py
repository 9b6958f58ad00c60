"""What decodes is checked again: length, finite numbers, loudness, silence; and a refusal crosses processes."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import soundfile

from birdcache.audio import read as audio
from birdcache.audio.formats.header import LONGEST_S, AudioHeader, check_length
from birdcache.audio.read import read_info
from birdcache.audio.rejected import HINTS, RejectedAudio
from birdcache.audio.samples import LOUDEST, QUIETEST, SampleCheck
from tests.fixtures.waveform import read_waveform
from tests.torture.ogg_files import GRANULE, joined, pages, sound

RATE_HZ = 32_000


def rejected(do: Callable[[], object]) -> RejectedAudio:
    with pytest.raises(RejectedAudio) as caught:
        do()
    return caught.value


def test_good_sound_in_blocks_passes() -> None:
    check = SampleCheck(30)
    for level in (-LOUDEST, 0.0, LOUDEST):
        check.take(np.full(10, level, np.float32))
    check.finish()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_sample_that_is_not_finite_is_refused(bad: float) -> None:
    block_S = np.zeros(100, np.float32)
    block_S[57] = bad
    assert rejected(lambda: SampleCheck(100).take(block_S)).code == "not-finite"


@pytest.mark.parametrize("loud", [LOUDEST * 1.001, -LOUDEST * 1.001, 32_768])
def test_absurdly_loud_sample_is_refused(loud: float) -> None:
    caught = rejected(lambda: SampleCheck(2).take(np.array([0, loud], np.float32)))
    assert caught.code == "damaged"
    assert caught.detail == f"reaches {abs(loud):.3g} times full scale"
    assert caught.hint.startswith("scale unscaled numbers to +-1")


@pytest.mark.parametrize("level", [0.0, 0.5])
def test_sound_that_does_not_move_is_silent(level: float) -> None:
    check = SampleCheck(20)
    for _ in range(2):
        check.take(np.full(10, level, np.float32))
    assert rejected(check.finish).code == "silent"


def test_sound_as_quiet_as_one_step_of_16_bits_is_not_silent() -> None:
    assert QUIETEST < 2**-16
    check = SampleCheck(2)
    check.take(np.array([0, 2**-15], np.float32))
    check.finish()


def test_missing_samples_are_damage() -> None:
    check = SampleCheck(3)
    check.take(np.array([0, 1], np.float32))
    caught = rejected(check.finish)
    assert (caught.code, caught.detail) == ("damaged", "promises 3 samples but 2 decode")


@pytest.mark.parametrize("added", [5000, -(10**5)])
def test_ogg_that_decodes_to_another_length_than_its_end_says_is_refused(tmp_path: Path, added: int) -> None:
    parts = pages(sound(1.5, RATE_HZ, 1, "VORBIS"))
    last = struct.unpack_from("<q", parts[-1], GRANULE)[0]
    struct.pack_into("<q", parts[-1], GRANULE, last + added)
    (tmp_path / "clip.ogg").write_bytes(joined(parts))
    caught = rejected(lambda: read_waveform(tmp_path / "clip.ogg", RATE_HZ))
    assert caught.code == "damaged"
    assert str(caught).startswith(f"{tmp_path / 'clip.ogg'}: ")


def test_time_that_does_not_begin_at_zero_decodes_as_if_it_did(tmp_path: Path) -> None:
    parts = pages(sound(1.5, RATE_HZ, 1, "VORBIS"))
    (tmp_path / "plain.ogg").write_bytes(joined(parts))
    for part in parts[2:]:
        struct.pack_into("<q", part, GRANULE, struct.unpack_from("<q", part, GRANULE)[0] + 10**6)
    (tmp_path / "later.ogg").write_bytes(joined(parts))
    plain, later = (read_waveform(tmp_path / name, RATE_HZ) for name in ("plain.ogg", "later.ogg"))
    np.testing.assert_array_equal(plain, later)


@pytest.mark.parametrize("audio_header", [AudioHeader(RATE_HZ, 2, RATE_HZ), AudioHeader(RATE_HZ, 1, 31_998)])
def test_decoder_that_sees_more_than_the_gate_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, audio_header: AudioHeader
) -> None:
    soundfile.write(tmp_path / "clip.wav", 0.1 * np.sin(np.arange(RATE_HZ)), RATE_HZ)
    assert read_info(tmp_path / "clip.wav").frames == RATE_HZ
    monkeypatch.setattr(audio, "probe", lambda file: audio_header)
    assert rejected(lambda: read_info(tmp_path / "clip.wav")).code == "damaged"


def test_libsndfile_sees_no_byte_of_what_the_gate_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: BinaryIO) -> AudioHeader:
        raise RejectedAudio("damaged", "was spoiled")

    def opened(*_: object, **__: object) -> None:
        pytest.fail("libsndfile was asked")

    (tmp_path / "clip.ogg").write_bytes(sound(0.1, RATE_HZ, 1, "VORBIS"))
    monkeypatch.setattr(audio, "probe", refuse)
    monkeypatch.setattr(soundfile, "SoundFile", opened)
    for read in (read_info, lambda path: read_waveform(path, RATE_HZ)):
        assert rejected(lambda read=read: read(tmp_path / "clip.ogg")).code == "damaged"  # type: ignore[misc]


def test_without_the_gate_a_cut_ogg_would_be_read_as_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = sound(2, RATE_HZ, 1, "VORBIS")
    (tmp_path / "clip.ogg").write_bytes(whole[: len(whole) // 2])
    assert rejected(lambda: read_waveform(tmp_path / "clip.ogg", RATE_HZ)).code == "truncated"
    monkeypatch.setattr(audio, "probe", lambda file: AudioHeader(RATE_HZ, 1, 2 * RATE_HZ))
    assert 0 < len(read_waveform(tmp_path / "clip.ogg", RATE_HZ)) < 2 * RATE_HZ


def test_length_is_at_least_a_sample_and_less_than_a_week() -> None:
    check_length(1, RATE_HZ)
    check_length(LONGEST_S * RATE_HZ, RATE_HZ)
    assert rejected(lambda: check_length(0, RATE_HZ)).code == "empty"
    assert rejected(lambda: check_length(LONGEST_S * RATE_HZ + 1, RATE_HZ)).code == "too-long"


@pytest.mark.parametrize("code", HINTS)
def test_refusal_tells_class_reason_hint_and_file_also_after_a_journey(code: str) -> None:
    caught = RejectedAudio(code, "is bad")
    assert str(caught) == f"is bad; {HINTS[code]}"
    caught.file = "robin/XC1.ogg"
    back = pickle.loads(pickle.dumps(caught))
    assert (back.code, back.detail, back.hint, str(back)) == (
        code,
        "is bad",
        HINTS[code],
        f"robin/XC1.ogg: is bad; {HINTS[code]}",
    )


def test_refusal_can_tell_another_hint() -> None:
    assert str(RejectedAudio("damaged", "is bad", "mend it", "a.ogg")) == "a.ogg: is bad; mend it"
