"""AIFF, AIFF-C and Core Audio with plain samples: where the sound lies, and its coding.

Sources: Apple, Audio Interchange File Format 1.3 (1989), AIFF-C (1991), with the codings that QuickTime added, and Core
Audio Format Specification 1.0.
"""

import struct
from typing import BinaryIO

from birdcache.audio.formats.chunks import Chunks, Grammar, is_open
from birdcache.audio.formats.coding import FLOAT, INTEGER, UNSIGNED, plain
from birdcache.audio.formats.header import AudioHeader, check_shape
from birdcache.audio.formats.pieces import Window
from birdcache.audio.rejected import RejectedAudio

AIFF = Grammar(struct.Struct(">4sI"), 2, b"FORM", b"SSND")
AIFF_CODINGS = {  # kind, bits if the coding decides them, order
    **dict.fromkeys((b"NONE", b"twos"), (INTEGER, 0, "BIG")),
    **dict.fromkeys((b"sowt", b"SWOT"), (INTEGER, 0, "LITTLE")),
    b"raw ": (UNSIGNED, 0, "BIG"),
    **{b"in24": (INTEGER, 24, "BIG"), b"42n1": (INTEGER, 24, "LITTLE")},
    **{b"in32": (INTEGER, 32, "BIG"), b"23ni": (INTEGER, 32, "LITTLE")},
    **dict.fromkeys((b"fl32", b"FL32"), (FLOAT, 32, "BIG")),
    **dict.fromkeys((b"fl64", b"FL64"), (FLOAT, 64, "BIG")),
}
CAF = Grammar(struct.Struct(">4sQ"), 1, b"caff", b"data")
IS_FLOAT, IS_LITTLE = 1, 2
EDITS_BYTES = 4  # in front of the sound
HIGHEST_RATE = 2.0**32


def probe_aiff(file: BinaryIO) -> AudioHeader:
    """The header of an AIFF file, from the file's first byte."""
    window = Window(file)
    is_coded = window(8, 4) == b"AIFC"
    chunks = Chunks(window, 12, AIFF)
    common = chunks.content(b"COMM", 22 if is_coded else 18)
    channels, told, bits, power, mantissa = struct.unpack_from(">HIHHQ", common)
    shift = 16383 + 63 - (power & 0x7FFF)
    rate_hz = round(mantissa / 2**shift) if 0 <= shift < 64 else 0
    check_shape(rate_hz, channels)
    name = common[18:22] if is_coded else b"NONE"
    if name not in AIFF_CODINGS:
        raise RejectedAudio("wrong-codec", f"holds codec {name!r} in an AIFF file")
    kind, own_bits, order = AIFF_CODINGS[name]
    coding = plain(rate_hz, channels, kind, own_bits or bits, order=order)
    skipped = int.from_bytes(window(chunks.place(b"SSND"), 4), "big")
    extent = chunks.extent(8 + skipped, coding.second_bytes)
    frames = (extent.end - extent.start) // coding.unit_bytes
    if is_open(told) or is_open(told * coding.unit_bytes):
        told = 0
    if told > frames:
        raise RejectedAudio("truncated", f"promises {told} samples, but {frames} follow")
    return coding.header(extent, told)


def probe_caf(file: BinaryIO) -> AudioHeader:
    """The header of a Core Audio file, from the file's first byte."""
    chunks = Chunks(Window(file), 8, CAF)
    description = chunks.content(b"desc", 32)
    rate, codec, flags, unit_bytes, _, channels, bits = struct.unpack_from(">d4s5I", description)
    rate_hz = round(rate) if 0 < rate < HIGHEST_RATE else 0
    if codec != b"lpcm":
        raise RejectedAudio("wrong-codec", f"holds codec {codec!r} in a Core Audio file")
    kind = FLOAT if flags & IS_FLOAT else INTEGER
    coding = plain(rate_hz, channels, kind, bits, unit_bytes, "LITTLE" if flags & IS_LITTLE else "BIG")
    return coding.header(chunks.extent(EDITS_BYTES, coding.second_bytes))
