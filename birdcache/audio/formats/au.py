"""Sun audio (.au, .snd), big-endian or little-endian: where the sound lies, and its coding.

Source: Oracle, audio/basic and the manual page au(4).
"""

from __future__ import annotations

import struct
from typing import BinaryIO

from birdcache.audio.formats.chunks import extent_of
from birdcache.audio.formats.coding import A_LAW, FLOAT, INTEGER, MU_LAW, plain
from birdcache.audio.formats.header import AudioHeader
from birdcache.audio.formats.pieces import Window
from birdcache.audio.rejected import RejectedAudio

LITTLE = b"dns."
HEAD_BYTES = 24
CODINGS = {
    **{1: (MU_LAW, 8), 2: (INTEGER, 8), 3: (INTEGER, 16), 4: (INTEGER, 24), 5: (INTEGER, 32)},
    **{6: (FLOAT, 32), 7: (FLOAT, 64), 27: (A_LAW, 8)},
}


def probe_au(file: BinaryIO) -> AudioHeader:
    """The header of a Sun audio file, from the file's first byte."""
    window = Window(file)
    head = window(0, HEAD_BYTES)
    if len(head) < HEAD_BYTES:
        raise RejectedAudio("truncated", "ends before its sound begins")
    order = "LITTLE" if head.startswith(LITTLE) else "BIG"
    start, size, codec, rate_hz, channels = struct.unpack_from(("<" if order == "LITTLE" else ">") + "5I", head, 4)
    if codec not in CODINGS:
        raise RejectedAudio("wrong-codec", f"holds codec {codec} in a Sun audio file")
    coding = plain(rate_hz, channels, *CODINGS[codec], order=order)
    extent = extent_of(window, max(start, HEAD_BYTES), size, coding.second_bytes, lambda end: end)
    return coding.header(extent)
