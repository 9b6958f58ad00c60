"""Ogg files to spoil: written by libsndfile, taken apart into pages, and put together again with right checksums."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable

import numpy as np
import soundfile

from birdcache.audio.formats.ogg_codecs import DECODES_OPUS
from birdcache.audio.formats.ogg_crc import ogg_checksum
from pipeline.synthetic.ogg import with_serial

FLAGS, GRANULE, SERIAL, SEQUENCE, CHECKSUM, SEGMENTS = 5, 6, 14, 18, 22, 26  # where a page has them
LAST = 4


def sound(seconds: float, rate_hz: int, channels: int, subtype: str, seed: int = 1) -> bytes:
    """An Ogg file of chirps in noise; the same bytes for the same arguments."""
    rng = np.random.default_rng(seed)
    time_S = np.arange(round(seconds * rate_hz)) / rate_hz
    chirps_S = 0.2 * np.sin(2 * np.pi * (2000 * time_S + 200 * np.sin(5 * time_S + seed)))
    samples_SC = chirps_S[:, None] + 0.05 * rng.standard_normal((len(time_S), channels))
    buffer = io.BytesIO()
    soundfile.write(buffer, samples_SC, rate_hz, format="OGG", subtype=subtype)
    return with_serial(buffer.getvalue(), seed)


def base_files() -> dict[str, bytes]:
    """Vorbis in mono and stereo, and Opus if libsndfile decodes it here."""
    files = {
        "mono.ogg": sound(1.5, 32_000, 1, "VORBIS"),
        "stereo.ogg": sound(1.2, 44_100, 2, "VORBIS", seed=2),
    }
    return files | ({"opus.ogg": sound(2.0, 48_000, 1, "OPUS", seed=3)} if DECODES_OPUS else {})


def page_ends(ogg: bytes) -> list[int]:
    """Where each page of a good file ends."""
    ends, start = [], 0
    while start < len(ogg):
        body = start + SEGMENTS + 1 + ogg[start + SEGMENTS]
        start = body + sum(ogg[start + SEGMENTS + 1 : body])
        ends.append(start)
    return ends


def pages(ogg: bytes) -> list[bytearray]:
    """The pages of a good file."""
    ends = page_ends(ogg)
    return [bytearray(ogg[start:end]) for start, end in zip([0, *ends], ends, strict=False)]


def joined(parts: Iterable[bytearray]) -> bytes:
    """Pages in a file, with the checksums that they must have."""
    return b"".join(bytes(mended(page)) for page in parts)


def mended(page: bytearray) -> bytearray:
    """The page with the checksum that its other bytes ask for."""
    page = bytearray(page)
    struct.pack_into("<I", page, CHECKSUM, 0)
    struct.pack_into("<I", page, CHECKSUM, ogg_checksum(page))
    return page


def without_page(ogg: bytes, number: int) -> bytes:
    """A file that lacks a page; without its last one (-1) it does not say where it ends."""
    parts = pages(ogg)
    del parts[number]
    return joined(parts)


def is_intact(ogg: bytes) -> bool:
    """Whether a file consists of pages with right checksums: the slow way, to compare the gate with."""
    try:
        parts = pages(ogg)
    except IndexError:
        return False
    return all(len(part) > CHECKSUM + 4 and part[:4] == b"OggS" and mended(part) == part for part in parts) and (
        b"".join(parts) == ogg
    )
