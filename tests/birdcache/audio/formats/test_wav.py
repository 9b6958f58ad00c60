"""WAV files whose sizes say something else than what is there, and codings that recorders use."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from birdcache.audio.decoder import decoder
from birdcache.audio.formats.header import AudioHeader
from birdcache.audio.read import read_info
from birdcache.audio.rejected import RejectedAudio
from birdcache.audio.validate import probe
from tests.fixtures.waveform import read_waveform

RATE_HZ = 16_000
TONE_S = (0.3 * np.sin(np.arange(RATE_HZ) / 5) * 32767).astype("<i2")
PCM = TONE_S.tobytes()


def chunk(name: bytes, content: bytes, size: int | None = None) -> bytes:
    return name + struct.pack("<I", len(content) if size is None else size) + content


def form(tag: int = 1, channels: int = 1, align: int = 2, bits: int = 16, more: bytes = b"") -> bytes:
    packed = struct.pack("<HHIIHH", tag, channels, RATE_HZ, RATE_HZ * align, align, bits)
    return chunk(b"fmt ", packed + more)


def riff(*chunks: bytes, magic: bytes = b"RIFF") -> bytes:
    return magic + struct.pack("<I", 4 + sum(map(len, chunks))) + b"WAVE" + b"".join(chunks)


def written(tmp_path: Path, content: bytes) -> Path:
    (tmp_path / "clip.wav").write_bytes(content)
    return tmp_path / "clip.wav"


def header(tmp_path: Path, content: bytes) -> AudioHeader:
    with written(tmp_path, content).open("rb", buffering=0) as file:
        return probe(file)


def rejected(tmp_path: Path, content: bytes) -> RejectedAudio:
    with pytest.raises(RejectedAudio) as caught:
        read_waveform(written(tmp_path, content), RATE_HZ)
    return caught.value


def decoded(tmp_path: Path, content: bytes) -> np.ndarray:
    return np.rint(read_waveform(written(tmp_path, content), RATE_HZ) * 32768)


def sparse(path: Path, size: int, sound_bytes: int) -> Path:
    """A WAV file with this size in its header, and zeros with a click at their end."""
    head = riff(form(), chunk(b"data", b"", size))
    with path.open("wb") as file:
        file.write(head)
        file.seek(len(head) + sound_bytes - 2)
        file.write(b"\0\x40")
    return path


@pytest.mark.parametrize("multiple", [1, 2])
@pytest.mark.parametrize("size", [0, 2 * RATE_HZ, 12 * 2 * RATE_HZ])
def test_sound_over_4_gib_whose_size_has_wrapped_is_read_whole(tmp_path: Path, size: int, multiple: int) -> None:
    path = sparse(tmp_path / "long.wav", size, size + multiple * 2**32)
    info = read_info(path)
    assert info.frames == (size + multiple * 2**32) // 2
    assert info.ended
    assert [note.code for note in info.notes] == ["wrong-length"]


def test_metadata_behind_a_wrapped_sound_are_no_sound(tmp_path: Path) -> None:
    path = sparse(tmp_path / "long.wav", 1000, 1000 + 2**32)
    with path.open("ab") as file:
        file.write(chunk(b"LIST", bytes(26)))
    assert read_info(path).frames == 500 + 2**31


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFF000, 0x80000000])
def test_open_size_of_a_file_over_4_gib_has_no_end_and_loses_nothing(tmp_path: Path, size: int) -> None:
    info = read_info(sparse(tmp_path / "long.wav", size, 5 * 10**9))
    assert (info.frames, info.ended) == (5 * 10**9 // 2, False)


def test_cut_file_over_4_gib_whose_size_has_wrapped_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(RejectedAudio, match=r"promises 1000 bytes of sound, and \d+ follow.*ffmpeg -ignore_length 1"):
        read_info(sparse(tmp_path / "long.wav", 1000, 3 * 10**9))


@pytest.mark.parametrize(
    "size", [0, 0xFFFFFFFF, 0xFFFFFFDB, 0xFFFFF000, 0x7FFFFFFF, 0x7FFFF000, 0x7FFFEFFE, 0x7F000000, 0x80000024]
)
def test_size_that_nobody_can_know_has_no_end_and_the_rest_of_the_file_is_the_sound(tmp_path: Path, size: int) -> None:
    content = riff(form(), chunk(b"data", PCM, size))
    assert not read_info(written(tmp_path, content)).ended
    np.testing.assert_array_equal(decoded(tmp_path, content), TONE_S)


@pytest.mark.parametrize("size", [len(PCM) + 2, 2 * len(PCM), 10**9, 3 * 10**9])
def test_size_that_a_file_could_have_is_a_promise(tmp_path: Path, size: int) -> None:
    assert rejected(tmp_path, riff(form(), chunk(b"data", PCM, size))).code == "truncated"


def test_recording_of_nothing_with_metadata_is_empty_and_not_open(tmp_path: Path) -> None:
    assert rejected(tmp_path, riff(form(), chunk(b"data", b""), chunk(b"LIST", bytes(26)))).code == "empty"


def test_sound_that_lies_behind_the_promised_one_is_refused_not_dropped(tmp_path: Path) -> None:
    caught = rejected(tmp_path, riff(form(), chunk(b"data", 10 * PCM, len(PCM))))
    assert (caught.code, f"promises {len(PCM)} bytes" in caught.detail) == ("damaged", True)


@pytest.mark.parametrize(
    "around", [b"\xfe\x01" * 50, bytes(40_000), b"TAG" + b"Title".ljust(125), b"ID3\4\0\0\0\0\0\2ab"]
)
def test_garbage_zeros_and_tags_behind_the_sound_are_passed_over_and_noted(tmp_path: Path, around: bytes) -> None:
    content = riff(form(), chunk(b"data", PCM)) + around
    assert [note.code for note in header(tmp_path, content).notes] == ["bytes-around"]
    np.testing.assert_array_equal(decoded(tmp_path, content), TONE_S)


def test_tag_before_the_sound_is_passed_over_and_noted(tmp_path: Path) -> None:
    content = b"ID3\4\0\0\0\0\1\x0a" + bytes(138) + riff(form(), chunk(b"data", PCM))
    assert [note.code for note in header(tmp_path, content).notes] == ["bytes-around"]
    np.testing.assert_array_equal(decoded(tmp_path, content), TONE_S)


@pytest.mark.parametrize("more", [chunk(b"data", PCM), riff(form(), chunk(b"data", PCM))])
def test_second_sound_in_a_file_is_refused_not_dropped(tmp_path: Path, more: bytes) -> None:
    assert rejected(tmp_path, riff(form(), chunk(b"data", PCM)) + more).code == "chained"


@pytest.mark.parametrize("size", [5, 27, 255])
def test_odd_chunk_without_its_pad_byte_is_read(tmp_path: Path, size: int) -> None:
    guano = b"GUANO|Version: 1.0\nMake: X".ljust(size, b"Y")[:size]
    for chunks in ([chunk(b"guan", guano), form()], [form(), chunk(b"guan", guano), chunk(b"LIST", bytes(26))]):
        content = riff(*chunks, chunk(b"data", PCM))
        assert header(tmp_path, content).notes == ()
        np.testing.assert_array_equal(decoded(tmp_path, content), TONE_S)


@pytest.mark.parametrize("padding", [b"", b"\0"])
def test_odd_sound_with_and_without_its_pad_byte_is_read(tmp_path: Path, padding: bytes) -> None:
    content = riff(form(align=3, bits=24), chunk(b"data", bytes(range(33))) + padding, chunk(b"LIST", bytes(26)))
    assert header(tmp_path, content).frames == 11
    assert header(tmp_path, content).notes == ()


def test_block_align_of_zero_is_that_of_the_bits(tmp_path: Path) -> None:
    np.testing.assert_array_equal(decoded(tmp_path, riff(form(align=0), chunk(b"data", PCM))), TONE_S)


@pytest.mark.parametrize("shift", [0, 8])
def test_24_bits_in_4_bytes_are_read_as_libsndfile_reads_them(tmp_path: Path, shift: int) -> None:
    samples = np.rint(0.3 * 2**23 * np.sin(np.arange(RATE_HZ) / 5)).astype("<i4") << shift
    content = riff(form(align=4, bits=24), chunk(b"data", samples.tobytes()))
    np.testing.assert_array_equal(read_waveform(written(tmp_path, content), RATE_HZ), samples / np.float32(2**31))
    np.testing.assert_array_equal(soundfile.read(io.BytesIO(content))[0], samples / 2**31)


def test_extensible_format_holds_its_coding_in_its_extension(tmp_path: Path) -> None:
    more = struct.pack("<HHIH", 22, 16, 4, 3) + bytes.fromhex("000000001000800000aa00389b71")
    content = riff(form(0xFFFE, align=4, bits=32, more=more), chunk(b"data", (TONE_S / np.float32(32768)).tobytes()))
    np.testing.assert_array_equal(decoded(tmp_path, content), TONE_S)


@pytest.mark.parametrize("magic", [b"RF64", b"BW64"])
@pytest.mark.parametrize(("told", "ended"), [(len(PCM), True), (0, False), (2**64 - 1, False)])
def test_size_of_rf64_lies_in_its_own_chunk(tmp_path: Path, magic: bytes, told: int, ended: bool) -> None:
    sizes = chunk(b"ds64", struct.pack("<QQQI", 0, told, 0, 0))
    content = riff(sizes, form(), chunk(b"data", PCM, 2**32 - 1), magic=magic)
    found = header(tmp_path, content)
    assert (found.frames, found.ended) == (RATE_HZ, ended)
    wrong = riff(chunk(b"ds64", struct.pack("<QQQI", 0, 5000 + len(PCM), 0, 0)), form(), chunk(b"data", PCM, 2**32 - 1))
    assert rejected(tmp_path, wrong).code == "truncated"


def test_mpeg_in_a_wav_file_is_counted_like_any_other(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    soundfile.write(buffer, TONE_S, RATE_HZ, format="MP3")
    content = riff(form(0x55, align=1, bits=0), chunk(b"data", buffer.getvalue()))
    (tmp_path / "clip.mp3").write_bytes(buffer.getvalue())
    waveform = read_waveform(written(tmp_path, content), RATE_HZ)
    np.testing.assert_array_equal(waveform, read_waveform(tmp_path / "clip.mp3", RATE_HZ))


AUDIOMOTH = b"Recorded at 05:20:00 04/09/2019 (UTC) by AudioMoth 24F319055FDF2902 at medium gain while 4.2V."
GUANO = b"GUANO|Version: 1.0\nTimestamp: 2019-09-04T05:20:00+02:00\nSerial: SM4-0077\n"


@pytest.mark.parametrize(
    ("chunks", "comment"),
    [
        ([chunk(b"LIST", b"INFO" + chunk(b"ICMT", AUDIOMOTH + bytes(20))), chunk(b"data", PCM)], AUDIOMOTH),
        ([chunk(b"data", PCM), chunk(b"guan", GUANO)], GUANO),
        ([chunk(b"LIST", b"INFO" + chunk(b"ICMT", AUDIOMOTH)), chunk(b"data", PCM), chunk(b"guan", GUANO)], GUANO),
        ([chunk(b"LIST", b"INFO" + chunk(b"IART", b"AudioMoth ")), chunk(b"data", PCM)], b""),
        ([chunk(b"LIST", b"INFOICMT"), chunk(b"data", PCM)], b""),
        ([chunk(b"LIST", b"INFO" + chunk(b"ICMT", AUDIOMOTH, 2**31)), chunk(b"data", PCM)], AUDIOMOTH),
        ([chunk(b"guan", b"x" * 9_000), chunk(b"data", PCM)], b"x" * 4096),
        ([chunk(b"data", PCM)], b""),
    ],
)
def test_comments_of_recorders_are_read_wherever_they_stand(
    tmp_path: Path, chunks: list[bytes], comment: bytes
) -> None:
    path = written(tmp_path, riff(form(), *chunks))
    info = read_info(path)
    assert (info.comment, info.frames) == (comment.decode(), RATE_HZ)
    assert decoder().info(path) == info
