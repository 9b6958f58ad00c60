"""FLAC: the frames are counted, and what is counted decodes, whatever the header says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from birdcache.audio.formats.flac import CRC8, CRC16, header_of
from birdcache.audio.formats.header import LONGEST_S
from birdcache.audio.read import AudioInfo, read_info, waveform_blocks
from birdcache.audio.rejected import RejectedAudio
from tests.fixtures.mpeg import APE, ID3V1, ID3V2, noisy, with_total, written

RATE_HZ = 32_000
SOUND_S = noisy(1.5, RATE_HZ)[:, 0]
FLAC = written(SOUND_S, RATE_HZ, "FLAC", subtype="PCM_16")
OPEN = with_total(FLAC, 0)
FRAMES = len(SOUND_S)


def heard(tmp_path: Path, content: bytes) -> AudioInfo:
    """Facts, and the samples that were written."""
    path = tmp_path / "clip.flac"
    path.write_bytes(content)
    info = read_info(path)
    samples_S = np.concatenate(list(waveform_blocks(path, None)))
    assert len(samples_S) == info.frames
    np.testing.assert_allclose(samples_S, SOUND_S, atol=2**-15)
    return info


def refused(tmp_path: Path, content: bytes) -> RejectedAudio:
    with pytest.raises(RejectedAudio) as caught:
        heard(tmp_path, content)
    return caught.value


@pytest.mark.parametrize("tag", [b"", ID3V1, APE])
def test_sound_of_unknown_length_is_counted_and_decodes(tmp_path: Path, tag: bytes) -> None:
    info = heard(tmp_path, OPEN + tag)
    assert (info.frames, info.duration_s, info.ended) == (FRAMES, 1.5, False)


@pytest.mark.parametrize("total", [1, FRAMES // 2, FRAMES - 1])
def test_sound_is_read_beyond_a_total_that_is_too_low(tmp_path: Path, total: int) -> None:
    info = heard(tmp_path, with_total(FLAC, total))
    assert info.notes == (("wrong-length", f"its header says {total} samples, and {FRAMES} are there"),)
    assert info.ended


@pytest.mark.parametrize("total", [FRAMES + 1, LONGEST_S * RATE_HZ + 1, 2**36 - 1])
def test_total_that_is_too_high_means_that_samples_are_missing(tmp_path: Path, total: int) -> None:
    assert refused(tmp_path, with_total(FLAC, total)).code == "truncated"


@pytest.mark.parametrize("before", [b"", ID3V2, ID3V2 + ID3V2, bytes(777)])
@pytest.mark.parametrize("behind", [b"", ID3V1, APE + ID3V1, bytes(5000), b"no sound" * 2000])
@pytest.mark.parametrize("flac", [FLAC, OPEN])
def test_bytes_around_the_sound_are_passed_over_and_noted(
    tmp_path: Path, before: bytes, flac: bytes, behind: bytes
) -> None:
    notes = [note.detail for note in heard(tmp_path, before + flac + behind).notes]
    wanted = [(len(before), "before"), (len(behind), "behind")]
    assert notes == [f"{count} bytes {where} its sound" for count, where in wanted if count]


@pytest.mark.parametrize("flac", [FLAC, OPEN])
@pytest.mark.parametrize("cut", [1, 300, 40_000])
def test_cut_file_is_truncated_whether_it_names_its_length_or_not(tmp_path: Path, flac: bytes, cut: int) -> None:
    assert refused(tmp_path, flac[:-cut]).code == "truncated"


def test_lost_frames_are_damage(tmp_path: Path) -> None:
    middle = len(FLAC) // 2
    for flac in (FLAC, OPEN):
        caught = refused(tmp_path, flac[:middle] + flac[middle + 12_000 :])
        assert (caught.code, caught.detail[:25]) == ("damaged", "frames are missing before")


def test_files_joined_to_one_are_chained(tmp_path: Path) -> None:
    assert refused(tmp_path, FLAC + FLAC).code == "chained"


def test_checksums_are_those_of_the_polynomials() -> None:
    assert (CRC8[1], CRC16[1]) == (0x07, 0x8005)
    # 16-bit mono, 44.1 kHz, block of 4096 samples, frame 0: RFC 9639's own header bytes, its checksum by hand
    head = bytes([0xFF, 0xF8, 0xC9, 0x08, 0x00])
    crc = 0
    for byte in head:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 0x07 if crc & 128 else crc << 1) & 255
    found = header_of(head + bytes([crc]) + bytes(9), 1)
    assert found is not None
    assert (found.number, found.samples) == (0, 4096)
    assert header_of(head + bytes([crc ^ 1]) + bytes(9), 1) is None
