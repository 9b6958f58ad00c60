"""FLAC files, counted frame by frame: the total in their header is left open by writers to a pipe, and may be wrong.

A frame is known by its number and the checksum of its header; checksums of whole frames the decoder compares. Source:
RFC 9639, sections 8 and 9.
"""

import re
from collections.abc import Iterator
from functools import reduce
from typing import BinaryIO, NamedTuple

from birdcache.audio.formats.header import AudioHeader, check_shape
from birdcache.audio.formats.pieces import BLOCK_BYTES, Reading, Window
from birdcache.audio.formats.tags import before_tags
from birdcache.audio.notes import Note
from birdcache.audio.rejected import RejectedAudio

STREAM_INFO, STREAM_INFO_BYTES = 0, 34
NAME_BYTES = HEAD_BYTES = 4
TOTAL = 2**36 - 1  # the bits of the number of samples
SYNC = re.compile(rb"\xff[\xf8\xf9]")
NAME = b"fLaC"
HEADER_BYTES = 16  # of the longest header
LONGEST_FRAME = 2**21
BLOCK_SIZES = {1: 192, **{code: 144 << code for code in range(2, 6)}, **{code: 1 << code for code in range(8, 16)}}
SIZE_BYTES, RATE_BYTES = {6: 1, 7: 2}, {12: 1, 13: 2, 14: 2}  # by code: such numbers stand behind the header


def probe_flac(file: BinaryIO) -> AudioHeader:
    """Walk the metadata and the frames of a FLAC file, from its first byte."""
    window = Window(file)
    head, info = window(NAME_BYTES, HEAD_BYTES), window(NAME_BYTES + HEAD_BYTES, STREAM_INFO_BYTES)
    if len(head) == HEAD_BYTES and (head[0] & 127, int.from_bytes(head[1:], "big")) != (STREAM_INFO, STREAM_INFO_BYTES):
        raise RejectedAudio("damaged", "its metadata does not begin with STREAMINFO")
    if len(info) < STREAM_INFO_BYTES:
        raise RejectedAudio("truncated", "ends within its metadata")
    packed = int.from_bytes(info[10:18], "big")  # rate 20 bits, channels - 1 3 bits, bits - 1 5 bits, samples 36 bits
    rate_hz, channels, total = packed >> 44, (packed >> 41 & 7) + 1, packed & TOTAL
    check_shape(rate_hz, channels)
    walk = FlacWalk(window, _behind_metadata(window), channels)
    if walk.frames < total:
        raise RejectedAudio("truncated", f"promises {total} samples, but {walk.frames} are there")
    notes, reading = [], None
    if walk.behind:
        notes.append(Note("bytes-around", f"{walk.behind} bytes behind its sound"))
    if walk.frames != total:
        known = (packed & ~TOTAL | walk.frames & TOTAL).to_bytes(8, "big")
        lead = window(0, NAME_BYTES + HEAD_BYTES) + info[:10] + known + info[18:]
        reading = Reading(((len(lead), window.size),), lead)
    if walk.frames != total > 0:
        notes.append(Note("wrong-length", f"its header says {total} samples, and {walk.frames} are there"))
    return AudioHeader(rate_hz, channels, walk.frames, total > 0, tuple(notes), reading)


def _behind_metadata(window: Window) -> int:
    """The place where the first frame must begin."""
    place, is_last = NAME_BYTES, False
    while not is_last:
        head = window(place, HEAD_BYTES)
        if len(head) < HEAD_BYTES:
            raise RejectedAudio("truncated", "ends within its metadata")
        is_last = bool(head[0] & 128)
        place += HEAD_BYTES + int.from_bytes(head[1:], "big")
    if place >= window.size:
        raise RejectedAudio("truncated", "ends before its first sound")
    return place


def _table(polynomial: int, bits: int) -> tuple[int, ...]:
    sums = []
    for byte in range(256):
        crc = byte << bits - 8
        for _ in range(8):
            crc = crc << 1 ^ (polynomial if crc >> bits - 1 else 0)
            crc &= (1 << bits) - 1
        sums.append(crc)
    return tuple(sums)


CRC8, CRC16 = _table(0x07, 8), _table(0x8005, 16)


class FrameHeader(NamedTuple):
    """The shape that all frames share, the number of this one (or its first sample if blocks vary), and its samples."""

    shape: tuple[int, int, int, int]
    number: int
    samples: int


class FlacWalk:
    """All frames of a stream.

    Attributes
    ----------
    frames : samples of each channel.
    behind : bytes behind the last frame.
    """

    def __init__(self, window: Window, place: int, channels: int) -> None:
        """Walk from `place` on."""
        self._window, self._channels, self._end = window, channels, before_tags(window)
        self.frames, self._count, self._last = 0, 0, place
        self._shape: tuple[int, int, int, int] | None = None
        for at, header in self._headers(place):
            if header.number == (self.frames if header.shape[0] & 1 else self._count):
                self._shape = self._shape or header.shape
                self._last, self._count, self.frames = at, self._count + 1, self.frames + header.samples
        end = self._last_end()
        self.behind = window.size - end
        if NAME in window(end, BLOCK_BYTES):
            raise RejectedAudio("chained", f"another stream begins behind byte {end}, where its sound ends")

    def _headers(self, place: int) -> Iterator[tuple[int, FrameHeader]]:
        """All that looks like a header of a frame of this stream, with its place."""
        while place < self._end:
            block = self._window(place, BLOCK_BYTES)
            for match in SYNC.finditer(block):
                at = place + match.start()
                header = header_of(block[match.start() : match.start() + HEADER_BYTES], self._channels)
                if header is not None and self._shape in (None, header.shape) and at < self._end:
                    yield at, header
            place += max(1, len(block) - HEADER_BYTES)

    def _last_end(self) -> int:
        """The end of the last frame: where its checksum comes out."""
        for end in (self._end, self._window.size):
            content = self._window(self._last, min(end - self._last, LONGEST_FRAME))
            length = next(_ends(content, len(content.rstrip(b"\0"))), 0) if self._count else 0
            if length and self._last + len(content) == end:
                return self._last + length
        for at, header in self._headers(self._last + 1):
            if self._count == 0 or header.number > self._count:
                raise RejectedAudio("damaged", f"frames are missing before byte {at}, where number {header.number} is")
        length = next(_ends(self._window(self._last, LONGEST_FRAME), least=HEADER_BYTES), 0) if self._count else 0
        if not length:
            raise RejectedAudio("truncated", f"its last frame, at byte {self._last}, is cut or broken")
        return self._last + length


def _ends(content: bytes, least: int) -> Iterator[int]:
    """Lengths, `least` or more, of what ends with its own checksum."""
    crc = 0
    for place, byte in enumerate(content, 1):
        crc = (crc << 8 & 0xFFFF) ^ CRC16[crc >> 8 ^ byte]
        if crc == 0 and place >= least:
            yield place


def header_of(head: bytes, channels: int) -> FrameHeader | None:
    """The header that these bytes begin with, if its checksum is right and it has so many channels."""
    if len(head) < 6 or head[2] >> 4 == 0 or head[2] & 15 == 15 or head[3] & 1:
        return None
    code = head[3] >> 4
    if channels != (code + 1 if code < 8 else 2) or code > 10:
        return None
    number, place = _coded_number(head, 4)
    size_code, rate_code = head[2] >> 4, head[2] & 15
    size_bytes = SIZE_BYTES.get(size_code, 0)
    samples = BLOCK_SIZES.get(size_code) or int.from_bytes(head[place : place + size_bytes], "big") + 1
    end = place + size_bytes + RATE_BYTES.get(rate_code, 0)
    if number < 0 or end >= len(head) or reduce(lambda crc, byte: CRC8[crc ^ byte], head[:end], 0) != head[end]:
        return None
    return FrameHeader((head[1], rate_code, channels, head[3] >> 1 & 7), number, samples)


def _coded_number(head: bytes, place: int) -> tuple[int, int]:
    """A number coded as in UTF-8, but of up to 36 bits, and the place behind it; -1 if it is none."""
    first = head[place]
    ones = 8 - (first ^ 0xFF).bit_length()
    follow = head[place + 1 : place + max(ones, 1)]
    if ones in (1, 8) or any(byte >> 6 != 2 for byte in follow):
        return -1, place
    number = first & 0x7F >> ones
    for byte in follow:
        number = number << 6 | byte & 63
    return number, place + max(ones, 1)
