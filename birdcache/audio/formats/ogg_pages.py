"""The pages of an Ogg file, each with its checksum compared, read in blocks.

Source: RFC 3533, section 6.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from birdcache.audio.rejected import RejectedAudio

CAPTURE = b"OggS"
BLOCK_BYTES = 2**20
HEADER = struct.Struct("<4sBBqII4xB")  # capture, version, flags, granule, serial, sequence, (checksum), segments
CONTINUED, FIRST, LAST = 1, 2, 4  # flags
MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
BEGIN, ZEROS = 0xFFFFFFFF, bytes(4)


class Page(NamedTuple):
    """A page: where it begins and ends, its header's fields, its segments' lengths, and its content."""

    offset: int
    end: int
    flags: int
    granule: int
    serial: int
    sequence: int
    lacing: bytes
    body: bytes


def read_pages(file: BinaryIO) -> Iterator[Page]:
    """Yield page after page, from the file's place to where no other begins."""
    held, offset = b"", 0
    while block := file.read(BLOCK_BYTES):
        held += block
        used = 0
        with memoryview(held.translate(MIRRORED)) as mirrored:
            while end := _page_end(held, used, offset):
                if not is_intact(mirrored, used, end):
                    raise RejectedAudio("damaged", f"the checksum of the page at byte {offset + used} is wrong")
                _, _, flags, granule, serial, sequence, segments = HEADER.unpack_from(held, used)
                begin, body = used + HEADER.size, used + HEADER.size + segments
                numbers = flags, granule, serial, sequence
                yield Page(offset + used, offset + end, *numbers, held[begin:body], held[body:end])
                used = end
        if not CAPTURE.startswith(held[used : used + 4]):
            return
        held, offset = held[used:], offset + used
    if held:
        raise RejectedAudio("truncated", f"ends within the page that begins at byte {offset}")


def _page_end(held: bytes, start: int, offset: int) -> int:
    """The end of the page that begins at `start`; 0 if it is not in these bytes yet, or none begins."""
    if len(held) < start + HEADER.size or held[start : start + 4] != CAPTURE:
        return 0
    if held[start + 4] != 0:
        raise RejectedAudio("damaged", f"the page at byte {offset + start} is of Ogg version {held[start + 4]}")
    body = start + HEADER.size + held[start + 26]
    end = body + sum(held[start + HEADER.size : body])
    return end if body <= len(held) and end <= len(held) else 0


def ogg_checksum(page: bytes | bytearray) -> int:
    """CRC-32 as Ogg has it: polynomial 0x04c11db7, highest bit first, starting at zero, not inverted.

    zlib has the same polynomial lowest bit first, starting at and inverted by 0xffffffff; so each byte goes in
    mirrored, and the sum comes out mirrored.
    """
    mirrored = zlib.crc32(page.translate(MIRRORED), BEGIN) ^ BEGIN
    return int(f"{mirrored:032b}"[::-1], 2)


def is_intact(mirrored: memoryview, start: int, end: int) -> bool:
    """True if the page from `start` to `end` has the checksum that it names, its bytes being mirrored already.

    The checksum at bytes 22 to 25 is taken with zeros in its own place. Mirrored byte by byte, the little-endian
    number there is the mirrored sum in big-endian order.
    """
    crc = zlib.crc32(mirrored[start : start + 22], BEGIN)
    crc = zlib.crc32(mirrored[start + 26 : end], zlib.crc32(ZEROS, crc)) ^ BEGIN
    return crc == int.from_bytes(mirrored[start + 22 : start + 26], "big")
