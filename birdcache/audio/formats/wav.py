"""WAV (RIFF, big-endian RIFX, and RF64 or BW64 for more than 4 GiB) and Wave64: where the sound lies, and its coding.

Sources: Multimedia Programming Interface and Data Specifications 1.0 (1991); EBU Tech 3306 (RF64); Sony's Wave64.
"""

import struct
from collections.abc import Callable
from dataclasses import replace
from typing import BinaryIO

from birdcache.audio.formats.chunks import Chunks, Grammar, is_open
from birdcache.audio.formats.coding import A_LAW, FLOAT, MU_LAW, UNSIGNED, Coding, plain
from birdcache.audio.formats.header import AudioHeader, check_shape
from birdcache.audio.formats.mp3 import probe_mp3
from birdcache.audio.formats.pieces import Window
from birdcache.audio.rejected import RejectedAudio

PLAIN = {1: UNSIGNED, 3: FLOAT, 6: A_LAW, 7: MU_LAW}
MOST_COMMENT = 4096  # bytes
EXTENSIBLE, MPEG = 0xFFFE, (0x50, 0x55)
BLOCKWISE: dict[int, Callable[[int, int], int]] = {  # samples of each channel in a block of so many bytes
    0x02: lambda size, channels: 2 * (size // channels - 7) + 2,  # MS ADPCM
    0x11: lambda size, channels: 2 * (size // channels - 4) + 1,  # IMA ADPCM
}
W64 = struct.Struct("<16sQ")
W64_MAGIC = bytes.fromhex("726966662e91cf11a5d628db04c10000")
W64_TAIL = bytes.fromhex("f3acd3118cd100c04f8edb8a")


def probe_wav(file: BinaryIO) -> AudioHeader:
    """The header of a WAV file, from the file's first byte."""
    window = Window(file)
    magic = window(0, 4)
    head = struct.Struct(">4sI") if magic == b"RIFX" else struct.Struct("<4sI")
    chunks = Chunks(window, 12, Grammar(head, 2, magic, b"data"))
    return replace(_header(file, chunks, head.format[0], b"fmt ", b"fact"), comment=_comment(chunks))


def probe_w64(file: BinaryIO) -> AudioHeader:
    """The header of a Wave64 file, from the file's first byte."""
    window = Window(file)
    grammar = Grammar(W64, 8, W64_MAGIC, b"data" + W64_TAIL, counted=24)
    return _header(file, Chunks(window, 40, grammar), "<", b"fmt " + W64_TAIL, b"fact" + W64_TAIL)


def _comment(chunks: Chunks) -> str:
    """GUANO's lines, or the comment that AudioMoth writes among the tags; "" without either."""
    if chunks.has(b"guan"):
        text = chunks.content(b"guan", 0)
    else:
        _, _, rest = chunks.content(b"LIST", 0).partition(b"ICMT") if chunks.has(b"LIST") else (b"", b"", b"")
        text = rest[4 : 4 + int.from_bytes(rest[:4], "little")]
    return text[:MOST_COMMENT].partition(b"\0")[0].decode("utf-8", "replace")


def _header(file: BinaryIO, chunks: Chunks, order: str, form_name: bytes, fact_name: bytes) -> AudioHeader:
    form = chunks.content(form_name, 16)[:64]
    tag, channels, rate_hz, _, unit_bytes, bits = struct.unpack_from(order + "HHIIHH", form)
    if tag == EXTENSIBLE and len(form) >= 26:
        (tag,) = struct.unpack_from(order + "H", form, 24)
    if tag in MPEG:
        extent = chunks.extent(0, rate_hz * channels)
        return probe_mp3(file, extent.start)
    if tag in PLAIN:
        coding = plain(rate_hz, channels, PLAIN[tag], bits, unit_bytes, "BIG" if order == ">" else "LITTLE")
        return coding.header(chunks.extent(0, coding.second_bytes))
    frames = BLOCKWISE[tag](unit_bytes, max(1, channels)) if tag in BLOCKWISE and order == "<" else 0
    check_shape(rate_hz, channels)
    if frames <= 0:
        raise RejectedAudio("wrong-codec", f"holds codec {tag:#06x}, in blocks of {unit_bytes} bytes, in a WAV file")
    coding = Coding(rate_hz, channels, unit_bytes, frames, lead=lambda size: _lead(form, size))
    told = int.from_bytes(chunks.content(fact_name, 4)[:4], "little") if chunks.has(fact_name) else 0
    return coding.header(chunks.extent(0, coding.second_bytes), 0 if is_open(told) else told)


def _lead(form: bytes, size: int) -> bytes:
    """A Wave64 header: libsndfile pads odd sizes in WAV, and reads a block too many."""
    padded = form + bytes(-len(form) % 8)
    start = b"wave" + W64_TAIL + W64.pack(b"fmt " + W64_TAIL, 24 + len(form)) + padded
    start += W64.pack(b"data" + W64_TAIL, 24 + size)
    return W64.pack(W64_MAGIC, 24 + len(start) + size) + start
