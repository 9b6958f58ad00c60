"""The length of an MP3 file, compared with its first frame where the encoder wrote it there (Xing, Info).

Without these numbers the intended length of an MP3 file is unknown. Source: ISO 11172-3, section 2.4.2.3.
"""

from __future__ import annotations

import os
from typing import BinaryIO

from birdcache.audio.formats.header import AudioHeader, check_shape
from birdcache.audio.rejected import RejectedAudio

RATES_HZ = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}  # by version
MPEG1, RESERVED, MONO, FREE_RATE_INDEX, BAD_RATE_INDEX = 3, 1, 3, 3, 15
LOOKED_AT = 4096  # bytes: the first frame's header, its side information and the table behind it
HAS_FRAMES, HAS_BYTES = 1, 2


def is_frame(head: bytes) -> bool:
    """True if these four bytes begin a frame of MPEG audio."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return False
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    return version != RESERVED and layer != 0 and head[2] >> 4 != BAD_RATE_INDEX and head[2] >> 2 & 3 != FREE_RATE_INDEX


def probe_mp3(file: BinaryIO) -> AudioHeader:
    """Look at the first frame, which begins at the file's place.

    Raises
    ------
    RejectedAudio
        truncated, wrong-codec.
    """
    begin = file.tell()
    first = file.read(LOOKED_AT)
    version, is_mono = first[1] >> 3 & 3, first[3] >> 6 == MONO
    rate_hz = RATES_HZ[version][first[2] >> 2 & 3]
    check_shape(rate_hz, 1 if is_mono else 2)
    there = os.fstat(file.fileno()).st_size - begin
    promised = _promised_bytes(first, version, is_mono)
    if promised > there:
        raise RejectedAudio("truncated", f"promises {promised} bytes of sound, but {there} follow")
    return AudioHeader(rate_hz, 1 if is_mono else 2, None, whole=False)


def _promised_bytes(first: bytes, version: int, is_mono: bool) -> int:
    """Bytes from the first frame on, as its encoder has written into it; 0 if it has not."""
    side = (17 if is_mono else 32) if version == MPEG1 else (9 if is_mono else 17)
    table = first[4 + side :]
    if table[:4] not in (b"Xing", b"Info") or len(table) < 16:
        return 0
    flags = int.from_bytes(table[4:8], "big")
    if not flags & HAS_BYTES:
        return 0
    return int.from_bytes(table[12:16] if flags & HAS_FRAMES else table[8:12], "big")
