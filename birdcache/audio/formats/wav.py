"""The length of a WAV file, compared with its header; libsndfile does not. RIFF, RIFX (big-endian) and RF64.

Sources: Multimedia Programming Interface and Data Specifications 1.0 (1991); EBU Tech 3306 (RF64).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

from birdcache.audio.formats.header import AudioHeader, check_length, check_shape
from birdcache.audio.formats.pieces import size_of
from birdcache.audio.rejected import RejectedAudio

PLAIN = {1: "PCM", 3: "float", 6: "A-law", 7: "mu-law"}  # a sample is a fixed number of bytes
BLOCKWISE = {2: "MS ADPCM", 0x11: "IMA ADPCM"}
EXTENSIBLE = 0xFFFE
OPEN_BYTES = 0x7FFFFF00  # streaming writers put a number from here up, since they do not know the length yet
MOST_CHUNKS = 1000


@dataclass(frozen=True)
class _Format:
    tag: int
    channels: int
    sample_rate_hz: int
    frame_bytes: int


def probe_wav(file: BinaryIO) -> AudioHeader:
    """Walk the chunks of a WAV file up to its sound, which must be there whole.

    Raises
    ------
    RejectedAudio
        truncated, damaged, wrong-codec, empty or too-long.
    """
    order = ">" if file.read(12)[:4] == b"RIFX" else "<"
    form, long_bytes = None, None
    for _ in range(MOST_CHUNKS):
        name, size = struct.unpack(order + "4sI", _read(file, 8))
        if name == b"data":
            return _promise(form, size if long_bytes is None else long_bytes, file)
        begin = file.tell()
        if name == b"fmt ":
            form = _format(_read(file, min(size, 40)), order)
        elif name == b"ds64":
            (long_bytes,) = struct.unpack("<8xQ", _read(file, 16))
        file.seek(begin + size + size % 2)
    raise RejectedAudio("damaged", f"has {MOST_CHUNKS} chunks and still no sound")


def _read(file: BinaryIO, size: int) -> bytes:
    content = file.read(size)
    if len(content) < size:
        raise RejectedAudio("truncated", "ends before its sound begins")
    return content


def _format(content: bytes, order: str) -> _Format:
    if len(content) < 16:
        raise RejectedAudio("damaged", f"its format takes {len(content)} bytes, less than 16")
    tag, channels, rate_hz, _, frame_bytes, bits = struct.unpack_from(order + "HHIIHH", content)
    if tag == EXTENSIBLE and len(content) >= 26:
        (tag,) = struct.unpack_from(order + "H", content, 24)
    if tag not in PLAIN and tag not in BLOCKWISE:
        raise RejectedAudio("wrong-codec", f"holds codec {tag:#06x} in a WAV file")
    check_shape(rate_hz, channels)
    if tag in PLAIN and (bits == 0 or frame_bytes != channels * -(-bits // 8)):
        raise RejectedAudio("damaged", f"{channels} channels of {bits} bits do not make {frame_bytes} bytes")
    return _Format(tag, channels, rate_hz, frame_bytes)


def _promise(form: _Format | None, size: int, file: BinaryIO) -> AudioHeader:
    if form is None:
        raise RejectedAudio("damaged", "its sound begins before its format")
    there = size_of(file) - file.tell()
    if there == 0 or (size == 0 and there < form.frame_bytes):
        raise RejectedAudio("empty" if size == 0 else "truncated", "holds no samples")
    if size == 0:
        raise RejectedAudio(
            "truncated",
            f"promises 0 bytes of sound, and {there} follow: its recorder did not finish it",
            "repair its header (most audio editors can) or remove it",
        )
    is_open = size >= OPEN_BYTES and size > there
    if size > there and not is_open:
        raise RejectedAudio("truncated", f"promises {size} bytes of sound, but {there} follow")
    if is_open or form.tag in BLOCKWISE:
        return AudioHeader(form.sample_rate_hz, form.channels, None, whole=True, ended=not is_open)
    check_length(size // form.frame_bytes, form.sample_rate_hz)
    return AudioHeader(form.sample_rate_hz, form.channels, size // form.frame_bytes, whole=True)
