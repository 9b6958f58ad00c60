"""WAV (RIFF, big-endian RIFX, and RF64 or BW64 for more than 4 GiB): where the sound lies, and its coding.

Sources: Multimedia Programming Interface and Data Specifications 1.0 (1991); EBU Tech 3306 (RF64).
"""

import struct
from dataclasses import replace
from typing import BinaryIO

from birdcache.audio.formats.chunks import Chunks, Grammar
from birdcache.audio.formats.coding import A_LAW, FLOAT, MU_LAW, UNSIGNED, plain
from birdcache.audio.formats.header import AudioHeader
from birdcache.audio.formats.mp3 import probe_mp3
from birdcache.audio.formats.pieces import Window
from birdcache.audio.rejected import RejectedAudio

PLAIN = {1: UNSIGNED, 3: FLOAT, 6: A_LAW, 7: MU_LAW}
MOST_COMMENT = 4096  # bytes
EXTENSIBLE, MPEG = 0xFFFE, (0x50, 0x55)


def probe_wav(file: BinaryIO) -> AudioHeader:
    """The header of a WAV file, from the file's first byte."""
    window = Window(file)
    magic = window(0, 4)
    order = ">" if magic == b"RIFX" else "<"
    chunks = Chunks(window, 12, Grammar(struct.Struct(f"{order}4sI"), 2, magic, b"data"))
    return replace(_header(file, chunks, order), comment=_comment(chunks))


def _comment(chunks: Chunks) -> str:
    """GUANO's lines, or the comment that AudioMoth writes among the tags; "" without either."""
    if chunks.has(b"guan"):
        text = chunks.content(b"guan", 0)
    else:
        _, _, rest = chunks.content(b"LIST", 0).partition(b"ICMT") if chunks.has(b"LIST") else (b"", b"", b"")
        text = rest[4 : 4 + int.from_bytes(rest[:4], "little")]
    return text[:MOST_COMMENT].partition(b"\0")[0].decode("utf-8", "replace")


def _header(file: BinaryIO, chunks: Chunks, order: str) -> AudioHeader:
    form = chunks.content(b"fmt ", 16)
    tag, channels, rate_hz, _, unit_bytes, bits = struct.unpack_from(order + "HHIIHH", form)
    if tag == EXTENSIBLE and len(form) >= 26:
        (tag,) = struct.unpack_from(order + "H", form, 24)
    if tag in MPEG:
        return probe_mp3(file, chunks.extent(0, rate_hz * channels).start)
    if tag not in PLAIN:
        raise RejectedAudio("wrong-codec", f"holds codec {tag:#06x} in a WAV file")
    coding = plain(rate_hz, channels, PLAIN[tag], bits, unit_bytes, "BIG" if order == ">" else "LITTLE")
    return coding.header(chunks.extent(0, coding.second_bytes))
