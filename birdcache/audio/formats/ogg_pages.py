"""The pages of an Ogg file, each with its checksum compared, read in blocks.

Source: RFC 3533, section 6.
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from birdcache.audio.formats.ogg_crc import MIRRORED, is_intact
from birdcache.audio.rejected import RejectedAudio

CAPTURE = b"OggS"
BLOCK_BYTES = 2**20
HEADER = struct.Struct("<4sBBqII4xB")  # capture, version, flags, granule, serial, sequence, (checksum), segments
CONTINUED, FIRST, LAST = 1, 2, 4  # flags


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
