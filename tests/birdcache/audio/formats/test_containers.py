"""AIFF and Core Audio: read as libsndfile reads what is whole, and checked like WAV."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from birdcache.audio.read import read_info
from birdcache.audio.rejected import RejectedAudio
from tests.fixtures.waveform import read_waveform

RATE_HZ, FRAMES = 32_000, 5001
TONE_SC = 0.3 * np.sin(np.arange(2 * FRAMES) / 5).reshape(FRAMES, 2)
CODINGS = [
    (container, subtype)
    for container in ("AIFF", "CAF")
    for subtype in soundfile.available_subtypes(container)
    if subtype.startswith(("PCM", "FLOAT", "DOUBLE"))
]
SIZES = {"AIFF": (b"SSND", ">I", 8), "CAF": (b"data", ">q", 4)}
"""Where each format has the size of its sound: behind which word, how it is packed, and what else it counts."""


def encoded(container: str, subtype: str = "PCM_16", channels: int = 2, order: str = "FILE") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, TONE_SC[:, :channels], RATE_HZ, format=container, subtype=subtype, endian=order)
    return buffer.getvalue()


def resized(container: str, size: int) -> bytes:
    """A file that says so many bytes of sound."""
    word, form, more = SIZES[container]
    content = bytearray(encoded(container))
    place = content.index(word) + 4
    struct.pack_into(form, content, place, size + more if 0 < size < 2**31 else size)
    if container == "AIFF":  # which also counts samples
        struct.pack_into(">I", content, content.index(b"COMM") + 10, size // 4 if size < 2**31 else size)
    return bytes(content)


def written(tmp_path: Path, content: bytes) -> Path:
    (tmp_path / "clip").write_bytes(content)
    return tmp_path / "clip"


def rejected(tmp_path: Path, content: bytes) -> RejectedAudio:
    with pytest.raises(RejectedAudio) as caught:
        read_waveform(written(tmp_path, content), RATE_HZ)
    return caught.value


@pytest.mark.parametrize(("container", "subtype"), CODINGS)
@pytest.mark.parametrize("channels", [1, 2])
def test_whole_file_is_read_as_libsndfile_reads_it(tmp_path: Path, container: str, subtype: str, channels: int) -> None:
    path = written(tmp_path, encoded(container, subtype, channels))
    info = read_info(path)
    reference = soundfile.read(path, dtype="float32", always_2d=True)[0].mean(axis=1)
    assert (info.frames, info.channels, info.ended, info.notes) == (len(reference), channels, True, ())
    np.testing.assert_array_equal(read_waveform(path, RATE_HZ), reference)


@pytest.mark.parametrize("container", ["AIFF", "CAF"])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32"])
def test_little_endian_samples_are_read(tmp_path: Path, container: str, subtype: str) -> None:
    content = encoded(container, subtype, order="LITTLE")
    reference = soundfile.read(io.BytesIO(content), dtype="float32")[0].mean(axis=1)
    np.testing.assert_array_equal(read_waveform(written(tmp_path, content), RATE_HZ), reference)


@pytest.mark.parametrize("container", SIZES)
@pytest.mark.parametrize("share", [0.001, 0.3, 0.99])
def test_cut_file_is_truncated(tmp_path: Path, container: str, share: float) -> None:
    content = encoded(container)
    assert rejected(tmp_path, content[: int(share * len(content))]).code in ("truncated", "not-audio")
    assert rejected(tmp_path, content[:-8]).code == "truncated"


@pytest.mark.parametrize("container", SIZES)
@pytest.mark.parametrize("size", [0, 2**32 - 1])
def test_sound_of_unknown_size_has_no_end_and_decodes(tmp_path: Path, container: str, size: int) -> None:
    if container == "CAF" and size:
        size = -1
    path = written(tmp_path, resized(container, size))
    assert not read_info(path).ended
    waveform, reference = read_waveform(path, RATE_HZ), read_waveform(written(tmp_path, encoded(container)), RATE_HZ)
    np.testing.assert_array_equal(waveform[:FRAMES], reference)
    assert len(waveform) < FRAMES + 4  # a file's padding is a sample at most


@pytest.mark.parametrize("container", SIZES)
def test_promise_of_more_than_there_is_is_truncated(tmp_path: Path, container: str) -> None:
    assert rejected(tmp_path, resized(container, 4 * FRAMES + 4000)).code == "truncated"


@pytest.mark.parametrize("container", SIZES)
def test_sound_behind_the_promised_one_is_refused_or_noted_by_its_length(tmp_path: Path, container: str) -> None:
    few = read_info(written(tmp_path, resized(container, 4 * (FRAMES - 500))))
    assert [note.code for note in few.notes] == ["bytes-around"]
    tail = np.tile(TONE_SC[:, :1] * 2**15, 30).astype("<i2").tobytes()
    caught = rejected(tmp_path, resized(container, 4 * FRAMES) + tail)
    assert (caught.code, "ffmpeg -ignore_length" in caught.hint) == ("damaged", True)


def test_aiff_that_counts_other_samples_than_it_has_is_noted_or_truncated(tmp_path: Path) -> None:
    content = bytearray(encoded("AIFF"))
    place = content.index(b"COMM") + 10
    struct.pack_into(">I", content, place, FRAMES - 10)
    info = read_info(written(tmp_path, bytes(content)))
    assert (info.frames, [note.code for note in info.notes]) == (FRAMES, ["wrong-length"])
    struct.pack_into(">I", content, place, FRAMES + 10)
    assert rejected(tmp_path, bytes(content)).code == "truncated"


@pytest.mark.parametrize("rate", [b"\x7f\xff" + 8 * b"\xff", 10 * b"\0", 10 * b"\xff", b"\x40\x0d" + 8 * b"\0"])
def test_rates_that_no_recorder_has_are_refused(tmp_path: Path, rate: bytes) -> None:
    content = bytearray(encoded("AIFF"))
    place = content.index(b"COMM") + 16
    content[place : place + 10] = rate
    assert rejected(tmp_path, bytes(content)).code in ("damaged", "wrong-codec")
    content = bytearray(encoded("CAF"))
    for number in (float("nan"), float("inf"), -1.0, 1e300):
        struct.pack_into(">d", content, 20, number)
        assert rejected(tmp_path, bytes(content)).code in ("damaged", "wrong-codec")


@pytest.mark.parametrize(
    ("container", "subtype", "named"),
    [
        ("AIFF", "ULAW", "codec b'ulaw' in an AIFF file"),
        ("AIFF", "IMA_ADPCM", "codec b'ima4' in an AIFF file"),
        ("CAF", "ALAW", "codec b'alaw' in a Core Audio file"),
        ("CAF", "ALAC_16", "codec b'alac' in a Core Audio file"),
        ("AU", "PCM_16", "holds Sun audio"),
        ("W64", "PCM_16", "holds Wave64"),
        ("WAV", "GSM610", "codec 0x0031 in a WAV file"),
        ("WAV", "IMA_ADPCM", "codec 0x0011 in a WAV file"),
        ("WAV", "MS_ADPCM", "codec 0x0002 in a WAV file"),
    ],
)
def test_codings_that_are_not_read_are_named_with_the_way_out(
    tmp_path: Path, container: str, subtype: str, named: str
) -> None:
    caught = rejected(tmp_path, encoded(container, subtype, channels=1))
    assert (caught.code, "ffmpeg -i IN OUT.flac" in caught.hint) == ("wrong-codec", True)
    assert named in caught.detail


def test_sun_audio_of_either_byte_order_is_refused_by_name(tmp_path: Path) -> None:
    assert "holds Sun audio" in rejected(tmp_path, encoded("AU", order="LITTLE")).detail


@pytest.mark.parametrize("suffix", [".opus", ".oga", ".ogg"])
def test_opus_is_read_whatever_its_name(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"clip{suffix}"
    soundfile.write(path.with_suffix(".ogg"), TONE_SC, 48_000, format="OGG", subtype="OPUS")
    path.with_suffix(".ogg").rename(path)
    assert (read_info(path).sample_rate_hz, len(read_waveform(path, 48_000))) == (48_000, FRAMES)
