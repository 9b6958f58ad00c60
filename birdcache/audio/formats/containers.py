"""AIFF and AIFF-C, Core Audio, and Sun audio (.au, .snd): where the sound lies, and its coding.

Apple Lossless in Core Audio is in packets, which a table lists. Sources: Apple, Audio Interchange File Format 1.3
(1989), AIFF-C (1991), with the codings that QuickTime added, and Core Audio Format Specification 1.0; Oracle,
audio/basic and the manual page au(4).
"""

import struct
from typing import BinaryIO

from birdcache.audio.formats.chunks import Chunks, Grammar, extent_of, is_open
from birdcache.audio.formats.coding import A_LAW, FLOAT, INTEGER, MU_LAW, UNSIGNED, Coding, plain
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
    **dict.fromkeys((b"ulaw", b"ULAW"), (MU_LAW, 8, "BIG")),
    **dict.fromkeys((b"alaw", b"ALAW"), (A_LAW, 8, "BIG")),
}
IMA, IMA_BYTES, IMA_FRAMES = b"ima4", 34, 64  # a block of one channel
CAF = Grammar(struct.Struct(">4sQ"), 1, b"caff", b"data")
CAF_LAWS = {b"ulaw": MU_LAW, b"alaw": A_LAW}
IS_FLOAT, IS_LITTLE = 1, 2
EDITS_BYTES, TABLE_HEAD = 4, struct.Struct(">qqii")  # packets, valid frames, priming and remainder frames
HIGHEST_RATE = 2.0**32
AU_LITTLE, AU_HEAD_BYTES = b"dns.", 24
AU_CODINGS = {
    **{1: (MU_LAW, 8), 2: (INTEGER, 8), 3: (INTEGER, 16), 4: (INTEGER, 24), 5: (INTEGER, 32)},
    **{6: (FLOAT, 32), 7: (FLOAT, 64), 27: (A_LAW, 8)},
}


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
    coding = _aiff_coding(common[18:22] if is_coded else b"NONE", rate_hz, channels, bits, common)
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


def _aiff_coding(name: bytes, rate_hz: int, channels: int, bits: int, common: bytes) -> Coding:
    if name == IMA:
        start = b"AIFC" + AIFF.head.pack(b"COMM", len(common)) + common + bytes(len(common) % 2)
        return Coding(rate_hz, channels, IMA_BYTES * channels, IMA_FRAMES, lead=lambda size: _aiff_lead(start, size))
    if name not in AIFF_CODINGS:
        raise RejectedAudio("wrong-codec", f"holds codec {name!r} in an AIFF file")
    kind, own_bits, order = AIFF_CODINGS[name]
    return plain(rate_hz, channels, kind, own_bits or bits, order=order)


def _aiff_lead(start: bytes, size: int) -> bytes:
    sound = AIFF.head.pack(b"SSND", size + 8) + bytes(8)
    return AIFF.head.pack(b"FORM", len(start) + len(sound) + size) + start + sound


def probe_caf(file: BinaryIO) -> AudioHeader:
    """The header of a Core Audio file, from the file's first byte."""
    chunks = Chunks(Window(file), 8, CAF)
    description = chunks.content(b"desc", 32)
    rate, codec, flags, unit_bytes, packet_frames, channels, bits = struct.unpack_from(">d4s5I", description)
    rate_hz = round(rate) if 0 < rate < HIGHEST_RATE else 0
    if codec == b"alac":
        return _lossless(chunks, rate_hz, channels, packet_frames)
    if codec != b"lpcm" and codec not in CAF_LAWS:
        raise RejectedAudio("wrong-codec", f"holds codec {codec!r} in a Core Audio file")
    kind = CAF_LAWS.get(codec, FLOAT if flags & IS_FLOAT else INTEGER)
    coding = plain(rate_hz, channels, kind, bits, unit_bytes, "LITTLE" if flags & IS_LITTLE else "BIG")
    return coding.header(chunks.extent(EDITS_BYTES, coding.second_bytes))


def _lossless(chunks: Chunks, rate_hz: int, channels: int, packet_frames: int) -> AudioHeader:
    """Packets must be as many as their table says, and fill the sound."""
    table = chunks.content(b"pakt", TABLE_HEAD.size)
    packets, frames, *_ = TABLE_HEAD.unpack_from(table)
    sizes = _numbers(table[TABLE_HEAD.size :])
    extent = chunks.extent(EDITS_BYTES, sum(sizes) * rate_hz / max(1, frames))
    is_cut = len(sizes) < packets or sum(sizes[:packets]) > extent.end - extent.start
    if is_cut or not 0 <= frames <= packets * packet_frames:
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


def probe_au(file: BinaryIO) -> AudioHeader:
    """The header of a Sun audio file, from the file's first byte."""
    window = Window(file)
    head = window(0, AU_HEAD_BYTES)
    if len(head) < AU_HEAD_BYTES:
        raise RejectedAudio("truncated", "ends before its sound begins")
    order = "LITTLE" if head.startswith(AU_LITTLE) else "BIG"
    start, size, codec, rate_hz, channels = struct.unpack_from(("<" if order == "LITTLE" else ">") + "5I", head, 4)
    if codec not in AU_CODINGS:
        raise RejectedAudio("wrong-codec", f"holds codec {codec} in a Sun audio file")
    coding = plain(rate_hz, channels, *AU_CODINGS[codec], order=order)
    extent = extent_of(window, max(start, AU_HEAD_BYTES), size, coding.second_bytes, lambda end: end)
    return coding.header(extent)
