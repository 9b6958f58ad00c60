"""AIFF and AIFF-C: where the sound lies, and its coding.

Sources: Apple, Audio Interchange File Format 1.3 (1989), and AIFF-C (1991), with the codings that QuickTime added.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

from birdcache.audio.formats.chunks import Chunks, Grammar, is_open
from birdcache.audio.formats.coding import A_LAW, FLOAT, INTEGER, MU_LAW, UNSIGNED, Coding, plain
from birdcache.audio.formats.header import AudioHeader, check_shape
from birdcache.audio.formats.pieces import Window
from birdcache.audio.rejected import RejectedAudio

GRAMMAR = Grammar(struct.Struct(">4sI"), 2, b"FORM", b"SSND")
IMA, IMA_BYTES, IMA_FRAMES = b"ima4", 34, 64  # a block of one channel
CODINGS = {  # kind, bits if the coding decides them, order
    **dict.fromkeys((b"NONE", b"twos"), (INTEGER, 0, "BIG")),
    **dict.fromkeys((b"sowt", b"SWOT"), (INTEGER, 0, "LITTLE")),
    b"raw ": (UNSIGNED, 0, "BIG"),
    **{b"in24": (INTEGER, 24, "BIG"), b"42n1": (INTEGER, 24, "LITTLE")},
    **{b"in32": (INTEGER, 32, "BIG"), b"23ni": (INTEGER, 32, "LITTLE")},
    **dict.fromkeys((b"fl32", b"FL32"), (FLOAT, 32, "BIG")),
    **dict.fromkeys((b"fl64", b"FL64"), (FLOAT, 64, "BIG")),
    **dict.fromkeys((b"ulaw", b"ULAW"), (MU_LAW, 8, "BIG")),
    **dict.fromkeys((b"alaw", b"ALAW"), (A_LAW, 8, "BIG")),
}


def probe_aiff(file: BinaryIO) -> AudioHeader:
    """The header of an AIFF file, from the file's first byte."""
    window = Window(file)
    is_coded = window(8, 4) == b"AIFC"
    chunks = Chunks(window, 12, GRAMMAR)
    common = chunks.content(b"COMM", 22 if is_coded else 18)
    channels, told, bits, power, mantissa = struct.unpack_from(">HIHHQ", common)
    shift = 16383 + 63 - (power & 0x7FFF)
    rate_hz = round(mantissa / 2**shift) if 0 <= shift < 64 else 0
    check_shape(rate_hz, channels)
    coding = _coding(common[18:22] if is_coded else b"NONE", rate_hz, channels, bits, common)
    skipped = int.from_bytes(window(chunks.place(b"SSND"), 4), "big")
    extent = chunks.extent(8 + skipped, coding.second_bytes)
    units = (extent.end - extent.start) // coding.unit_bytes
    if told == units:  # blocks are counted as blocks or as samples
        told *= coding.unit_frames
    if is_open(told) or is_open(told * coding.unit_bytes):
        told = 0
    if told > units * coding.unit_frames:
        raise RejectedAudio("truncated", f"promises {told} samples, but {units * coding.unit_frames} follow")
    return coding.header(extent, told)


def _coding(name: bytes, rate_hz: int, channels: int, bits: int, common: bytes) -> Coding:
    if name == IMA:
        start = b"AIFC" + GRAMMAR.head.pack(b"COMM", len(common)) + common + bytes(len(common) % 2)
        return Coding(rate_hz, channels, IMA_BYTES * channels, IMA_FRAMES, lead=lambda size: _lead(start, size))
    if name not in CODINGS:
        raise RejectedAudio("wrong-codec", f"holds codec {name!r} in an AIFF file")
    kind, own_bits, order = CODINGS[name]
    return plain(rate_hz, channels, kind, own_bits or bits, order=order)


def _lead(start: bytes, size: int) -> bytes:
    sound = GRAMMAR.head.pack(b"SSND", size + 8) + bytes(8)
    return GRAMMAR.head.pack(b"FORM", len(start) + len(sound) + size) + start + sound
