"""The gate on WAV, FLAC and MP3, which allow less than Ogg, and on what is none of them."""

from __future__ import annotations

import io
import re
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from birdcache.audio.formats.header import AudioHeader
from birdcache.audio.read import read_info
from birdcache.audio.rejected import RejectedAudio
from birdcache.audio.validate import probe
from tests.fixtures.waveform import read_waveform

RATE_HZ = 16_000
SIZE = 40  # where the 16-bit WAV has the length of its sound; its format begins at 20
TONE_S = 0.3 * np.sin(np.arange(RATE_HZ) / 5)


def encoded(container: str, subtype: str | None, channels: int = 1, rate_hz: int = RATE_HZ) -> bytes:
    buffer = io.BytesIO()
    samples_SC = np.repeat(TONE_S[:, None], channels, axis=1)
    soundfile.write(buffer, samples_SC, rate_hz, format=container, subtype=subtype)
    return buffer.getvalue()


WAV, FLAC, MP3 = encoded("WAV", "PCM_16"), encoded("FLAC", "PCM_16"), encoded("MP3", None)


def examined(tmp_path: Path, content: bytes) -> AudioHeader:
    (tmp_path / "clip").write_bytes(content)
    with (tmp_path / "clip").open("rb", buffering=0) as file:
        return replace(probe(file), reading=None)


def rejected(tmp_path: Path, content: bytes) -> RejectedAudio:
    with pytest.raises(RejectedAudio) as caught:
        examined(tmp_path, content)
    return caught.value


def put(content: bytes, place: int, form: str, value: int) -> bytes:
    changed = bytearray(content)
    struct.pack_into(form, changed, place, value)
    return bytes(changed)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"])
@pytest.mark.parametrize("container", ["WAV", "WAVEX", "RF64"])
@pytest.mark.parametrize("channels", [1, 2])
def test_whole_wav_promises_what_was_written(tmp_path: Path, container: str, subtype: str, channels: int) -> None:
    audio_header = examined(tmp_path, encoded(container, subtype, channels))
    assert audio_header == AudioHeader(RATE_HZ, channels, RATE_HZ)


def test_big_endian_wav_passes(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    soundfile.write(buffer, TONE_S, RATE_HZ, format="WAV", subtype="PCM_16", endian="BIG")
    assert buffer.getvalue()[:4] == b"RIFX"
    assert examined(tmp_path, buffer.getvalue()) == AudioHeader(RATE_HZ, 1, RATE_HZ)


@pytest.mark.parametrize("cut", [12, 20, 30, 43, 44, 45, 5000, len(WAV) - 1])
def test_cut_wav_is_truncated(tmp_path: Path, cut: int) -> None:
    assert rejected(tmp_path, WAV[:cut]).code == "truncated"


def test_wav_whose_recorder_lost_power_has_no_end(tmp_path: Path) -> None:
    assert not examined(tmp_path, put(WAV, SIZE, "<I", 0)).ended
    assert rejected(tmp_path, put(WAV[:44], SIZE, "<I", 0)).code == "empty"


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFDB])
def test_streamed_wav_has_no_end_and_decodes(tmp_path: Path, size: int) -> None:
    streamed = put(WAV, SIZE, "<I", size)
    assert examined(tmp_path, streamed) == AudioHeader(RATE_HZ, 1, RATE_HZ, ended=False)
    assert not read_info(tmp_path / "clip").ended
    assert len(read_waveform(tmp_path / "clip", RATE_HZ)) == RATE_HZ


@pytest.mark.parametrize(
    ("place", "form", "value", "code", "told"),
    [
        (20, "<H", 0x40, "wrong-codec", "codec 0x0040"),
        (22, "<H", 0, "damaged", "0 channels"),
        (22, "<H", 9, "wrong-codec", "9 channels"),
        (24, "<I", 768_000, "wrong-codec", "768000 Hz"),
        (32, "<H", 3, "damaged", "1 channels of 16 bits do not make 3 bytes"),
        (34, "<H", 0, "damaged", "0 bits"),
        (16, "<I", 4, "damaged", "takes 4 bytes"),
        (12, "<4s", b"junk", "damaged", "has no chunk 'fmt '"),
    ],
)
def test_wav_header_that_breaks_a_rule_is_refused(
    tmp_path: Path, place: int, form: str, value: int, code: str, told: str
) -> None:
    caught = rejected(tmp_path, put(WAV, place, form, value))
    assert caught.code == code
    assert re.search(told, caught.detail)


def test_wav_of_chunks_without_end_is_refused_soon(tmp_path: Path) -> None:
    caught = rejected(tmp_path, WAV[:12] + struct.pack("<4sI", b"junk", 0) * 100_000)
    assert (caught.code, caught.detail) == ("damaged", "has 1000 chunks and still no end")


def test_chunks_before_the_sound_are_skipped_with_their_padding(tmp_path: Path) -> None:
    odd = WAV[:12] + struct.pack("<4sI", b"LIST", 3) + b"abc\0" + WAV[12:]
    assert examined(tmp_path, odd).frames == RATE_HZ


@pytest.mark.parametrize("channels", [1, 2])
def test_whole_flac_promises_what_was_written(tmp_path: Path, channels: int) -> None:
    assert examined(tmp_path, encoded("FLAC", "PCM_24", channels)) == AudioHeader(RATE_HZ, channels, RATE_HZ)


@pytest.mark.parametrize("cut", [4, 6, 20, 41, 43, 86])
def test_flac_cut_within_its_metadata_is_truncated(tmp_path: Path, cut: int) -> None:
    assert rejected(tmp_path, FLAC[:cut]).code == "truncated"


@pytest.mark.parametrize("share", [0.05, 0.5, 0.999])
def test_cut_flac_does_not_decode(tmp_path: Path, share: float) -> None:
    (tmp_path / "clip.flac").write_bytes(FLAC[: int(len(FLAC) * share)])
    with pytest.raises(RejectedAudio) as caught:
        read_waveform(tmp_path / "clip.flac", RATE_HZ)
    assert caught.value.code in ("truncated", "damaged")


def test_flipped_bits_of_flac_frames_are_found_by_the_decoder(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for place in rng.integers(len(FLAC) // 4, len(FLAC), 20):
        spoiled = bytearray(FLAC)
        spoiled[place] ^= 1 << int(rng.integers(8))
        (tmp_path / "clip.flac").write_bytes(spoiled)
        with pytest.raises(RejectedAudio) as caught:
            read_waveform(tmp_path / "clip.flac", RATE_HZ)
        assert caught.value.code in ("truncated", "damaged")


def test_flac_without_a_number_of_samples_has_no_end(tmp_path: Path) -> None:
    streamed = bytearray(FLAC)
    streamed[8 + 13] &= 0xF0
    streamed[8 + 14 : 8 + 18] = bytes(4)
    found = examined(tmp_path, bytes(streamed))
    assert (found.frames, found.ended, found.notes) == (RATE_HZ, False, ())


def test_flac_that_does_not_begin_with_its_stream_s_facts_is_damaged(tmp_path: Path) -> None:
    assert rejected(tmp_path, FLAC[:4] + b"\x04" + FLAC[5:]).code == "damaged"


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("tag", [b"", b"ID3\4\0\0\0\0\1\x0a" + bytes(138), b"ID3\4\0\x10\0\0\0\0" + bytes(10)])
def test_whole_mp3_passes_behind_its_tags(tmp_path: Path, channels: int, tag: bytes) -> None:
    found = examined(tmp_path, tag + encoded("MP3", None, channels))
    assert (found.channels, found.frames, found.ended, found.notes) == (channels, RATE_HZ, True, ())


@pytest.mark.parametrize("cut", [400, 1000, len(MP3) - 1])
def test_cut_mp3_that_names_its_bytes_is_truncated(tmp_path: Path, cut: int) -> None:
    caught = rejected(tmp_path, MP3[:cut])
    assert caught.code == "truncated"
    assert caught.detail == f"promises {len(MP3)} bytes of sound, but {cut} follow"


@pytest.mark.parametrize("rate_hz", [16_000, 32_000])  # MPEG-2 and MPEG-1, whose tables lie elsewhere
@pytest.mark.parametrize("channels", [1, 2])
def test_last_byte_of_an_mp3_is_missed_at_each_rate_and_number_of_channels(
    tmp_path: Path, rate_hz: int, channels: int
) -> None:
    whole = encoded("MP3", None, channels, rate_hz)
    assert examined(tmp_path, whole).frames == RATE_HZ
    assert rejected(tmp_path, whole[:-1]).code == "truncated"


def test_tag_without_sound_is_truncated(tmp_path: Path) -> None:
    assert rejected(tmp_path, b"ID3\4\0\0\0\0\0\x40" + bytes(64)).code == "truncated"


@pytest.mark.parametrize(
    ("content", "code", "told"),
    [
        (b"<html>not found</html>", "not-audio", "begins with b'<html>no'"),
        (bytes(1000), "not-audio", "not audio of a known format"),
        (b"RIFF\0\0\0\0AVI LIST", "wrong-codec", "holds AVI video"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "not-audio", "not audio"),
        (b"\xff\xe8\x90\0" * 9, "not-audio", "not audio"),
        (b"\xff\xfb\xf0\0" * 9, "not-audio", "not audio"),
        (b"\0\0\0\x20ftypM4A \0\0\0\0", "wrong-codec", "holds MP4 or QuickTime"),
        (b"\xff\xf1\x50\x80\x02\x1f\xfc" * 9, "wrong-codec", "holds AAC"),
        (b"#!AMR\n" + bytes(99), "wrong-codec", "holds AMR"),
        (b"0&\xb2u\x8ef\xcf\x11" + bytes(99), "wrong-codec", "holds Windows Media"),
    ],
)
def test_what_is_none_of_the_formats_is_refused(tmp_path: Path, content: bytes, code: str, told: str) -> None:
    caught = rejected(tmp_path, content)
    assert caught.code == code
    assert told in caught.detail
    assert ("ffmpeg" in caught.hint) == (code == "wrong-codec")
