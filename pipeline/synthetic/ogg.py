"""Ogg Vorbis files whose bytes depend on nothing but the waveform."""

import io
import struct
from typing import Any

import soundfile

from birdcache.audio.formats.ogg_crc import ogg_checksum
from pipeline.synthetic.syllables import Waveform

SERIAL = 1


def ogg_vorbis(waveform: Waveform, sample_rate_hz: int, **style: Any) -> bytes:
    """A waveform, (S,) float32 within +-1, as mono Vorbis; `style` goes to soundfile.SoundFile."""
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", sample_rate_hz, 1, format="OGG", subtype="VORBIS", **style) as file:
        for start in range(0, len(waveform), sample_rate_hz):  # libsndfile overflows its stack on one long write
            file.write(waveform[start : start + sample_rate_hz])
    return with_serial(buffer.getvalue(), SERIAL)


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
