"""Core Audio files: where the sound lies, and its coding. Apple Lossless is in packets, which a table lists.

Source: Apple, Core Audio Format Specification 1.0.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

from birdcache.audio.formats.chunks import Chunks, Grammar
from birdcache.audio.formats.coding import A_LAW, FLOAT, INTEGER, MU_LAW, plain
from birdcache.audio.formats.header import AudioHeader
from birdcache.audio.formats.pieces import Window
from birdcache.audio.rejected import RejectedAudio

GRAMMAR = Grammar(struct.Struct(">4sQ"), 1, b"caff", b"data")
IS_FLOAT, IS_LITTLE = 1, 2
EDITS_BYTES, TABLE_HEAD = 4, struct.Struct(">qqii")  # packets, valid frames, priming and remainder frames
LAWS = {b"ulaw": MU_LAW, b"alaw": A_LAW}
HIGHEST_RATE = 2.0**32


def probe_caf(file: BinaryIO) -> AudioHeader:
    """The header of a Core Audio file, from the file's first byte."""
    window = Window(file)
    chunks = Chunks(window, 8, GRAMMAR)
    rate, codec, flags, unit_bytes, packet_frames, channels, bits = struct.unpack_from(
        ">d4s5I", chunks.content(b"desc", 32)
    )
    rate_hz = round(rate) if 0 < rate < HIGHEST_RATE else 0
    if codec == b"alac":
        return _lossless(chunks, rate_hz, channels, packet_frames)
    if codec != b"lpcm" and codec not in LAWS:
        raise RejectedAudio("wrong-codec", f"holds codec {codec!r} in a Core Audio file")
    kind = LAWS.get(codec, FLOAT if flags & IS_FLOAT else INTEGER)
    coding = plain(rate_hz, channels, kind, bits, unit_bytes, "LITTLE" if flags & IS_LITTLE else "BIG")
    return coding.header(chunks.extent(EDITS_BYTES, coding.second_bytes))


def _lossless(chunks: Chunks, rate_hz: int, channels: int, packet_frames: int) -> AudioHeader:
    """Packets must be as many as their table says, and fill the sound."""
    table = chunks.content(b"pakt", TABLE_HEAD.size)
    packets, frames, *_ = TABLE_HEAD.unpack_from(table)
    sizes = _numbers(table[TABLE_HEAD.size :])
    extent = chunks.extent(EDITS_BYTES, sum(sizes) * rate_hz / max(1, frames))
    if (
        len(sizes) < packets
        or sum(sizes[:packets]) > extent.end - extent.start
        or not 0 <= frames <= packets * packet_frames
    ):
        raise RejectedAudio("damaged", "its packets, their table and its length contradict each other")
    return AudioHeader(rate_hz, channels, frames, ended=extent.ended, notes=extent.notes)


def _numbers(content: bytes) -> list[int]:
    """Numbers of seven bits a byte, each of which but the last has its highest bit set."""
    numbers, number = [], 0
    for byte in content:
        number = number << 7 | byte & 127
        if not byte & 128:
            numbers.append(number)
            number = 0
    return numbers
