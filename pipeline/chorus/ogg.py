"""Ogg Vorbis files whose bytes depend on nothing but the waveform."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import soundfile

from pipeline.chorus.notes import SAMPLE_RATE_HZ, Waveform

SERIAL = 1
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def write_ogg(path: Path, waveform: Waveform) -> None:
    """Write a waveform, (S,) float32 within +-1, as mono Vorbis at SAMPLE_RATE_HZ.

    Raises
    ------
    OSError
        If `path` cannot be written.
    """
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", SAMPLE_RATE_HZ, 1, format="OGG", subtype="VORBIS") as file:
        for start in range(0, len(waveform), SAMPLE_RATE_HZ):  # libsndfile overflows its stack on one long write
            file.write(waveform[start : start + SAMPLE_RATE_HZ])
    path.write_bytes(with_serial(buffer.getvalue(), SERIAL))


def with_serial(ogg: bytes, serial: int) -> bytes:
    """The same Ogg stream under another serial number, which libsndfile draws by the clock.

    A page: 26 bytes of header (serial number at 14, checksum at 22), the number of segments, their lengths, the
    segments. The checksum is taken over the page with zeros in its own place. Source: RFC 3533, section 6.
    """
    pages = bytearray(ogg)
    start = 0
    while start < len(pages):
        lengths = start + 27
        segments = pages[start + 26]
        end = lengths + segments + sum(pages[lengths : lengths + segments])
        struct.pack_into("<I", pages, start + 14, serial)
        struct.pack_into("<I", pages, start + 22, 0)
        struct.pack_into("<I", pages, start + 22, ogg_checksum(pages[start:end]))
        start = end
    return bytes(pages)


def ogg_checksum(page: bytes | bytearray) -> int:
    """CRC-32 as Ogg has it: polynomial 0x04c11db7, highest bit first, starting at zero, not inverted.

    zlib has the same polynomial lowest bit first, starting at and inverted by 0xffffffff; so each byte goes in
    mirrored, and the sum comes out mirrored.
    """
    mirrored = zlib.crc32(page.translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)
