"""Tags that players' libraries put around sound: ID3v2, ID3v1, APE, Lyrics3. Only their lengths matter here.

Sources: id3.org, ID3v2.4 structure, section 3; the APE tags' and Lyrics3 specifications of their authors.
"""

import re

from birdcache.audio.formats.pieces import BLOCK_BYTES, Window

MOST_TAGS = 8
NO_ZERO = re.compile(rb"[^\0]")
MOST_LYRICS = 2**17
ID3V2, ID3V2_END, ID3V1, ID3V1_LONG, APE = b"ID3", b"3DI", b"TAG", b"TAG+", b"APETAGEX"
ID3V1_BYTES, ID3V1_LONG_BYTES, APE_BYTES, ID3V2_BYTES = 128, 227, 32, 10
LYRICS, LYRICS_END = b"LYRICSBEGIN", b"LYRICS200"
APE_HAS_HEADER = 0x80000000


def behind_tags(window: Window, place: int) -> int:
    """The place behind the tags that begin at `place`, which is it itself if there are none; perhaps past the end."""
    for _ in range(MOST_TAGS):
        length = _length(window, place)
        if not length:
            break
        place += length
    return place


def behind_zeros(window: Window, place: int) -> int:
    """The place of the first byte from `place` on that is not zero, or the end."""
    count = 1  # mostly there are none
    while block := window(place, count):
        if found := NO_ZERO.search(block):
            return place + found.start()
        place, count = place + len(block), BLOCK_BYTES
    return place


def before_tags(window: Window) -> int:
    """The place where the tags at the file's end begin, which is its end if there are none."""
    end = window.size
    for _ in range(MOST_TAGS):
        length = _length_before(window, end)
        if not 0 < length <= end:
            break
        end -= length
    return end


def _length(window: Window, place: int) -> int:
    head = window(place, APE_BYTES)
    if head.startswith(ID3V2) and len(head) >= ID3V2_BYTES:
        return _id3v2_length(head)
    if head.startswith(ID3V1):
        return ID3V1_LONG_BYTES if head.startswith(ID3V1_LONG) else ID3V1_BYTES
    if head.startswith(APE) and len(head) == APE_BYTES:
        return APE_BYTES + int.from_bytes(head[12:16], "little")
    if head.startswith(LYRICS):
        return window(place, MOST_LYRICS).find(LYRICS_END) + len(LYRICS_END)
    return 0


def _id3v2_length(head: bytes) -> int:
    size = sum((byte & 127) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
    return ID3V2_BYTES + size + (ID3V2_BYTES if head[5] & 16 else 0)


def _length_before(window: Window, end: int) -> int:
    tail = window(max(0, end - ID3V1_LONG_BYTES), min(end, ID3V1_LONG_BYTES))
    if tail[-ID3V1_BYTES:].startswith(ID3V1) and len(tail) >= ID3V1_BYTES:
        return ID3V1_BYTES
    if tail.startswith(ID3V1_LONG):
        return ID3V1_LONG_BYTES
    if tail[-APE_BYTES:].startswith(APE):
        flags = int.from_bytes(tail[-12:-8], "little")
        return int.from_bytes(tail[-20:-16], "little") + (APE_BYTES if flags & APE_HAS_HEADER else 0)
    if tail.endswith(LYRICS_END) and tail[-15:-9].isdigit():
        return int(tail[-15:-9]) + 15
    if tail[-ID3V2_BYTES:].startswith(ID3V2_END):
        return _id3v2_length(tail[-ID3V2_BYTES:])
    return 0
