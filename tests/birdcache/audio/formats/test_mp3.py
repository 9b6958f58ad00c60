"""MPEG audio: the frames are counted, and what is counted decodes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from birdcache.audio import read
from birdcache.audio.read import AudioInfo, read_info, waveform_blocks
from birdcache.audio.rejected import RejectedAudio
from tests.fixtures.mpeg import (
    APE,
    DECODER_DELAY,
    ID3V1,
    ID3V2,
    frames_of,
    lame_delays,
    mp3,
    noisy,
    silent_frames,
    split_table,
    with_numbers,
    written,
)

RATES_HZ = (44_100, 48_000, 32_000, 22_050, 24_000, 16_000, 11_025, 12_000, 8_000)
WHOLE = mp3(1.5, 32_000)
TABLE, FRAMES = split_table(WHOLE)
COUNT, SAMPLES = len(frames_of(FRAMES)), 1152
ALL = COUNT * SAMPLES
LYING_TAG = b"ID3\4\0\0\x7f\x7f\x7f\x7f" + bytes(90)
MIDDLE = frames_of(FRAMES)[COUNT // 2][0]


def heard(tmp_path: Path, content: bytes) -> tuple[AudioInfo, np.ndarray]:
    """Facts, and the samples that they promise."""
    path = tmp_path / "clip.mp3"
    path.write_bytes(content)
    info = read_info(path)
    samples_S = np.concatenate(list(waveform_blocks(path, None, silence=True)))
    assert len(samples_S) == info.frames
    return info, samples_S


def refused(tmp_path: Path, content: bytes) -> RejectedAudio:
    with pytest.raises(RejectedAudio) as caught:
        heard(tmp_path, content)
    return caught.value


@pytest.mark.parametrize("mode", ["VARIABLE", "AVERAGE", "CONSTANT"])
@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_sound_is_the_same_with_and_without_a_table(tmp_path: Path, rate_hz: int, mode: str) -> None:
    for channels in (1, 2):
        whole = mp3(1, rate_hz, channels, mode)
        _, frames = split_table(whole)
        info, expected_S = heard(tmp_path, whole)
        assert info == AudioInfo(1.0, rate_hz, channels, rate_hz, read_as="counted")
        by_libsndfile_SC = soundfile.read(tmp_path / "clip.mp3", dtype="float32", always_2d=True)[0]
        np.testing.assert_allclose(expected_S, by_libsndfile_SC.mean(axis=1), atol=1e-6)
        info, samples_S = heard(tmp_path, frames)
        samples = 1152 if rate_hz >= 32_000 else 576
        assert info.frames == len(frames_of(frames)) * samples
        assert info.ended
        begin = lame_delays(whole)[0] + DECODER_DELAY
        np.testing.assert_array_equal(samples_S[begin : begin + rate_hz], expected_S)


@pytest.mark.parametrize("version", [3, 2, 0], ids=["MPEG-1", "MPEG-2", "MPEG-2.5"])
@pytest.mark.parametrize("layer", [3, 2, 1], ids=["I", "II", "III"])
def test_frames_of_each_layer_are_counted(tmp_path: Path, version: int, layer: int) -> None:
    samples = {3: 384, 2: 1152, 1: 1152 if version == 3 else 576}[layer]
    info, _ = heard(tmp_path, silent_frames(version, layer, 40))
    assert info.frames == 40 * samples


@pytest.mark.parametrize(
    ("content", "frames", "notes"),
    [
        (ID3V2 + ID3V2 + FRAMES + APE + ID3V1, ALL, ()),
        (FRAMES + ID3V1 + ID3V2 + FRAMES, 2 * ALL, ("joined",)),
        (FRAMES + FRAMES, 2 * ALL, ()),
        (bytes(5000) + FRAMES, ALL, ("bytes-around",)),
        (ID3V2 + bytes(500) + FRAMES, ALL, ("bytes-around",)),
        (b"no sound" * 300 + FRAMES, ALL, ("bytes-around",)),
        (FRAMES[100:], ALL - SAMPLES, ("bytes-around",)),
        (FRAMES[:MIDDLE] + b"no sound" * 30 + FRAMES[MIDDLE:], ALL, ("bytes-around",)),
        (FRAMES[:MIDDLE] + bytes(3000) + FRAMES[MIDDLE:], ALL, ("bytes-around",)),
        (FRAMES[:MIDDLE] + ID3V2 + FRAMES[MIDDLE:], ALL, ("joined",)),
        (FRAMES[:MIDDLE] + LYING_TAG + FRAMES[MIDDLE:], ALL, ("bytes-around",)),
        (FRAMES + b"no sound" * 300, ALL, ("bytes-around",)),
        (FRAMES + bytes(4096), ALL, ("bytes-around",)),
        (FRAMES[: frames_of(FRAMES)[0][1]], SAMPLES, ()),
    ],
    ids=[
        "tags",
        "tags between",
        "joined",
        "zeros before",
        "tag and zeros before",
        "junk before",
        "begins within a frame",
        "junk between",
        "zeros between",
        "tag between",
        "tag with a wrong length between",
        "junk behind",
        "zeros behind",
        "one frame",
    ],
)
def test_bytes_around_frames_are_passed_over_and_noted(
    tmp_path: Path, content: bytes, frames: int, notes: tuple[str, ...]
) -> None:
    info, _ = heard(tmp_path, content)
    assert (info.frames, info.ended, tuple(note.code for note in info.notes)) == (frames, True, notes)


def test_files_joined_to_one_are_read_to_their_end(tmp_path: Path) -> None:
    info, _ = heard(tmp_path, WHOLE + WHOLE)
    assert info.frames == 2 * ALL - lame_delays(WHOLE)[0] - DECODER_DELAY
    assert [note.code for note in info.notes] == ["joined", "wrong-length"]


@pytest.mark.parametrize("named", [20, 3 * COUNT, COUNT + 1, 2**32 - 1])
def test_a_table_that_lies_is_noted_and_the_frames_count(tmp_path: Path, named: int) -> None:
    info, _ = heard(tmp_path, with_numbers(WHOLE, frames=named))
    assert info.frames == ALL - lame_delays(WHOLE)[0] - DECODER_DELAY
    assert info.notes == (("wrong-length", f"its table says {named} frames, and {COUNT} follow"),)


@pytest.mark.parametrize("rate_hz", [8_000, 24_000, 48_000])
def test_blocks_of_a_low_bit_rate_fit_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate_hz: int) -> None:
    content = written(noisy(4, rate_hz), rate_hz, "MP3", bitrate_mode="CONSTANT", compression_level=0.99)
    _, whole_S = heard(tmp_path, content)
    monkeypatch.setattr(read, "BLOCK_SAMPLES", 2**12)
    np.testing.assert_array_equal(heard(tmp_path, content)[1], whole_S)


def test_a_table_whose_bytes_alone_are_wrong_is_right(tmp_path: Path) -> None:
    info, _ = heard(tmp_path, with_numbers(WHOLE, size=10**6))
    assert (info.frames, info.notes) == (48_000, ())


def test_a_table_by_fraunhofer_holds_no_sound(tmp_path: Path) -> None:
    table = bytearray(TABLE)
    table[4:] = bytes(len(TABLE) - 4)
    table[36:54] = b"VBRI" + bytes(6) + len(WHOLE).to_bytes(4, "big") + COUNT.to_bytes(4, "big")
    info, _ = heard(tmp_path, bytes(table) + FRAMES)
    assert (info.frames, info.notes) == (ALL, ())


@pytest.mark.parametrize("cut", [1, 40])
def test_file_that_ends_within_a_frame_has_no_end(tmp_path: Path, cut: int) -> None:
    for content in (FRAMES[:-cut], FRAMES[:-cut] + ID3V1, FRAMES + FRAMES[:cut]):
        info, _ = heard(tmp_path, content)
        assert not info.ended
        assert info.frames in (ALL - SAMPLES, ALL)


def test_cut_file_with_a_table_is_truncated(tmp_path: Path) -> None:
    for content in (WHOLE[:-1], WHOLE[: len(WHOLE) // 2], with_numbers(WHOLE, size=0)[:-1000]):
        assert refused(tmp_path, content).code == "truncated"


def flipped(content: bytes, place: int, mask: int) -> bytes:
    return content[:place] + bytes([content[place] ^ mask]) + content[place + 1 :]


@pytest.mark.parametrize(
    "content",
    [
        flipped(FRAMES, MIDDLE, 0xFF),
        flipped(FRAMES, MIDDLE + 1, 0x18),
        flipped(FRAMES, MIDDLE + 2, 0x10),
        FRAMES[: MIDDLE + 30] + FRAMES[MIDDLE + 60 :],
        FRAMES[: MIDDLE + 30] + bytes(3000) + FRAMES[MIDDLE + 3030 :],
        WHOLE[:-1000] + bytes(1000),
    ],
    ids=["no sync", "version", "length", "bytes lost", "overwritten", "end overwritten"],
)
def test_frame_that_is_broken_or_lost_is_damage(tmp_path: Path, content: bytes) -> None:
    assert refused(tmp_path, content).code == "damaged"


@pytest.mark.parametrize("other", [mp3(1, 44_100), mp3(1, 32_000, 2), mp3(1, 16_000)])
@pytest.mark.parametrize("between", [b"", ID3V1 + ID3V2, b"no sound" * 50])
def test_sounds_of_two_kinds_are_chained(tmp_path: Path, other: bytes, between: bytes) -> None:
    assert refused(tmp_path, FRAMES + between + other).code == "chained"


def test_a_file_without_a_sure_frame_is_no_audio(tmp_path: Path) -> None:
    free = (FRAMES[:2] + bytes([FRAMES[2] & 0x0F]) + bytes(380)) * 9  # in free format, whose frames name no length
    for content in ("\ufeffno sound".encode("utf-16") * 99, FRAMES[:4] + b"no sound" * 200, b"\xff" * 5000, free):
        assert refused(tmp_path, content).code == "not-audio"


def test_a_file_of_its_first_bytes_is_truncated(tmp_path: Path) -> None:
    assert refused(tmp_path, FRAMES[:50]).code == "truncated"
    assert re.search("ends within", refused(tmp_path, ID3V2[:50]).detail)
